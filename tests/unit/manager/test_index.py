# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signed index as its readers see it."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index
from ansible_collections.nexcage.backends.plugins.module_utils.manager.lockfile import Locked
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import mirror, modules, signing
from ansible_collections.nexcage.backends.tests.support.mirror import DAY, Mirror

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
RELEASE = {
    "version": "1.0.0",
    "url": "a-1.0.0.nexcage-plugin",
    "size": 1,
    "sha256": "0" * 64,
    "digest": "sha256:" + "0" * 64,
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "capabilities": ["logging"],
    "class": "contained",
    "yanked": False,
}


def document(**changes: t.Any) -> dict[str, t.Any]:
    right = {"schema_version": 1, "name": "acme", "version": 1, "generated": "2027-01-01T00:00:00Z", "expires": "2027-02-01T00:00:00Z"}
    return {**right, "plugins": {"a": {"releases": [RELEASE]}}, **changes}


def release(**changes: t.Any) -> dict[str, t.Any]:
    return document(plugins={"a": {"releases": [{**RELEASE, **changes}]}})


def made(*releases: dict[str, t.Any]) -> index.Index:
    content = document(plugins={"a": {"releases": [{**RELEASE, **entry} for entry in releases]}})
    return index.parse(json.dumps(content).encode(), "p")


def test_a_right_one() -> None:
    found = index.parse(json.dumps(document()).encode(), "p", "https://host/index.json", "who")
    assert (found.name, found.version, found.expires, found.principal) == ("acme", 1, signing.NOW + 16.0 * DAY + 16 * 3600, "who")
    assert found.plugins == {"a": [RELEASE]}


@pytest.mark.parametrize(
    "content",
    [
        *(document(schema_version=2), document(version=0), document(version="1"), document(version=2**53), document(name="-"), document(more=1)),
        *(document(expires="tomorrow"), document(expires="2027-02-30T00:00:00Z"), document(generated="2027-13-01T00:00:00Z"), document(plugins=[])),
        *(document(plugins={"a": {}}), document(plugins={"a": {"releases": []}}), document(plugins={"a": {"releases": [RELEASE, RELEASE]}})),
        *(release(url=url) for url in ("", "/etc/passwd", "../x", "a/../x", "a//x", "./x", "x/.", "https://host/x", "x?y", "x#y", "x%2f", "a\\x", "..")),
        *(release(size=0), release(size=6 << 20), release(sha256="0" * 63), release(digest="0" * 64), release(version="1"), release(nexcage_version="x")),
        *(release(capabilities=["A"]), release(capabilities=["a", "a"]), release(yanked=1), release(more=1), release(**{"class": "none"})),
    ],
    ids=lambda content: None,
)
def test_wrong_ones(content: dict[str, t.Any]) -> None:
    with pytest.raises(NexcageError) as caught:
        index.parse(json.dumps(content).encode(), "https://host/index.json")
    assert caught.value.code == "E_INTEGRITY" and caught.value.message.startswith("https://host/index.json: ")


@pytest.mark.parametrize("url", ["x", "a/b", "a.b", "a..b", "a/.b", "..a", "a...", "1.0.0/a~b+c"])
def test_addresses_below(url: str) -> None:
    assert index.parse(json.dumps(release(url=url)).encode(), "p").plugins["a"][0]["url"] == url


def test_the_highest_that_fits() -> None:
    found = made(
        {"version": "1.9.0"},
        {"version": "1.10.0"},
        {"version": "1.11.0", "yanked": True},
        {"version": "2.0.0", "api_version": 2},
        {"version": "3.0.0", "nexcage_version": ">=9"},
    )
    assert index.resolve(found, "a")["version"] == "1.10.0"
    assert index.resolve(found, "a", "<1.10")["version"] == index.resolve(found, "a", "1.9.0")["version"] == "1.9.0"
    assert index.resolve(found, "a", "~=1.9")["version"] == "1.10.0"


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [("1.0.1", "1.0.0 is not ==1.0.1"), (">=2,<3", "for another NexCage (api_version 2)"), ("3.0.0", "(nexcage_version >=9)"), ("==1.1.0", "yanked")],
)
def test_why_none_fits(wanted: str, reason: str) -> None:
    found = made({}, {"version": "1.1.0", "yanked": True}, {"version": "2.0.0", "api_version": 2}, {"version": "3.0.0", "nexcage_version": ">=9"})
    assert index.resolve(found, "a")["version"] == "1.0.0"
    with pytest.raises(NexcageError) as caught:
        index.resolve(found, "a", wanted)
    assert caught.value.code == "E_VERSION" and reason in caught.value.message


def test_what_is_not_there() -> None:
    with pytest.raises(NexcageError) as caught:
        index.resolve(made({}), "b")
    assert caught.value.code == "E_NOT_FOUND" and "a" in caught.value.remedy
    with pytest.raises(NexcageError):
        index.resolve(made({}), "a", "no range")


