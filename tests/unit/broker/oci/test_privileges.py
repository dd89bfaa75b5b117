# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities and limits are never more than the caller has."""

from __future__ import annotations

import pathlib
import resource
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import privileges
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

HELD = ["CHOWN", "KILL", "NET_ADMIN", "SYS_CHROOT", "SYS_ADMIN"]


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "expected"),
    [
        ([], [], False, ["CHOWN", "KILL", "SYS_CHROOT"]),
        (["NET_ADMIN"], ["KILL"], False, ["CHOWN", "NET_ADMIN", "SYS_CHROOT"]),
        (["NET_ADMIN"], ["ALL"], False, ["NET_ADMIN"]),
        (["ALL"], ["KILL"], False, ["CHOWN", "NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT"]),
        (["ALL"], ["ALL"], False, []),
        ([], [], True, sorted(HELD)),
    ],
)
def test_sets(add: list[str], drop: list[str], privileged: bool, expected: list[str]) -> None:
    assert privileges.capabilities(add, drop, privileged, HELD) == expected


@pytest.mark.parametrize(
    ("add", "drop", "code", "option"),
    [(["NOPE"], [], "E_INVALID", "cap_add"), ([], ["NOPE"], "E_INVALID", "cap_drop"), (["SYS_TIME"], [], "E_PRIVILEGE", "cap_add")],
)
def test_refusals_name_the_capability(add: list[str], drop: list[str], code: str, option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        privileges.capabilities(add, drop, False, HELD)
    assert (caught.value.code, caught.value.option, caught.value.value) == (code, option, (add + drop)[0])


def test_the_bounding_set_is_the_kernels(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nCapBnd:\t0000000000000021\n")
    monkeypatch.setattr(privileges, "PROC", str(tmp_path))
    assert privileges.bounding() == ["CHOWN", "KILL"]
    (tmp_path / "self" / "status").unlink()
    assert privileges.bounding() == []
    assert len(privileges.NAMES) == 41 and privileges.NAMES[21] == "SYS_ADMIN" and privileges.NAMES[40] == "CHECKPOINT_RESTORE"


def test_the_five_sets() -> None:
    root = privileges.process_sets(["CHOWN", "KILL"], [], root=True)
    assert root["effective"] == root["permitted"] == root["bounding"] == ["CAP_CHOWN", "CAP_KILL"] and root["inheritable"] == root["ambient"] == []
    other = privileges.process_sets(["CHOWN", "KILL"], ["KILL"], root=False)
    assert other["bounding"] == ["CAP_CHOWN", "CAP_KILL"] and other["effective"] == other["ambient"] == ["CAP_KILL"]


@pytest.fixture
def caller(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[int, list[str]], None]:
    (tmp_path / "sys" / "fs").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "nr_open").write_text("5000\n")
    monkeypatch.setattr(privileges, "PROC", str(tmp_path))

    def has(hard: int, held: list[str]) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _number: (10, hard))
        monkeypatch.setattr(privileges, "bounding", lambda: held)

    return has


def test_limits_are_given_as_asked_and_else_as_high_as_can_be(caller: t.Callable[[int, list[str]], None]) -> None:
    caller(1000, [])
    found = {
        entry["type"]: (entry["soft"], entry["hard"]) for entry in privileges.rlimits({"core": [0, 0], "nproc": [5, 6], "nice": [1, 2], "msgqueue": [1, 1]})
    }
    assert found == {"RLIMIT_CORE": (0, 0), "RLIMIT_NPROC": (5, 6), "RLIMIT_NOFILE": (1000, 1000), "RLIMIT_NICE": (1, 2), "RLIMIT_MSGQUEUE": (1, 1)}
    caller(resource.RLIM_INFINITY, [])
    found = {entry["type"]: (entry["soft"], entry["hard"]) for entry in privileges.rlimits({"core": [-1, -1]})}
    assert found["RLIMIT_CORE"] == (18446744073709551615, 18446744073709551615) and found["RLIMIT_NOFILE"] == (1048576, 1048576)


@pytest.mark.parametrize(
    ("asked", "held", "code"),
    [
        ({"nope": [1, 1]}, [], "E_INVALID"),
        ({"core": [2, 1]}, [], "E_INVALID"),
        ({"core": [-1, 1]}, [], "E_INVALID"),
        ({"nofile": [1, 6000]}, ["SYS_RESOURCE"], "E_INVALID"),
        ({"nofile": [1, -1]}, ["SYS_RESOURCE"], "E_INVALID"),
        ({"nofile": [1, 4000]}, [], "E_PRIVILEGE"),
        ({"core": [1, -1]}, [], "E_PRIVILEGE"),
        ({"core": [1, -1]}, ["SYS_RESOURCE"], ""),
        ({"nofile": [1, 4000]}, ["SYS_RESOURCE"], ""),
    ],
)
def test_limits_that_cannot_be_set(caller: t.Callable[[int, list[str]], None], asked: dict[str, list[int]], held: list[str], code: str) -> None:
    caller(1000, held)
    if not code:
        privileges.rlimits(asked)
        return
    with pytest.raises(NexcageError) as caught:
        privileges.rlimits(asked)
    assert (caught.value.code, caught.value.option) == (code, "ulimits")
