# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile mirror, and whoever stands before it: over HTTPS and in a folder. The same without the flaw passes each time."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, lockfile, trust
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import certificates, mirror, mirror_server, signing
from ansible_collections.nexcage.backends.tests.support.mirror import DAY, Mirror

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
NAME = "acme-sample"


class Served:
    """A mirror behind a server, or in a folder, and what a host gets from it."""

    def __init__(self, published: Mirror, server: mirror_server.Server | None, ca_file: str | None) -> None:
        self.published = published
        self.server = server
        self.ca_file = ca_file

    def url(self) -> str:
        return self.server.url("/plugins/index.json") if self.server else self.published.url

    def read(self, after: float = 0.0, **options: t.Any) -> index.Index:
        """What the host reads; it remembers what it took."""
        if self.server:
            self.server.files = {f"/plugins/{name}": content for name, content in self.published.files().items()}
        found = self.published.read(self.url(), after, ca_file=self.ca_file, **options)
        index.remember(self.published.trust.layout, found)
        return found

    def install(self, **options: t.Any) -> trust.Verdict:
        """From the index to the verdict on the newest release."""
        found = self.read(**options)
        package = index.obtain(found, NAME, index.resolve(found, NAME), self.ca_file)
        return trust.judge(package, self.published.trust.layout, pin=None, unsigned=False, now=time.time())

    def refuses(self, code: str, **options: t.Any) -> NexcageError:
        with pytest.raises(NexcageError) as caught:
            self.install(**options)
        assert caught.value.code == code and caught.value.remedy, caught.value
        return caught.value

    def keep(self) -> dict[str, bytes]:
        return self.published.files()

    def bring(self, files: dict[str, bytes], *names: str) -> None:
        """Put back files of an earlier time, those named or all."""
        for name in names or files:
            (self.published.folder / name).write_bytes(files[name])


@pytest.fixture(params=["https", "file"])
def served(tmp_path: pathlib.Path, request: pytest.FixtureRequest) -> t.Iterator[Served]:
    published = mirror.make(tmp_path)
    published.add()
    published.publish()
    if request.param == "file":
        yield Served(published, None, None)
        return
    authority = certificates.Authority(tmp_path)
    with mirror_server.serve(authority.issue()) as server:
        yield Served(published, server, str(authority.path))


def test_case_94_replayed(served: Served) -> None:
    old = served.keep()
    served.published.add(version="1.1.0")
    served.published.publish()
    assert served.install().kind == "signature"
    new = served.keep()
    served.bring(old, index.FILE, index.SIGNATURE_FILE)
    assert "older 1" in served.refuses("E_TRUST").message
    served.bring(new)
    assert served.install().kind == "signature"


def test_case_94_expired(served: Served) -> None:
    assert served.install(after=29 * DAY).kind == "signature"
    assert "expired" in served.refuses("E_TRUST", after=31 * DAY).message
    assert served.install(after=31 * DAY, allow_expired=True).kind == "signature"
    served.published.publish(valid_days=60, renew_days=30)
    assert served.install(after=31 * DAY).kind == "signature"


def test_case_94_unsigned(served: Served) -> None:
    path = served.published.folder / index.SIGNATURE_FILE
    right = path.read_bytes()
    path.unlink()
    assert served.refuses("E_SIGNATURE")
    path.write_bytes(right)
    assert served.install().kind == "signature"


@pytest.mark.parametrize("allow_expired", [False, True])
def test_tampered_with(served: Served, allow_expired: bool) -> None:
    path = served.published.folder / index.FILE
    right = path.read_bytes()
    for old, new in ((b'"version": 1,', b'"version": 2,'), (b'"yanked": false', b'"yanked":  true'), (b'"class": "contained"', b'"class": "scoped"')):
        assert right.replace(old, new) != right
        path.write_bytes(right.replace(old, new))
        assert served.refuses("E_SIGNATURE", allow_expired=allow_expired)
    path.write_bytes(right)
    assert served.install().kind == "signature"


def test_signed_by_somebody_else(served: Served, tmp_path: pathlib.Path) -> None:
    served.published.rewrite(lambda content: content, signing.Key(tmp_path, "stranger"))
    assert served.refuses("E_TRUST")
    served.published.rewrite(lambda content: content, served.published.key)  # signs packages, and no index
    assert served.refuses("E_TRUST")
    for namespace in (signing.PLUGIN, "git"):
        served.published.rewrite(lambda content: content, namespace=namespace)
        assert served.refuses("E_SIGNATURE")
    served.published.rewrite(lambda content: content)
    assert served.install().kind == "signature"


def test_another_index_with_the_same_counter(served: Served) -> None:
    served.install()
    right = served.keep()
    served.published.rewrite(lambda content: content.update(expires="2099-01-01T00:00:00Z"))
    assert "not the 1 of the index" in served.refuses("E_TRUST").message
    served.bring(right)
    assert served.install().kind == "signature"