def test_held_by_a_lock_file() -> None:
    found = made({}, {"version": "1.1.0"}, {"version": "1.2.0", "yanked": True})
    assert index.resolve(found, "a", None, Locked("1.0.0", RELEASE["digest"]))["version"] == "1.0.0"
    assert index.resolve(found, "a", ">=1", Locked("1.0.0", RELEASE["digest"]))["version"] == "1.0.0"
    for locked, wanted, code in (
        (Locked("1.0.0", "sha256:" + "1" * 64), None, "E_TRUST"),
        (Locked("1.0.0", RELEASE["digest"]), ">=1.1", "E_VERSION"),
        (Locked("0.9.0", RELEASE["digest"]), None, "E_VERSION"),
        (Locked("1.2.0", RELEASE["digest"]), None, "E_VERSION"),
    ):
        with pytest.raises(NexcageError) as caught:
            index.resolve(found, "a", wanted, locked)
        assert caught.value.code == code


def test_a_version_that_is_none_is_named_as_it_was_written() -> None:
    with pytest.raises(NexcageError) as caught:
        index.resolve(made({}), "a", "^0.3")
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_INVALID", "version", "^0.3") and "==^" not in str(caught.value)


def test_a_package_that_was_appended_to_differs_from_its_index(published: Mirror) -> None:
    published.add(version="1.0.0")
    published.publish()
    found = published.read()
    (path,) = published.folder.glob("*.nexcage-plugin")
    whole = path.read_bytes()
    path.write_bytes(whole + b"more")
    with pytest.raises(NexcageError) as caught:
        index.obtain(found, "acme-sample", index.resolve(found, "acme-sample"))
    assert caught.value.code == "E_INTEGRITY" and f"the index says size {len(whole)}, and the package has more" in caught.value.message
    path.unlink()
    with pytest.raises(NexcageError) as caught:
        index.obtain(found, "acme-sample", index.resolve(found, "acme-sample"))
    assert caught.value.code == "E_NOT_FOUND"
    path.write_bytes(whole)
    assert index.obtain(found, "acme-sample", index.resolve(found, "acme-sample")).version == "1.0.0"


@pytest.fixture
def published(tmp_path: pathlib.Path) -> Mirror:
    return mirror.make(tmp_path)


def test_read_and_obtained(published: Mirror) -> None:
    published.add(version="1.0.0")
    published.add(version="1.1.0")
    published.publish()
    found = published.read()
    assert (found.name, found.version, found.principal) == ("acme", 1, mirror.PRINCIPAL)
    chosen = index.resolve(found, "acme-sample")
    package = index.obtain(found, "acme-sample", chosen)
    assert (package.name, package.version, package.digest) == ("acme-sample", "1.1.0", chosen["digest"])
    assert published.read(published.url.rpartition("/")[0] + "/") == found


def test_reading_writes_nothing_and_remembering_only_what_is_new(published: Mirror) -> None:
    published.add()
    published.publish()
    found = published.read()
    state = pathlib.Path(published.trust.layout.state)
    assert not state.exists()
    index.remember(published.trust.layout, found)
    before = modules.snapshot(state)
    index.remember(published.trust.layout, found)
    assert modules.snapshot(state) == before
    copied = found._replace(url="file:///elsewhere/index.json")
    index.remember(published.trust.layout, copied)
    index.remember(published.trust.layout, found._replace(version=5, sha256="5" * 64))
    index.remember(published.trust.layout, found)  # an older one, of a run that read it before the other
    memory = json.loads((state / index.SEEN).read_text())
    assert memory["indexes"] == {"acme": {"version": 5, "sha256": "5" * 64}} and set(memory["addresses"]) == {found.url, copied.url}


def test_a_damaged_memory(published: Mirror) -> None:
    published.add()
    published.publish()
    path = pathlib.Path(published.trust.layout.state) / index.SEEN
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1}')
    with pytest.raises(NexcageError) as caught:
        published.read()
    assert caught.value.code == "E_STATE" and str(path) in caught.value.message
    path.unlink()
    assert published.read()


def test_no_signature_is_no_network_error(published: Mirror) -> None:
    published.add()
    published.publish()
    signature = published.folder / index.SIGNATURE_FILE
    signature.rename(published.folder / "kept")
    with pytest.raises(NexcageError) as caught:
        published.read()
    assert caught.value.code == "E_SIGNATURE"
    signature.mkdir()
    with pytest.raises(NexcageError) as caught:
        published.read()
    assert caught.value.code == "E_INVALID"
    signature.rmdir()
    (published.folder / "kept").rename(signature)
    assert published.read()


def test_an_address_with_a_query(published: Mirror) -> None:
    with pytest.raises(NexcageError) as caught:
        published.read("https://127.0.0.1/index.json?a=b")
    assert caught.value.code == "E_INVALID"
