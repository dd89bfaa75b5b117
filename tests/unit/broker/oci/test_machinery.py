# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes, the runtime's command line, records and the reading of them, without any container."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import (
    cgroup,
    conmon,
    execution,
    features,
    inspection,
    lifecycle,
    logs,
    observe,
    process,
    records,
    removal,
    rootfs,
    runtime,
    staging,
    update,
    waiting,
)
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.engine import OciEngine
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

ID, OTHER = "0123456789abcdef", "f" * 16


class Fake(runtime.Runtime):
    """A runtime that answers from memory."""

    def __init__(self, root: str, output: bytes, code: int = 0) -> None:
        super().__init__("crun", root)
        self.answer = runtime.Answer(code, output, "words")

    def call(self, *_arguments: str, timeout: float = 1.0) -> runtime.Answer:
        return self.answer


def test_answers_of_a_runtime(tmp_path: pathlib.Path) -> None:
    assert Fake(str(tmp_path / "none"), b"x").entries([]) == {} and Fake(str(tmp_path), b"x").entries([]) == {}
    (tmp_path / ID).mkdir()
    assert Fake(str(tmp_path), b"null").entries([]) == {} and Fake(str(tmp_path), b'[{"id": "a", "status": "paused"}]').entries(["a", "b"]) == {
        "a": {"id": "a", "status": "paused"}
    }
    for output in (b"{", b"[1]", b"[{}]", b'[{"id": "a"}]', b'[{"id": "a", "status": 1}]', b'[{"id": "a", "status": "running", "pid": "x"}]'):
        with pytest.raises(NexcageError, match="unexpected answer"):
            Fake(str(tmp_path), output).entries([])
    with pytest.raises(NexcageError, match="words"):
        Fake(str(tmp_path), b"", 1).entries([])
    assert Fake(str(tmp_path), b'{"status": "paused"}').entries([ID]) == {ID: {"status": "paused"}} and Fake(str(tmp_path), b"x").entries(["none"]) == {}
    with pytest.raises(NexcageError, match="words"):  # what it cannot tell of one, the list may say why
        Fake(str(tmp_path), b"", 1).entries([ID])
    assert Fake(str(tmp_path), b'{"status": "paused"}').status(ID) == "paused" and Fake(str(tmp_path), b"").status(ID) == "" == Fake(str(tmp_path), b"").status(
        "none"
    )
    assert Fake(str(tmp_path), b"", 1).status(ID) == ""
    for output in (b'"status"', b'["status"]', b'{"status": {}}', b'{"status": "running", "pid": "x"}'):
        assert Fake(str(tmp_path), output).status(ID) == ""
        with pytest.raises(NexcageError, match="unexpected answer"):
            Fake(str(tmp_path), output).entries([ID])


@pytest.fixture
def places(tmp_path: pathlib.Path) -> records.Places:
    return records.Places(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), "crun-backend")


def generation(places: records.Places, name: str = "web", identifier: str = ID, current: bool = True, **changes: t.Any) -> pathlib.Path:
    folder = pathlib.Path(places.containers, name, identifier)
    folder.mkdir(parents=True)
    record = {
        "schema_version": 1,
        "name": name,
        "id": identifier,
        "backend": "crun-backend",
        "runtime": "crun",
        "cgroup": "/nexcage/" + identifier,
        "created": "then",
        "image": "i",
        "image_digest": "d",
        "stop_signal": 15,
        "stop_timeout": 1,
        "rootfs": {"kind": "overlay", "lower": "/no/such"},
        "spec": {"memory": 5, "labels": {"a": "b"}},
        **changes,
    }
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "config.json").write_text("{}")
    if current:
        (folder.parent / "current").write_text(identifier + "\n")
    return folder


def listing(places: records.Places, output: bytes = b"[]", names: list[str] | None = None) -> list[dict[str, t.Any]]:
    return observe.listing(places, Fake(places.root, output), names)


def test_nothing_is_there(places: records.Places) -> None:
    assert listing(places) == [] == listing(places, names=["web"]) and records.find(places, "web") is None
    assert records.generations(places, "web") == [] and removal.heal(places, "web") is None and removal._backends(places) == []


def test_stopped_with_and_without_an_exit_code(places: records.Places) -> None:
    folder = generation(places)
    entry = listing(places)[0]
    assert (entry["status"], entry["exit_code"], entry["finished"], entry["resources"], entry["labels"]) == ("stopped", None, None, {"memory": 5}, {"a": "b"})
    (folder / "exit").write_text("7")
    assert listing(places)[0]["exit_code"] == 7 and listing(places)[0]["finished"].endswith("Z")
    store.ensure_folder(places.exits)
    pathlib.Path(places.exits, ID).write_text("9\n")
    assert listing(places)[0]["exit_code"] == 9
    assert observe.timestamp(None) is None and observe.timestamp(0.5) == "1970-01-01T00:00:00.500Z"


