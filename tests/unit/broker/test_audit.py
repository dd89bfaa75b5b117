# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: whole lines, private, bounded, without a single secret, and nothing where nothing happens."""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import re
import syslog
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import audit as audit_module
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import LINE_LIMIT, REFUSAL_LIMIT, Audit
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import example, given, settings
from hypothesis import strategies as st

CONTEXT = {"plugin": "crun-backend", "version": "1.0.0", "op": "start", "digest": None}


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "log" / "nexcage" / "audit.jsonl"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What went to syslog."""
    messages: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda level, message: messages.append(message))
    return messages


def lines(path: pathlib.Path) -> list[dict[str, t.Any]]:
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines() if line]


def test_a_run(path: pathlib.Path) -> None:
    audit = Audit(str(path))
    audit.count("oci.list")
    sequence = audit.intent("oci.start", {"name": "web", "timeout": None}, CONTEXT)
    audit.outcome(sequence, "oci.start", 0.0123)
    audit.outcome(audit.intent("oci.kill", {"name": "web", "signal": 9}, CONTEXT), "oci.kill", 0, "E_RUNTIME")
    audit.close(CONTEXT)
    intent, outcome, second, failed, run = lines(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", intent.pop("ts"))
    digest = intent.pop("args_sha256")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert intent == {
        "v": 1,
        "run": audit.run,
        "phase": "intent",
        "seq": 1,
        "call": "oci.start",
        "container": "web",
        "args": ["name"],
        "plugin": "crun-backend",
        "version": "1.0.0",
        "op": "start",
    }
    assert {**outcome, "ts": 0} == {"v": 1, "ts": 0, "run": audit.run, "phase": "outcome", "seq": 1, "call": "oci.start", "ok": True, "ms": 12.3}
    assert (second["seq"], second["args"], failed["ok"], failed["error"]) == (2, ["name", "signal"], False, "E_RUNTIME")
    assert (run["phase"], run["reads"], run["writes"], run["refusals"]) == ("run", {"oci.list": 1}, 2, 0)
    assert digest != second["args_sha256"]


def test_a_run_that_only_read_writes_one_line_at_most(path: pathlib.Path) -> None:
    audit = Audit(str(path))
    audit.count("oci.list")
    assert not path.parent.exists()
    audit.close()
    audit.close()
    assert [line["phase"] for line in lines(path)] == ["run"]


def test_a_run_that_did_nothing_writes_nothing(path: pathlib.Path) -> None:
    Audit(str(path)).close()
    assert not path.parent.exists()


def test_check_mode_writes_nothing(tmp_path: pathlib.Path) -> None:
    audit = Audit(None)
    audit.count("oci.list")
    audit.outcome(audit.intent("oci.start", {"name": "web"}, CONTEXT), "oci.start", 1.0)
    audit.refusal("oci.start", "E_READ_ONLY", CONTEXT)
    audit.close(CONTEXT)
    assert (list(tmp_path.iterdir()), audit.warnings) == ([], [])


def test_file_and_folder_are_private_whatever_the_umask(path: pathlib.Path) -> None:
    before = os.umask(0)
    try:
        audit = Audit(str(path))
        audit.intent("oci.start", {"name": "web"}, CONTEXT)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        audit.close()
        path.chmod(0o644)
        Audit(str(path)).intent("oci.start", {"name": "web"}, CONTEXT)
        assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_no_value_of_an_argument_is_written(path: pathlib.Path) -> None:
    audit = Audit(str(path))
    audit.intent("state.put", {"key": "token", "value": '"geheim-1234"'}, CONTEXT)
    audit.close()
    assert "geheim" not in path.read_text()


@settings(max_examples=60)
@given(call=st.text(), name=st.text(), fact=st.text())
@example(call="\x7f", name="\n\x1b[31m\x9b\u2028", fact="\ud800\0")
def test_any_text_makes_one_line_of_plain_characters(tmp_path_factory: pytest.TempPathFactory, call: str, name: str, fact: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any" / "audit.jsonl"
    path.unlink(missing_ok=True)
    audit = Audit(str(path))
    audit.intent(call, {"name": name}, {"plugin": fact})
    audit.refusal(call, "E_CAPABILITY", {"plugin": fact})
    audit.close()
    data = path.read_bytes()
    assert len(data.splitlines()) == 3
    assert all(32 <= byte < 127 or byte == 10 for byte in data)
    assert lines(path)[0]["container"] == name


def test_a_line_is_never_longer_than_8_kib(path: pathlib.Path) -> None:
    audit = Audit(str(path))
    audit.intent("oci.list", {f"p{number}": 1 for number in range(5000)}, CONTEXT)
    audit.intent("oci.start", {"name": "web"}, {f"fact{number}": "\x7f" * 9000 for number in range(20)})
    audit.close({"reads": 0, **{f"fact{number}": "\U0001f600" * 9000 for number in range(3)}})
    raw = path.read_bytes().splitlines(keepends=True)
    assert [len(line) <= LINE_LIMIT for line in raw] == [True, True, True]
    first, second, _run = lines(path)
    assert (first["shortened"], first["call"], first["seq"]) == (True, "oci.list", 1)
    assert (second["shortened"], second["container"]) == (True, "web")


def test_refusals_are_bounded(path: pathlib.Path) -> None:
    audit = Audit(str(path))
    for _turn in range(REFUSAL_LIMIT + 50):
        audit.refusal("oci.start", "E_CAPABILITY", CONTEXT)
    audit.close()
    found = lines(path)
    assert (len(found), found[-1]["refusals"]) == (REFUSAL_LIMIT + 1, REFUSAL_LIMIT + 50)


def _many(path: str) -> None:
    audit = Audit(path)
    for _turn in range(200):
        audit.outcome(audit.intent("oci.start", {"name": "web"}, CONTEXT), "oci.start", 0.0)
    audit.close()


def test_runs_side_by_side_keep_their_lines_whole(path: pathlib.Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_many, args=(str(path),)) for _turn in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    found = lines(path)
    assert len(found) == 4 * 401
    for run in {line["run"] for line in found}:
        assert [line["seq"] for line in found if line["run"] == run and line["phase"] == "intent"] == list(range(1, 201))


def test_a_torn_line_does_not_swallow_the_next_one(path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('{"v":1,"phase":"int')
    audit = Audit(str(path))
    audit.intent("oci.start", {"name": "web"}, CONTEXT)
    torn, whole = path.read_text().splitlines()
    assert torn == '{"v":1,"phase":"int'
    assert json.loads(whole)["call"] == "oci.start"


def test_a_full_disk(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, sent: list[str]) -> None:
    """A short write is a failure, and the line after it stands alone."""
    audit = Audit(str(path))
    audit.intent("oci.start", {"name": "web"}, CONTEXT)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(audit_module.os, "write", lambda file, data: write(file, data[:7]))
        with pytest.raises(NexcageError, match="no space left for a whole line") as refused:
            audit.intent("oci.create", {"name": "web"}, CONTEXT)
        assert refused.value.code == "E_AUDIT"
        assert audit.intent("oci.delete", {"name": "web"}, CONTEXT) == 3
    audit.outcome(3, "oci.delete", 0.1)
    audit.close()
    parsed = []
    for line in path.read_text().splitlines():
        if line.endswith("}"):
            parsed.append(json.loads(line)["phase"])
    assert parsed == ["intent", "outcome", "run"]
    assert [json.loads(message.partition(": ")[2])["call"] for message in sent] == ["oci.create", "oci.delete"]
    assert len(audit.warnings) == 1


@pytest.mark.parametrize("call", ["oci.stop", "oci.kill", "oci.delete"])
def test_what_frees_resources_goes_on_with_a_warning_and_a_line_in_syslog(path: pathlib.Path, sent: list[str], call: str) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("in the way")
    audit = Audit(str(path))
    audit.outcome(audit.intent(call, {"name": "web"}, CONTEXT), call, 0.5)
    audit.close()
    assert audit.warnings == [f"the audit log {path} cannot be written: Not a directory"]
    assert [json.loads(message.partition(": ")[2])["phase"] for message in sent] == ["intent", "outcome", "run"]


def test_a_run_that_only_read_says_nothing_where_the_log_cannot_be_written(path: pathlib.Path, sent: list[str]) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("in the way")
    audit = Audit(str(path))
    audit.count("oci.list")
    audit.close()
    assert (audit.warnings, sent) == ([], [])


def test_only_a_regular_file_is_a_log(path: pathlib.Path, sent: list[str]) -> None:
    path.parent.mkdir(parents=True)
    elsewhere = path.parent / "elsewhere"
    elsewhere.write_text("")
    path.symlink_to(elsewhere)
    with pytest.raises(NexcageError):
        Audit(str(path)).intent("oci.start", {"name": "web"}, CONTEXT)
    assert elsewhere.read_text() == ""
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(NexcageError, match="not a regular file"):
        Audit(str(path)).intent("oci.start", {"name": "web"}, CONTEXT)


def test_no_descriptor_is_left(path: pathlib.Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _turn in range(20):
        audit = Audit(str(path))
        audit.intent("oci.start", {"name": "web"}, CONTEXT)
        audit.close()
    assert len(os.listdir("/proc/self/fd")) == before