def test_another_index_of_the_same_publisher_at_this_address(served: Served) -> None:
    served.install()
    right = served.keep()
    served.published.rewrite(lambda content: content.update(name="testing", version=9))
    assert "testing" in served.refuses("E_TRUST").message
    served.bring(right)
    assert served.install().kind == "signature"


def test_an_older_index_from_another_mirror(served: Served, tmp_path: pathlib.Path) -> None:
    old = served.keep()
    served.published.add(version="1.1.0")
    served.published.publish()
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in served.keep().items():
        (copy / name).write_bytes(content)
    served.install()
    assert served.published.read(f"file://{copy}/index.json").version == 2
    for name, content in old.items():
        (copy / name).write_bytes(content)
    with pytest.raises(NexcageError) as caught:
        served.published.read(f"file://{copy}/index.json")
    assert caught.value.code == "E_TRUST"


def test_mix_and_match_an_old_package_for_a_new_release(served: Served) -> None:
    served.published.add(version="1.1.0")
    served.published.publish()
    right = served.keep()
    served.bring({f"{NAME}-1.1.0.nexcage-plugin": right[f"{NAME}-1.0.0.nexcage-plugin"]})
    assert served.refuses("E_INTEGRITY")
    served.bring(right)
    assert served.install().kind == "signature"


def test_mix_and_match_another_plugin_of_the_same_publisher(served: Served) -> None:
    """Even an index that says so: somebody has its key, and none for packages."""
    served.published.add(name="acme-other")
    served.published.publish()
    right = served.keep()

    def swap(content: dict[str, t.Any]) -> None:
        content["plugins"][NAME], content["version"] = content["plugins"]["acme-other"], 3

    served.published.rewrite(swap)
    assert "acme-other" in served.refuses("E_INTEGRITY").message
    served.bring(right)
    served.published.publish(version=4)
    assert served.install().kind == "signature"


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "sha256:" + "0" * 64},
        {"sha256": "0" * 64},
        {"capabilities": ["logging"]},
        {"nexcage_version": "0.7.1"},
        {"size": 1},
        {"url": "missing.nexcage-plugin"},
    ],
)
def test_an_index_that_lies(served: Served, change: dict[str, t.Any]) -> None:
    right = served.keep()
    served.published.rewrite(lambda content: content["plugins"][NAME]["releases"][0].update(change))
    with pytest.raises(NexcageError) as caught:
        found = served.published.read(served.url(), ca_file=served.ca_file) if not served.server else served.read()
        index.obtain(found, NAME, index.resolve(found, NAME), served.ca_file)
    assert caught.value.code in ("E_INTEGRITY", "E_LIMIT", "E_NOT_FOUND")
    served.bring(right)
    (pathlib.Path(served.published.trust.layout.state) / index.SEEN).unlink(missing_ok=True)
    assert served.install().kind == "signature"


def test_a_size_that_is_too_large(served: Served) -> None:
    def change(content: dict[str, t.Any]) -> None:
        content["plugins"][NAME]["releases"][0]["size"] += 1

    served.published.rewrite(change)
    assert "size" in served.refuses("E_INTEGRITY").message


def test_a_package_that_its_publisher_never_signed(served: Served, tmp_path: pathlib.Path) -> None:
    """Whoever has the key of the index alone can offer, and not sign."""
    stranger = signing.Key(tmp_path, "stranger")
    signing.make_package(served.published.folder, stranger, name=NAME, version="9.0.0")
    served.published.publish()
    assert served.refuses("E_TRUST")
    (served.published.folder / f"{NAME}-9.0.0.nexcage-plugin").unlink()
    served.published.publish()
    assert served.install().kind == "signature"


def test_another_digest_than_the_locked_one(served: Served) -> None:
    found = served.read()
    right = lockfile.Locked("1.0.0", found.plugins[NAME][0]["digest"])
    assert index.resolve(found, NAME, None, right)
    with pytest.raises(NexcageError) as caught:
        index.resolve(found, NAME, None, right._replace(digest="sha256:" + "0" * 64))
    assert caught.value.code == "E_TRUST"


def test_an_index_without_end(served: Served) -> None:
    path = served.published.folder / index.FILE
    right = path.read_bytes()
    path.write_bytes(right + b" " * index.SIZE_LIMIT)
    assert served.refuses("E_LIMIT")
    path.write_bytes(b"[" * 100000)
    served.published.index_key.path.chmod(0o600)
    (served.published.folder / index.SIGNATURE_FILE).write_bytes(served.published.index_key.sign(path.read_bytes(), signing.INDEX))
    assert served.refuses("E_INTEGRITY")
    path.write_bytes(right)
    served.published.rewrite(lambda content: content)
    assert json.loads(path.read_text())["version"] == served.read().version
