# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capabilities and limits are never more than the caller has."""

from __future__ import annotations

import hashlib
import json
import pathlib
import resource
import subprocess
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
def caller(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    (tmp_path / "sys" / "fs").mkdir(parents=True)
    (tmp_path / "sys" / "kernel").mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "sys" / "fs" / "nr_open").write_text("5000\n")
    (tmp_path / "sys" / "kernel" / "threads-max").write_text("900\n")
    monkeypatch.setattr(privileges, "PROC", str(tmp_path))

    def has(hard: int, held: list[str], mapped: str = "0 0 4294967295") -> None:
        (tmp_path / "self" / "uid_map").write_text(f"         {mapped}\n")
        monkeypatch.setattr(resource, "getrlimit", lambda _number: (10, hard))
        monkeypatch.setattr(privileges, "bounding", lambda: held)

    return has


INFINITE = 18446744073709551615


def limits(asked: dict[str, list[int]], given: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, tuple[int, int]]:
    return {entry["type"][len("RLIMIT_") :].lower(): (entry["soft"], entry["hard"]) for entry in privileges.rlimits(asked, given)}


def test_every_limit_is_named_and_none_is_the_callers(caller: t.Callable[..., None]) -> None:
    caller(1000, ["SYS_RESOURCE"])
    found = limits({})
    assert sorted(found) == sorted(privileges._RLIMITS)
    assert found["cpu"] == found["fsize"] == found["as"] == (INFINITE, INFINITE)
    assert (found["core"], found["stack"], found["nofile"]) == ((0, INFINITE), (8 << 20, INFINITE), (5000, 5000))  # nofile: the kernel's own limit
    assert (found["nproc"], found["sigpending"], found["nice"]) == ((4194304, 4194304), (450, 450), (0, 0))
    caller(10, ["SYS_RESOURCE"])
    assert limits({}) == found


@pytest.mark.parametrize(("held", "mapped"), [([], "0 0 4294967295"), (["SYS_RESOURCE"], "0 100000 65536")])
def test_a_caller_that_cannot_raise_gives_what_it_has(caller: t.Callable[..., None], held: list[str], mapped: str) -> None:
    caller(1000, held, mapped)
    found = limits({})
    assert (found["cpu"], found["core"], found["stack"], found["nofile"]) == ((1000, 1000), (0, 1000), (1000, 1000), (1000, 1000))
    caller(resource.RLIM_INFINITY, held, mapped)
    assert limits({})["cpu"] == (INFINITE, INFINITE)


def test_the_task_counts_before_the_bundle_and_that_before_the_defaults(caller: t.Callable[..., None]) -> None:
    caller(resource.RLIM_INFINITY, [])
    given = [{"type": "RLIMIT_NPROC", "soft": 1, "hard": 2}, {"type": "RLIMIT_FSIZE", "soft": 3, "hard": 4}]
    found = limits({"core": [-1, -1], "nproc": [5, 6], "nice": [1, 2]}, given)
    assert (found["core"], found["nproc"], found["nice"], found["fsize"]) == ((INFINITE, INFINITE), (5, 6), (1, 2), (3, 4))
    for wrong in ([7], [{"soft": 1}], [{"type": 7}]):
        with pytest.raises(NexcageError) as caught:
            privileges.rlimits({}, t.cast("list[dict[str, t.Any]]", wrong))
        assert (caught.value.code, caught.value.option) == ("E_INVALID", "bundle")


def test_limits_of_a_stronger_caller(caller: t.Callable[..., None], tmp_path: pathlib.Path) -> None:
    caller(resource.RLIM_INFINITY, [])
    given = privileges.rlimits({"nice": [1, 2]})
    folder = tmp_path / "generation"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"process": {"rlimits": given}}))
    digest = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    record = {"spec": {"ulimits": {"nice": [1, 2]}}, "config_sha256": digest}
    privileges.fit(str(folder), record)
    assert record["config_sha256"] == digest and not (folder / "record.json").exists()
    caller(0, ["SYS_RESOURCE"])
    privileges.fit(str(folder), record)
    assert record["config_sha256"] == digest and privileges.reachable(given) == given
    caller(1000, [])
    fitting = {entry["type"]: (entry["soft"], entry["hard"]) for entry in privileges.reachable([*given, {"type": "RLIMIT_NEW", "soft": 5000, "hard": 5000}])}
    assert fitting["RLIMIT_CPU"] == (1000, 1000) and fitting["RLIMIT_CORE"] == (0, 1000) and fitting["RLIMIT_NEW"] == (5000, 5000)
    caller(1, [])
    foreign = {**record, "config_sha256": "0" * 64}
    privileges.fit(str(folder), foreign)
    assert foreign["config_sha256"] == "0" * 64, "somebody else wrote it"
    privileges.fit(str(folder), record)
    written = {entry["type"]: entry["hard"] for entry in json.loads((folder / "config.json").read_text())["process"]["rlimits"]}
    assert written["RLIMIT_CPU"] == 1 and written["RLIMIT_NICE"] == 2, "what the task asked for is left to the runtime to refuse"
    assert record["config_sha256"] == hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()
    assert json.loads((folder / "record.json").read_text()) == record


def test_a_child_that_shall_outlive_the_caller_is_freed_of_its_limits() -> None:
    with subprocess.Popen(["sleep", "60"], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))) as child:
        try:
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, before[1]))
            try:
                privileges.free(child.pid)
                privileges.free(1 << 22)  # nobody
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
        finally:
            child.kill()


@pytest.mark.parametrize(
    ("asked", "held", "mapped", "code"),
    [
        ({"nope": [1, 1]}, [], "0 0 4294967295", "E_INVALID"),
        ({"core": [2, 1]}, [], "0 0 4294967295", "E_INVALID"),
        ({"core": [-1, 1]}, [], "0 0 4294967295", "E_INVALID"),
        ({"nofile": [1, 6000]}, ["SYS_RESOURCE"], "0 0 4294967295", "E_INVALID"),
        ({"nofile": [1, -1]}, ["SYS_RESOURCE"], "0 0 4294967295", "E_INVALID"),
        ({"nofile": [1, 4000]}, [], "0 0 4294967295", "E_PRIVILEGE"),
        ({"core": [1, -1]}, [], "0 0 4294967295", "E_PRIVILEGE"),
        ({"core": [1, -1]}, ["SYS_RESOURCE"], "0 100000 65536", "E_PRIVILEGE"),
        ({"core": [1, -1]}, ["SYS_RESOURCE"], "0 0 4294967295", ""),
        ({"nofile": [1, 4000]}, ["SYS_RESOURCE"], "0 0 4294967295", ""),
    ],
)
def test_limits_that_cannot_be_set(caller: t.Callable[..., None], asked: dict[str, list[int]], held: list[str], mapped: str, code: str) -> None:
    caller(1000, held, mapped)
    if not code:
        privileges.rlimits(asked)
        return
    with pytest.raises(NexcageError) as caught:
        privileges.rlimits(asked)
    assert (caught.value.code, caught.value.option) == (code, "ulimits")
