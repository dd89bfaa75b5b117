# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, groups and files inside a root file system that nobody has to trust."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import accounts
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "rootfs"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbroken\nbad:x:y:0::/:/\napp:x:1000:1001::/home/app:/bin/sh\n7:x:70:71:::\nodd:x:80::::\n"
    )
    (folder / "etc" / "group").write_text("root:x:0:\napp:x:1001:\nextra:x:2000:app,other\n8:x:81:\n")
    (tmp_path / "secret").write_text("outside:x:9:9:::\n")
    return folder


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [
        ("", [], (0, 0, [], "/root")),
        ("0", ["extra", "5"], (0, 0, [5, 2000], "/root")),
        ("app", [], (1000, 1001, [2000], "/home/app")),
        ("1000", [], (1000, 1001, [2000], "/home/app")),
        ("1000:0", [], (1000, 0, [], "/home/app")),
        ("app:extra", ["app"], (1000, 2000, [1001], "/home/app")),
        ("12:34", [], (12, 34, [], None)),
        ("4242", [], (4242, 0, [], None)),
        ("7", [], (70, 71, [], None)),  # a name that looks like a number is a name
        ("odd", [], (80, 0, [], None)),
        ("0:8", [], (0, 81, [], "/root")),
    ],
)
def test_who_a_user_is(root: pathlib.Path, user: str, groups: list[str], expected: tuple[object, ...]) -> None:
    assert tuple(accounts.resolve(str(root), user, groups)) == expected


@pytest.mark.parametrize(
    ("user", "groups", "option"), [("nobody", [], "user"), ("app:none", [], "user"), ("0", ["none"], "groups"), ("4294967296", [], "user"), ("²", [], "user")]
)
def test_names_that_are_not_there(root: pathlib.Path, user: str, groups: list[str], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        accounts.resolve(str(root), user, groups)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", option)


@pytest.mark.parametrize("number", ["²", "9" * 20, "9" * 5000, "4294967295", "-1", ""])
def test_what_a_container_writes_for_a_number(root: pathlib.Path, number: str) -> None:
    with (root / "etc" / "passwd").open("a") as file:
        file.write(f"\nnone:x:{number}:5::/:/bin/sh\ngroup:x:7:{number}::/:/bin/sh\n")
    with (root / "etc" / "group").open("a") as file:
        file.write(f"\nnone:x:{number}:\n")
    assert accounts.resolve(str(root), "12345", []).uid == 12345
    assert accounts.resolve(str(root), "group", [])[:2] == (7, 0)
    for user in ("none", "0:none"):
        with pytest.raises(NexcageError, match=r"no (such user|group)"):
            accounts.resolve(str(root), user, [])


def test_only_a_newline_ends_an_account(root: pathlib.Path) -> None:
    with (root / "etc" / "passwd").open("a") as file:
        file.write("\nguest:x:5:5:my name\u2028boss:x:0:0::/:\x0bchief:x:0:0::/::/:/bin/sh\n")
    for user in ("boss", "chief"):
        with pytest.raises(NexcageError):
            accounts.resolve(str(root), user, [])


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_a_pipe_in_place_of_accounts(root: pathlib.Path, name: str) -> None:
    accounts.refuse_pipes(str(root))
    (root / "etc" / name).unlink()
    accounts.refuse_pipes(str(root))
    os.mkfifo(root / "pipe")
    (root / "etc" / name).symlink_to("../pipe")
    for user in ("0", "12345", "app"):
        with pytest.raises(NexcageError, match=f"/etc/{name} in the container is no file"):
            accounts.resolve(str(root), user, [])


def test_where_a_process_starts() -> None:
    assert [accounts.working_folder(path) for path in ("/", "/a/../b", "srv", "../../etc", "//x", "/process")] == ["/", "/b", "/srv", "/etc", "/x", "/process"]
    for path in ("/proc", "/proc/self/fd/7", "//proc/1/root", "/x/../proc/self/fd/8/../..", "proc/self"):
        with pytest.raises(NexcageError, match=r"/proc") as caught:
            accounts.working_folder(path)
        assert caught.value.option == "working_dir"


@pytest.mark.parametrize("target", ["../../secret", "/../secret", "../../../../../../../../secret", "/etc/../../secret"])
def test_links_never_lead_out(root: pathlib.Path, target: str) -> None:
    (root / "etc" / "passwd").unlink()
    (root / "etc" / "passwd").symlink_to(target)
    assert accounts.read_inside(str(root), "etc/passwd") == ""
    (root / "secret").write_text("inside")
    assert accounts.read_inside(str(root), "etc/passwd") == "inside"


def test_links_are_followed_inside(root: pathlib.Path) -> None:
    (root / "usr" / "lib").mkdir(parents=True)
    (root / "usr" / "lib" / "passwd").write_text("found")
    (root / "lib").symlink_to("/usr/lib")
    (root / "etc" / "passwd").unlink()
    (root / "etc" / "passwd").symlink_to("../lib/./passwd")
    assert accounts.read_inside(str(root), "/etc/passwd") == "found"


def test_what_is_no_regular_file_is_empty(root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to("loop")
    assert [accounts.read_inside(str(root), path) for path in ("pipe", "loop", "etc", "none", "none/none")] == [""] * 5
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("builtins.open", lambda *_arguments: (nothing for nothing in ()).throw(OSError(13, "no")))
    assert accounts.read_inside(str(root), "etc/passwd") == ""
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == before
