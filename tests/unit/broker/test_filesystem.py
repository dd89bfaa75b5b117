# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files below named roots: what is read and written, and that nothing outside a root can be reached."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import beneath, filesystem, quota
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA, FILE_LIMIT
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

MIB = 1 << 20


class Place:
    """A root named ``srv`` on a real folder, and what reads and writes there as the gate would."""

    def __init__(self, folder: pathlib.Path, limit: int = 100 * MIB) -> None:
        self.root = folder / "srv"
        self.root.mkdir(exist_ok=True)
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "host")})
        self.config: dict[str, t.Any] = {"srv": str(self.root)}
        self.limit = limit

    def call(self, name: str, **arguments: t.Any) -> t.Any:
        given = {"root": "srv", **arguments}
        valid = {key: check(key, given.get(key)) for key, check in EXTRA[name].parameters.items()}
        roots = filesystem.Roots(["srv", "unset"], self.config, self.layout)
        writer = filesystem.Writer(roots, self.layout, "files-backend", self.limit)
        return {**filesystem.read_handlers(roots), **filesystem.write_handlers(writer)}[name](valid)

    def refused(self, name: str, **arguments: t.Any) -> NexcageError:
        with pytest.raises(NexcageError) as refused:
            self.call(name, **arguments)
        json.dumps(refused.value.as_dict())
        return refused.value

    def account(self) -> dict[str, int]:
        return dict(json.loads(pathlib.Path(self.layout.state, "plugins/files-backend/files.json").read_text())["files"])