def test_a_process_of_another_boot_says_nothing(places: records.Places) -> None:
    generation(places)
    store.ensure_folder(f"{places.conmon}/{ID}")
    facts = {"boot_id": "another", "pid": os.getpid(), "start_time": process.start_time(os.getpid())}
    conmon.remember(places, ID, facts)
    assert listing(places)[0]["status"] == "stopped"
    pathlib.Path(records.process_file(places, ID)).write_text("{")
    assert records.last_process(places, ID) == {}
    conmon.remember(places, ID, {**facts, "boot_id": process.boot_id()})
    entry = listing(places)[0]
    assert (entry["status"], entry["pid"]) == ("running", os.getpid()) and len(entry["problems"]) == 2


def test_what_is_made_but_not_recorded_yet_does_not_count(places: records.Places) -> None:
    generation(places)
    for folder in (places.conmon, places.root):
        store.ensure_folder(f"{folder}/{ID}")
    made = json.dumps([{"id": ID, "status": "running", "pid": os.getpid()}]).encode()
    assert listing(places, made)[0]["status"] == "running"
    pathlib.Path(places.conmon, ID, records.MARKER).write_text("")
    assert listing(places, made)[0]["status"] == "stopped"


def test_an_exit_code_that_is_just_being_written_is_waited_for(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generation(places)
    store.ensure_folder(f"{places.conmon}/{ID}")
    conmon.remember(places, ID, {"boot_id": process.boot_id(), "conmon_pid": os.getpid(), "conmon_start_time": process.start_time(os.getpid())})
    monkeypatch.setattr(observe, "_EXIT_PATIENCE", 0.01)
    assert listing(places)[0]["exit_code"] is None
    monkeypatch.setattr(observe, "_EXIT_PATIENCE", 5.0)
    monkeypatch.setattr(observe.time, "sleep", lambda _seconds: (folder / "exit").write_text("4"))
    assert listing(places)[0]["exit_code"] == 4


def test_another_backends_containers_are_not_listed(places: records.Places) -> None:
    generation(places, "theirs", backend="runc-backend")
    generation(places, "half", backend="runc-backend", current=False)
    generation(places, "mine", current=False)
    assert [(entry["name"], entry["status"]) for entry in listing(places)] == [("mine", "incomplete")]
    assert [entry["name"] for entry in listing(places.of("runc-backend"))] == ["half", "theirs"]


def test_a_record_of_a_later_version_is_left_alone(places: records.Places) -> None:
    generation(places, schema_version=2)
    with pytest.raises(NexcageError, match="schema version 2"):
        listing(places)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, None) for field in ("schema_version", "backend", "runtime", "cgroup", "rootfs", "stop_signal", "stop_timeout", "spec")),
        ("schema_version", "2"),
        ("spec", []),
        ("cgroup", "/"),
        ("cgroup", f"/nexcage/{ID}/../.."),
    ],
)
def test_a_record_that_cannot_be_relied_on_is_damaged(places: records.Places, monkeypatch: pytest.MonkeyPatch, field: str, value: object) -> None:
    generation(places, **{field: value})
    engine = OciEngine(places.layout, "crun-backend", "crun")
    assert records.find(places, "web") is None and engine.listing(["web"])[0]["status"] == "incomplete"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(lifecycle.powers, "require", lambda _what: None)
    engine.delete("web")
    assert engine.listing() == []


