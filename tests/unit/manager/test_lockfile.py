# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock file of plugins, and documents that are held to rules."""

from __future__ import annotations

import json
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import document, lockfile
from ansible_collections.nexcage.backends.plugins.module_utils.manager.lockfile import Locked
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_rules import Field, Record, Whole

DIGESTS = ["sha256:" + digit * 64 for digit in "ab"]
CONTENT = {"b-backend": Locked("1.0.0", DIGESTS[0]), "a-backend": Locked("2.10.0", DIGESTS[1])}


def test_written_and_read_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / lockfile.FILE
    lockfile.write(str(path), CONTENT)
    assert lockfile.read(path.read_bytes(), str(path)) == CONTENT
    assert list(json.loads(path.read_text())["plugins"]) == ["a-backend", "b-backend"]
    assert lockfile.dump(dict(reversed(CONTENT.items()))) == path.read_bytes() and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert lockfile.read(lockfile.dump({}), "p") == {}


@pytest.mark.parametrize(("name", "version", "digest"), [("b-backend", "1.0.0", DIGESTS[0]), ("a-backend", "2.10.0", DIGESTS[1])])
def test_what_it_holds(name: str, version: str, digest: str) -> None:
    lockfile.enforce(CONTENT, name, version, digest)
    for other in ((name, version, "sha256:" + "c" * 64), (name, "1.0.1", digest), ("c-backend", version, digest)):
        with pytest.raises(NexcageError) as caught:
            lockfile.enforce(CONTENT, *other)
        assert caught.value.code == "E_TRUST" and other[0] in caught.value.message


def changed(**fields: t.Any) -> dict[str, t.Any]:
    return {"schema_version": 1, "plugins": {"a-backend": {"version": "1.0.0", "digest": DIGESTS[0], **fields}}}


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"schema_version": 2, "plugins": {}}, "schema_version"),
        ({"schema_version": 1}, "plugins"),
        (changed(digest="sha256:x"), "plugins.a-backend.digest"),
        (changed(version="1"), "plugins.a-backend.version"),
        (changed(more=1), "plugins.a-backend.more"),
        ([], "not an object"),
    ],
)
def test_what_is_no_lock_file(content: t.Any, where: str) -> None:
    assert lockfile.read(json.dumps(changed()).encode(), "p")
    with pytest.raises(NexcageError) as caught:
        lockfile.read(json.dumps(content).encode(), "p.json")
    assert caught.value.code == "E_STATE" and caught.value.message.startswith("p.json: ") and where in caught.value.message


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100000, b'{"a": 1, "a": 1}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": "1"}', b'{"b": 1}'])
def test_documents(data: bytes) -> None:
    rules = Record({"a": Field(Whole(1, 2))})
    assert document.parse(b' {"a": 1}\n', "p", rules, "E_STATE", "mend it") == {"a": 1}
    with pytest.raises(NexcageError) as caught:
        document.parse(data, "p", rules, "E_STATE", "mend it")
    assert (caught.value.code, caught.value.remedy, caught.value.details) == ("E_STATE", "mend it", {"file": "p"})