@pytest.fixture(params=["openat2", "walk"])
def place(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Both ways of reaching a folder."""
    if request.param == "walk":

        def missing(*_arguments: object) -> int:
            raise OSError(errno.ENOSYS, "not here")

        monkeypatch.setattr(beneath, "openat2", missing)
    return Place(tmp_path)


def test_a_file_is_written_and_read(place: Place) -> None:
    assert place.call("fs.mkdir", path="a/b") == {"changed": True}
    assert place.call("fs.mkdir", path="a/b") == {"changed": False}
    assert place.call("fs.write", path="a/b/c d", content="ü\n") == {"changed": True}
    assert place.call("fs.write", path="a/b/c d", content="ü\n") == {"changed": False}
    assert place.call("fs.read", path="a/b/c d") == "ü\n"
    assert (place.root / "a/b/c d").stat().st_mode & 0o777 == 0o600
    assert (place.root / "a").stat().st_mode & 0o777 == 0o700
    assert place.call("fs.list", path="a/b") == [{"name": "c d", "type": "file", "size": 3}]
    assert [entry["name"] for entry in place.call("fs.list")] == ["a"]
    facts = place.call("fs.stat", path="a/b/c d")
    assert (facts["type"], facts["size"], facts["mode"]) == ("file", 3, 0o600)
    assert place.call("fs.stat")["type"] == "folder"
    assert place.call("fs.remove", path="a/b/c d") == {"changed": True}
    assert place.call("fs.remove", path="a/b/c d") == {"changed": False}
    assert place.call("fs.remove", path="nowhere/at/all") == {"changed": False}
    assert place.call("fs.remove", path="a/b") == {"changed": True}
    assert os.listdir(place.root) == ["a"]
    assert place.account() == {"srv/a": 4096}


def test_bytes_that_are_no_text(place: Place) -> None:
    data = bytes(range(256))
    place.call("fs.write", path="raw", content=base64.b64encode(data).decode(), encoding="base64")
    assert (place.root / "raw").read_bytes() == data
    assert base64.b64decode(place.call("fs.read", path="raw", encoding="base64")) == data
    error = place.refused("fs.read", path="raw")
    assert (error.code, error.remedy) == ("E_FS", "read it with encoding base64")
    assert place.refused("fs.write", path="raw", content="a", encoding="base64").code == "E_INVALID"
    assert place.refused("fs.write", path="raw", content="ü", encoding="base64").code == "E_INVALID"


def test_mode_and_owner_of_a_file_stay(place: Place) -> None:
    file = place.root / "file"
    file.write_text("old")
    file.chmod(0o640)
    place.call("fs.write", path="file", content="new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o640)
    assert place.call("fs.write", path="file", content="new", mode=0o644) == {"changed": True}
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert place.call("fs.write", path="file", content="new", mode=0o644) == {"changed": False}
    assert place.call("fs.write", path="file", content="old") == {"changed": True}  # as long as it was
    place.call("fs.mkdir", path="open", mode=0o755)
    assert stat.S_IMODE((place.root / "open").stat().st_mode) == 0o755


@pytest.mark.requires("root")
def test_the_owner_of_a_file_stays(place: Place) -> None:
    file = place.root / "file"
    file.write_text("old")
    os.chown(file, 65534, 65534)
    file.chmod(0o4755)
    place.call("fs.write", path="file", content="new")
    assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (65534, 0o755), "and no right to be somebody else"


def test_what_cannot_be_done(place: Place) -> None:
    (place.root / "folder/full").mkdir(parents=True)
    (place.root / "file").write_text("x")
    assert place.refused("fs.read", path="missing").code == "E_NOT_FOUND"
    assert place.refused("fs.list", path="missing").code == "E_NOT_FOUND"
    assert place.refused("fs.stat", path="missing").code == "E_NOT_FOUND"
    assert place.refused("fs.write", path="missing/file", content="").code == "E_NOT_FOUND"
    for call in ("fs.read", "fs.write"):
        arguments = {"content": ""} if call == "fs.write" else {}
        assert (place.refused(call, path="folder", **arguments).code, place.refused(call, path="file/x", **arguments).code) == ("E_FS", "E_FS")
    assert place.refused("fs.list", path="file").code == "E_FS"
    assert place.refused("fs.remove", path="folder").code == "E_FS"
    assert place.refused("fs.mkdir", path="file").code == "E_FS"
    assert place.refused("fs.mkdir", path="file/x").code == "E_FS"
    error = place.refused("fs.read", path="missing")
    assert (error.option, error.value) == ("path", "srv:missing"), "not the folder of the host"


def test_links_are_seen_and_not_followed(place: Place, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("secret")
    (place.root / "file").symlink_to(secret / "file")
    (place.root / "folder").symlink_to(secret)
    (place.root / "inner").symlink_to(".")
    (place.root / "gone").symlink_to("nowhere")
    (place.root / "real").write_text("real")
    for path in ("file", "folder/file", "inner/real", "gone"):
        assert place.refused("fs.read", path=path).code == "E_FS", path
        assert place.refused("fs.write", path=path, content="x").code == "E_FS", path
    assert place.refused("fs.list", path="folder").code == "E_FS"
    assert place.refused("fs.stat", path="folder/file").code == "E_FS"
    assert place.refused("fs.mkdir", path="folder/new").code == "E_FS"
    assert place.refused("fs.remove", path="folder/file").code == "E_FS"
    assert place.call("fs.stat", path="file")["type"] == "link"
    assert place.call("fs.remove", path="file") == {"changed": True}
    assert (secret / "file").read_text() == "secret"
    assert os.listdir(secret) == ["file"]
    assert place.call("fs.read", path="real") == "real"


def test_a_root_that_is_none(place: Place, tmp_path: pathlib.Path) -> None:
    assert place.refused("fs.read", root="other", path="a").code == "E_CAPABILITY"
    error = place.refused("fs.read", root="unset", path="a")
    assert (error.code, error.option, "unset: /its/folder" in error.remedy) == ("E_GRANT", "root", True)
    for wrong in ("srv", 5, ""):
        place.config["srv"] = wrong
        assert place.refused("fs.list").code == "E_INVALID"
    place.config["srv"] = str(tmp_path / "missing")
    assert place.refused("fs.list").code == "E_FS"
    (tmp_path / "file").write_text("")
    place.config["srv"] = str(tmp_path / "file")
    assert place.refused("fs.list").code == "E_FS"


def test_no_root_reaches_our_own_folders(place: Place, tmp_path: pathlib.Path) -> None:
    own = tmp_path / "host/etc/nexcage/grants"
    own.mkdir(parents=True)
    (tmp_path / "host/srv/data").mkdir(parents=True)
    (tmp_path / "way").symlink_to(own)
    for folder in ("/", str(tmp_path), str(own), str(own.parent), str(own.parent.parent), str(tmp_path / "way"), f"{place.root}/../host/etc"):
        place.config["srv"] = folder
        assert place.refused("fs.list").code == "E_INVALID", folder
        assert place.refused("fs.write", path="x", content="").code == "E_INVALID", folder
    place.config["srv"] = str(tmp_path / "host/srv")
    assert place.call("fs.list") == [{"name": "data", "type": "folder", "size": (tmp_path / "host/srv/data").stat().st_size}]


def test_a_root_behind_the_operators_own_link(place: Place, tmp_path: pathlib.Path) -> None:
    (place.root / "file").write_text("x")
    (tmp_path / "way").symlink_to(place.root)
    place.config["srv"] = str(tmp_path / "way")
    assert place.call("fs.read", path="file") == "x"


def test_a_file_that_is_too_large(place: Place) -> None:
    file = place.root / "file"
    file.write_bytes(b"x" * FILE_LIMIT)
    assert len(place.call("fs.read", path="file")) == FILE_LIMIT
    file.write_bytes(b"x" * (FILE_LIMIT + 1))
    assert place.refused("fs.read", path="file").code == "E_LIMIT"
    assert place.call("fs.write", path="new", content="x" * FILE_LIMIT) == {"changed": True}
    assert place.refused("fs.write", path="new", content="x" * (FILE_LIMIT + 1)).code == "E_LIMIT"
    assert (place.root / "new").stat().st_size == FILE_LIMIT


def test_a_folder_with_too_much_in_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "LISTING_LIMIT", 2)
    for name in ("a", "b"):
        (place.root / name).write_text("")
    assert len(place.call("fs.list")) == 2
    (place.root / "c").write_text("")
    assert place.refused("fs.list").code == "E_LIMIT"


def test_odd_names_and_kinds(place: Place) -> None:
    os.mkfifo(place.root / "fifo")
    open(os.fsencode(place.root) + b"/\xff", "w", encoding="utf-8").close()
    assert {entry["name"]: entry["type"] for entry in place.call("fs.list")} == {"fifo": "other", "\ufffd": "file"}
    assert place.call("fs.stat", path="fifo")["type"] == "other"


def test_a_file_that_goes_while_a_folder_is_listed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "gone"

        def stat(self, follow_symlinks: bool) -> None:
            raise FileNotFoundError

    monkeypatch.setattr(filesystem.os, "scandir", lambda folder: contextlib.nullcontext([Entry()]))
    assert place.call("fs.list") == []


def test_a_file_that_becomes_something_else_between_look_and_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(place.root / "file")
    kinds = iter(["file", "other"])
    monkeypatch.setattr(filesystem.beneath, "kind", lambda facts: next(kinds))
    assert place.refused("fs.read", path="file").code == "E_FS"


def test_a_full_disk_leaves_the_old_content(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.call("fs.write", path="file", content="old")
    write = os.write

    def full(descriptor: int, data: t.Any) -> int:
        if bytes(data) == b"new one":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(filesystem.os, "write", full)
    assert place.refused("fs.write", path="file", content="new one").code == "E_SPACE"
    monkeypatch.undo()
    assert place.call("fs.read", path="file") == "old"
    assert os.listdir(place.root) == ["file"]
    assert place.account() == {"srv/file": 4096}


def test_the_quota_counts_what_a_plugin_wrote(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, limit=4 * quota.BLOCK)
    place.call("fs.mkdir", path="a")
    place.call("fs.write", path="a/one", content="x" * 5000)
    place.call("fs.write", path="a/two", content="")
    error = place.refused("fs.write", path="a/three", content="")
    assert (error.code, error.option) == ("E_LIMIT", "max_disk_usage_mb")
    assert place.refused("fs.mkdir", path="b").code == "E_LIMIT"
    assert not (place.root / "a/three").exists()
    place.call("fs.write", path="a/one", content="x")  # smaller now
    place.call("fs.write", path="a/three", content="")
    place.call("fs.remove", path="a/two")
    place.call("fs.mkdir", path="b")
    assert place.account() == dict.fromkeys(("srv/a", "srv/a/one", "srv/a/three", "srv/b"), quota.BLOCK)


def test_what_others_removed_no_longer_counts(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, limit=2 * quota.BLOCK)
    place.call("fs.write", path="one", content="x")
    place.call("fs.write", path="two", content="x")
    assert place.refused("fs.write", path="three", content="x").code == "E_LIMIT"
    (place.root / "one").unlink()
    place.call("fs.write", path="three", content="x")
    assert set(place.account()) == {"srv/two", "srv/three"}
    place.call("fs.remove", path="two")
    place.call("fs.mkdir", path="in")
    place.call("fs.remove", path="three")
    place.call("fs.write", path="in/four", content="x")
    place.config["srv"] = str(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    place.call("fs.write", path="a", content="x")
    place.call("fs.write", path="b", content="x")
    place.call("fs.remove", path="b")
    place.call("fs.mkdir", path="folder")
    assert place.refused("fs.write", path="c", content="x").code == "E_LIMIT", "folders are measured too"


def test_an_account_that_is_damaged(tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path)
    place.call("fs.write", path="one", content="x")
    file = pathlib.Path(place.layout.state, "plugins/files-backend/files.json")
    for content in ("[]", '{"schema_version": 2, "files": {}}', '{"schema_version": 1, "files": {"a": "b"}}', '{"schema_version": 1}'):
        file.write_text(content)
        assert place.refused("fs.write", path="two", content="x").code == "E_STATE"
    assert not (place.root / "two").exists()
    file.unlink()
    place.call("fs.write", path="two", content="x")


def test_openat2_and_the_walk_agree(tmp_path: pathlib.Path) -> None:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/up").symlink_to("..")
    (tmp_path / "root/a/file").write_text("")
    top = os.open(tmp_path / "root", beneath.FOLDER)
    try:
        for path, works in (("a", True), ("a/b", True), ("up", False), ("a/file", False), ("missing", False), ("a/../up", False)):
            for way in (lambda name: beneath.openat2(top, name, beneath.FOLDER), lambda name: beneath.walk(top, name)):
                try:
                    os.close(way(path))
                    entered = True
                except OSError:
                    entered = False
                assert entered is works, path
    finally:
        os.close(top)


@pytest.mark.requires("linux")
def test_the_kernel_itself_keeps_us_below(tmp_path: pathlib.Path) -> None:
    top = os.open(tmp_path, beneath.FOLDER)
    try:
        for path, reason in (("..", errno.EXDEV), ("/etc", errno.EXDEV)):
            with pytest.raises(OSError, match=r".") as refused:
                beneath.openat2(top, path, beneath.FOLDER)
            assert refused.value.errno == reason
    finally:
        os.close(top)
    proc = os.open("/proc", beneath.FOLDER)
    try:
        with pytest.raises(OSError, match=r".") as refused:
            beneath.openat2(proc, "self/root", beneath.FOLDER)
        assert refused.value.errno == errno.ELOOP
        with pytest.raises(OSError, match=r"."):
            beneath.walk(proc, "self/root")
    finally:
        os.close(proc)


def test_without_the_system_call(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beneath.sys, "platform", "darwin")
    top = os.open(tmp_path, beneath.FOLDER)
    (tmp_path / "a").mkdir()
    try:
        os.close(beneath.enter(top, "a"))
        with pytest.raises(OSError, match=r"."):
            beneath.enter(top, "b")
    finally:
        os.close(top)