def test_what_a_killed_run_left_is_healed(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generation(places)
    generation(places, identifier=OTHER, current=False)
    for path in (folder / "record.json.1-1.tmp", folder.parent / "current.1-1.tmp"):
        path.write_text("")
    (folder.parent / "odd").mkdir()
    assert listing(places)[0]["backend_details"]["generation_leftovers"] == [OTHER]
    healed = removal.heal(places, "web")
    assert healed is not None and healed.id == ID and sorted(os.listdir(folder.parent)) == [ID, "current"] and not (folder / "record.json.1-1.tmp").exists()
    store.ensure_folder(f"{places.conmon}/{ID}")
    pathlib.Path(places.conmon, ID, conmon.MARKER).write_text("")
    assert removal.heal(places, "web") is not None and not conmon.unfinished(places, ID)
    (folder / "record.json").unlink()
    os.makedirs(f"{places.of('runc-backend').root}/{ID}")
    assert removal._unrecorded(places, "web", ID).record["runtime"] == "runc"
    monkeypatch.setattr(runtime, "FOLDERS", ("/nowhere",))  # not even the runtime is there any more
    assert removal.heal(places, "web") is None and records.names(places) == [] and not os.listdir(places.of("runc-backend").root)


def test_what_cannot_be_removed_is_said(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generation(places)
    container = records.find(places, "web")
    assert container is not None
    os.makedirs(f"{places.root}/{ID}")
    monkeypatch.setattr(runtime.Runtime, "call", lambda *_arguments, **_named: runtime.Answer(1, b"", "no"))
    monkeypatch.setattr(cgroup, "processes", lambda *_arguments: [1])
    with pytest.raises(NexcageError, match="delete: no"):
        removal.forget(places, container)
    monkeypatch.setattr(cgroup, "processes", lambda *_arguments: [])
    monkeypatch.setattr(rootfs, "mounted", lambda _path: True)
    with pytest.raises(NexcageError, match="still mounted"):
        removal.discard(places, container, known_dead=True)
    monkeypatch.setattr(waiting, "end_all", lambda *_arguments: [1])
    with pytest.raises(NexcageError, match="cannot be ended"):
        removal.sweep(container)

    def fail(path: str) -> None:
        raise OSError(1, "no", path)

    monkeypatch.setattr(removal.tree, "remove", fail)
    with pytest.raises(NexcageError, match="cannot be removed"):
        removal.erase(str(folder))
    removal._drop_folder(str(folder))


def test_our_helpers_are_known_by_program_and_argument(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {
        "11": b"/usr/bin/conmon\0-c\0" + ID.encode(),
        "12": b"grep\0" + ID.encode(),
        "13": b"crun\0--x\0/e/" + ID.encode(),
        "14": b"crun\0list",
        "self": b"",
    }
    for pid, line in lines.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(line)
    (tmp_path / "15").mkdir()
    (tmp_path / "15" / "cmdline").mkdir()
    monkeypatch.setattr(process, "PROC", str(tmp_path))
    assert sorted(removal.processes_of(ID, "crun")) == [11, 13]
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert removal.processes_of(ID, "crun") == []


def test_answers_of_conmon() -> None:
    for data, match in ((b"", "without an answer"), (b"{}\n", "without an answer"), (b'{"data": -1, "message": "bad thing"}\n', "bad thing")):
        reading, writing = os.pipe()
        os.write(writing, data)
        os.close(writing)
        with pytest.raises(NexcageError, match=match):
            conmon._answer(reading, "crun")
        os.close(reading)


def test_log_lines() -> None:
    data = b"2026-11-22T17:18:36.1+00:00 stdout P ab\nodd\nT stderr F err\n2026-11-22T17:18:37+00:00 stdout F c d\nT stdout X x\nT stderr P unfinished\n"
    assert [(line["stream"], line["text"]) for line in logs.parse(data)] == [("stderr", "err"), ("stdout", "abc d"), ("stderr", "unfinished")]
    assert logs.parse(data)[1]["time"] == "2026-11-22T17:18:36.1Z"


def test_logs_are_read_from_the_end(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = generation(places)
    engine = OciEngine(places.layout, "crun-backend", "crun")
    assert engine.logs("web") == []
    (folder / "container.log").write_text("".join(f"T stdout F line {number}\n" for number in range(100)))
    monkeypatch.setattr(logs, "_BLOCK", 64)
    assert [line["text"] for line in engine.logs("web", 3)] == ["line 97", "line 98", "line 99"] and len(engine.logs("web")) == 100
    monkeypatch.setattr(logs, "MOST_BYTES", 200)
    assert 5 < len(engine.logs("web")) < 20
    with pytest.raises(NexcageError):
        OciEngine(places.layout, "runc-backend", "runc").logs("web")


def test_a_signal_of_an_image() -> None:
    assert [staging._image_signal({"StopSignal": text}) for text in ("SIGQUIT", "INT", "9", "SIGRTMIN+3", "", None, "ODD")] == [3, 2, 9, 37, 15, 15, 15]
    hostile = ("SIGRTMIN+99", "SIG_IGN", "9999", "0", "²", "9" * 5000)
    assert {staging._image_signal({"StopSignal": text}) for text in hostile} == {15}


def test_a_half_made_container_can_be_deleted(places: records.Places) -> None:
    engine = OciEngine(places.layout, "crun-backend", "crun")
    if os.geteuid() == 0:
        generation(places, current=False)
        engine.delete("web")
        assert engine.listing() == []
    with pytest.raises(NexcageError):
        engine.delete("web")


def test_secrets_are_carried_only_where_they_are_known(places: records.Places) -> None:
    folder = generation(places, spec={"secret_env": {"A": "hmac-sha256:0", "B": "hmac-sha256:1"}})
    (folder / "config.json").write_text(json.dumps({"process": {"env": ["A=clear=1", "C=x"]}}))
    container = records.find(places, "web")
    assert container is not None and lifecycle.clear_secrets(container) == {"A": "clear=1"}
    request = staging.Request("web", ContainerSpec({"secret_env": {"A": "hmac-sha256:0", "N": "hmac-sha256:2"}}), {"N": "new"}, None)
    assert lifecycle._carried(container, request) == {"A": "clear=1", "N": "new"}
    assert lifecycle._carried(container, request._replace(spec=ContainerSpec({}))) == {"N": "new"}
    (folder / "config.json").write_text("{")
    assert lifecycle.clear_secrets(container) == {}


def test_nothing_dies_in_time(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    generation(places)
    container = records.find(places, "web")
    assert container is not None
    monkeypatch.setattr(observe, "survivors", lambda *_arguments: [os.getpid()])
    monkeypatch.setattr(lifecycle, "signal_to", lambda *_arguments: None)
    monkeypatch.setattr(lifecycle, "_KILL_PATIENCE", 0.01)
    with pytest.raises(NexcageError, match="do not end"):
        lifecycle.halt(places, container, 9, 0)
    monkeypatch.setattr(waiting, "end_all", lambda *_arguments: [1])
    monkeypatch.setattr(cgroup, "processes", lambda *_arguments: [1])
    with pytest.raises(NexcageError, match="do not end"):
        lifecycle._ended(container, {}, "v1")


def test_a_limit_the_runtime_cannot_lift_is_lifted_directly(places: records.Places, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generation(places)
    container = records.find(places, "web")
    assert container is not None
    root = tmp_path / "cgroup"
    (root / "nexcage" / ID).mkdir(parents=True)
    (root / "cgroup.controllers").write_text("")
    monkeypatch.setattr(cgroup, "ROOT", str(root))
    store.ensure_folder(f"{places.conmon}/{ID}")
    update._unlimit(places, Fake(places.root, b"", 1), container, "cpus")
    assert (root / "nexcage" / ID / "cpu.max").read_text() == "max 100000"
    (root / "nexcage" / ID / "pids.max").write_text("7")
    with pytest.raises(NexcageError, match="left it at 7"):
        update._live(places, Fake(places.root, b""), container, {"pids": {"limit": 9}}, {"pids_limit": 9})
    with pytest.raises(NexcageError, match="words"):
        update._live(places, Fake(places.root, b"", 1), container, {"pids": {"limit": 9}}, {"pids_limit": 9})


def test_features_of_a_poor_host(places: records.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "FOLDERS", ("/nowhere",))
    monkeypatch.setattr(rootfs, "overlay_known", lambda: False)
    monkeypatch.setattr(features.seccomp_profile, "DEFAULT_PATHS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    found = OciEngine(places.layout, "crun-backend", "crun").features()
    assert len(found["problems"]) == 5 and found["path"] is found["version"] is found["conmon"] is None


def test_details_of_exec(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waiting.children(1 << 30) == [] and not execution._nested(os.getpid()) and not execution._nested(1 << 30)
    assert execution._wait(1) is None  # alive and not our child
    assert execution._wait(1 << 30) == 255
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        execution._end(child.pid)
        assert execution._wait(child.pid) == 255
        execution._end(child.pid)
        child.returncode = -9


def test_asking_what_would_be_refused(places: records.Places, tmp_path: pathlib.Path) -> None:
    engine = OciEngine(places.layout, "crun-backend", "crun")
    engine.check(ContainerSpec({"image": "x", "seccomp_profile": "unconfined", "user": "nobody-knows-yet"}), None)
    with pytest.raises(NexcageError):
        engine.check(ContainerSpec({"image": "x", "cap_add": ["NOPE"]}), None)
    with pytest.raises(NexcageError):
        engine.check(ContainerSpec({"seccomp_profile": "unconfined", "command": ["x"], "user": "nobody"}), {"path": str(tmp_path), "config": {}})
    inspection.refuse_limits({})
    with pytest.raises(NexcageError, match="no such container runs"):
        engine.exists("web", "/etc")
