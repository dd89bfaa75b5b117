# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package from a file, an address or an index, held to a lock file."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, index, lockfile, package, source
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import certificates, mirror, mirror_server
from ansible_collections.nexcage.backends.tests.support.mirror import Mirror

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
NAME = "acme-sample"


@pytest.fixture
def published(tmp_path: pathlib.Path) -> Mirror:
    made = mirror.make(tmp_path)
    for version in ("1.0.0", "1.1.0"):
        made.add(version=version)
    made.publish(lock_file=str(tmp_path / "lock.json"))
    return made


def find(published: Mirror, active: str | None = None, remember: bool = True, limit: int = archive.PACKED_LIMIT, **parameters: t.Any) -> package.Package | None:
    assert source.given(parameters)
    return source.find(published.trust.layout, NAME, active, parameters, remember, limit)


def version(published: Mirror, **parameters: t.Any) -> str:
    found = find(published, **parameters)
    assert found is not None
    return found.version


def refused(published: Mirror, code: str, option: str | None, **parameters: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        find(published, **parameters)
    assert (caught.value.code, caught.value.option) == (code, option), caught.value
    return caught.value


def test_from_a_file(published: Mirror) -> None:
    path = str(published.folder / f"{NAME}-1.0.0.nexcage-plugin")
    assert version(published, src=path) == version(published, src="file://" + path) == "1.0.0"
    assert refused(published, "E_LIMIT", "src", src=path, limit=10)
    assert refused(published, "E_LIMIT", "src", src="file://" + path, limit=10)
    assert refused(published, "E_NOT_FOUND", "src", src=path + "x")
    assert refused(published, "E_NOT_FOUND", "src", src=f"file://{path}x")
    assert refused(published, "E_INVALID", "src", src="http://host" + path)


def test_over_https(published: Mirror, tmp_path: pathlib.Path) -> None:
    authority = certificates.Authority(tmp_path)
    with mirror_server.serve(authority.issue()) as server:
        server.files = {f"/{name}": content for name, content in published.files().items()}
        ca_file = str(authority.path)
        assert version(published, src=server.url(f"/{NAME}-1.0.0.nexcage-plugin"), ca_file=ca_file) == "1.0.0"
        assert version(published, index=server.url("/"), ca_file=ca_file) == "1.1.0"
        assert refused(published, "E_HTTP", "index", index=server.url("/"))


def test_from_an_index(published: Mirror) -> None:
    assert version(published, index=published.url) == "1.1.0"
    assert version(published, index=published.url, version="1.0.0") == "1.0.0"
    assert version(published, index=published.url, version="<1.1") == "1.0.0"
    assert refused(published, "E_VERSION", "version", index=published.url, version=">2")
    assert refused(published, "E_LIMIT", "index", index=published.url, limit=10)
    assert refused(published, "E_NOT_FOUND", "index", index="file:///nowhere/index.json")


def test_what_is_active_is_not_fetched_again(published: Mirror) -> None:
    found = find(published, index=published.url)
    assert found is not None
    for path in published.folder.glob("*.nexcage-plugin"):
        path.unlink()
    assert find(published, index=published.url, active=found.digest) is None
    assert refused(published, "E_NOT_FOUND", None, index=published.url)


def test_remembered_but_in_check_mode(published: Mirror) -> None:
    memory = pathlib.Path(published.trust.layout.state) / index.SEEN
    find(published, index=published.url, remember=False)
    assert not memory.exists()
    find(published, index=published.url)
    assert memory.exists()


def test_an_expired_index(published: Mirror) -> None:
    published.rewrite(lambda content: content.update(expires="2020-01-01T00:00:00Z"))
    assert refused(published, "E_TRUST", "index", index=published.url)
    assert version(published, index=published.url, allow_expired_index=True) == "1.1.0"


def test_held_to_a_lock_file(published: Mirror, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lock.json"
    held = lockfile.read(path.read_bytes(), str(path))
    sources = {of: str(published.folder / f"{NAME}-{of}.nexcage-plugin") for of in ("1.0.0", "1.1.0")}
    assert version(published, index=published.url, lock_file=str(path)) == version(published, src=sources["1.1.0"], lock_file=str(path)) == "1.1.0"
    assert refused(published, "E_TRUST", "name", src=sources["1.0.0"], lock_file=str(path))
    published.add(version="1.2.0")
    published.publish()
    assert version(published, index=published.url) == "1.2.0"
    assert version(published, index=published.url, lock_file=str(path)) == "1.1.0"
    assert refused(published, "E_VERSION", "version", index=published.url, version="1.2.0", lock_file=str(path))
    lockfile.write(str(path), {NAME: held[NAME]._replace(digest="sha256:" + "0" * 64)})
    assert refused(published, "E_TRUST", "version", index=published.url, lock_file=str(path))
    lockfile.write(str(path), {})
    assert refused(published, "E_TRUST", "name", index=published.url, lock_file=str(path))
    assert refused(published, "E_TRUST", "name", src=sources["1.1.0"], lock_file=str(path))
    path.write_text("{")
    assert refused(published, "E_STATE", "lock_file", index=published.url, lock_file=str(path))
    os.unlink(path)
    assert refused(published, "E_NOT_FOUND", "lock_file", index=published.url, lock_file=str(path))


@pytest.mark.parametrize(
    ("parameters", "option"),
    [({"src": "a", "index": "b"}, "index"), ({"lock_file": "c"}, "lock_file"), ({"src": "a", "allow_expired_index": True}, "allow_expired_index")],
)
def test_options_that_do_not_go_together(parameters: dict[str, t.Any], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        source.given(parameters)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", option)


def test_no_source_at_all() -> None:
    assert not source.given({"version": "1.0.0", "allow_expired_index": False})
    assert source.given({"src": "a"}) and source.given({"index": "a", "allow_expired_index": True, "lock_file": "b"})
