# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stranger's plugin in a real, locked worker makes each call beyond containers, through the gate, with real lines in the audit log."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch
from ansible_collections.nexcage.backends.tests.support import web
from ansible_collections.nexcage.backends.tests.support.stranger import Stranger

pytestmark = pytest.mark.requires("linux")

TOKEN = "s3cret-token-of-the-api"
SHOW = {"name": "web", "path": "a/b", "number": 7, "node": "pve1", "mode": "fast"}
READS: list[tuple[str, str, dict[str, t.Any]]] = [
    ("fs", "read", {"root": "data", "path": "a/file"}),
    ("fs", "list", {"root": "data", "path": "a"}),
    ("fs", "stat", {"root": "data"}),
    ("command", "run", {"command": "show", "parameters": SHOW}),
    ("http", "request", {"network": "api", "method": "GET", "path": "/v1/boxes"}),
]
WRITES: list[tuple[str, str, dict[str, t.Any]]] = [
    ("fs", "mkdir", {"root": "data", "path": "b"}),
    ("fs", "write", {"root": "data", "path": "b/new", "content": "new"}),
    ("fs", "remove", {"root": "data", "path": "a/file"}),
    ("command", "run", {"command": "touch", "parameters": {"name": "web"}}),
    ("http", "request", {"network": "api", "method": "POST", "path": "/v1/boxes/{name}", "parameters": {"name": "web"}, "body": {"a": 1}}),
]


@pytest.fixture
def server() -> t.Iterator[web.Server]:
    with web.serving() as server:
        yield server


@pytest.fixture
def stranger(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, server: web.Server) -> Stranger:
    made = Stranger(tmp_path, monkeypatch, api_host="127.0.0.1", api_port=server.port, token=TOKEN)
    (made.root / "a").mkdir()
    (made.root / "a/file").write_text("content")
    return made


def test_each_call_end_to_end(stranger: Stranger, server: web.Server) -> None:
    answers = [answer["value"] for answer in stranger.calls(*READS, *WRITES)]
    assert answers[:4] == [
        "content",
        [{"name": "file", "type": "file", "size": 7}],
        {**answers[2], "type": "folder"},
        {"rc": 0, "stdout": "<web><--path=/srv/a/b><7><pve1><fast>", "stderr": "", "truncated": False},
    ]
    assert (answers[4]["status"], answers[4]["json"]["path"]) == (200, "/v1/boxes")
    assert answers[5:8] == [{"changed": True}] * 3
    assert (answers[8]["rc"], answers[9]["status"]) == (0, 200)
    assert sorted(str(path.relative_to(stranger.root)) for path in stranger.root.rglob("*")) == ["a", "b", "b/new", "web"]
    assert [(seen["method"], seen["target"]) for seen in server.seen] == [("GET", "/v1/boxes"), ("POST", "/v1/boxes/web")]
    lines = stranger.audit()
    pairs = [(line["phase"], line["call"], line.get("subject"), line.get("container")) for line in lines[:-1]]
    subjects = [("fs.mkdir", "data:b"), ("fs.write", "data:b/new"), ("fs.remove", "data:a/file"), ("command.run", "touch")]
    subjects.append(("http.request", "api POST /v1/boxes/{name}"))
    expected = [entry for call, subject in subjects for entry in (("intent", call, subject), ("outcome", call, None))]
    assert [pair[:3] for pair in pairs] == expected
    assert [pair[3] for pair in pairs if pair[0] == "intent"] == [None, None, None, "web", "web"]
    assert all(line["plugin"] == "stranger-backend" and line["trust"] == "pin" for line in lines if line["phase"] == "intent")
    assert lines[-1]["reads"] == {"fs.read": 1, "fs.list": 1, "fs.stat": 1, "command.run": 1, "http.request": 1}
    assert all(line["ok"] for line in lines if line["phase"] == "outcome")


@pytest.mark.parametrize("check_mode", [True, False])
def test_reads_alone_where_nothing_may_change(stranger: Stranger, server: web.Server, check_mode: bool) -> None:
    """In check mode, and in an operation that reads."""
    before = sorted(stranger.root.rglob("*"))
    operation = "create" if check_mode else "list"
    answers = stranger.calls(*READS, *WRITES, operation=operation, check_mode=check_mode)
    assert ["value" in answer for answer in answers] == [True] * 5 + [False] * 5
    assert {answer["code"] for answer in answers[5:]} == {"E_READ_ONLY"}
    assert (sorted(stranger.root.rglob("*")), [seen["method"] for seen in server.seen]) == (before, ["GET"])
    assert [line["phase"] for line in stranger.audit()] == ([] if check_mode else ["refusal"] * 5 + ["run"])


def test_without_a_grant_nothing_is_done(stranger: Stranger, server: web.Server) -> None:
    installed = stranger.plugin.installed
    assert installed is not None
    stranger.plugin = stranger.plugin._replace(installed=installed._replace(granted=frozenset({"container_create"})))
    answers = stranger.calls(*READS, *WRITES)
    assert {answer["code"] for answer in answers} == {"E_GRANT"}
    assert server.seen == []


def test_a_write_stays_with_the_container_of_the_task(stranger: Stranger, server: web.Server) -> None:
    others = [(part, method, {**arguments, "parameters": {"name": "db"}}) for part, method, arguments in WRITES[3:]]
    assert [answer["code"] for answer in stranger.calls(*others)] == ["E_CAPABILITY"] * 2
    assert server.seen == []


def test_the_worker_is_told_no_secret(stranger: Stranger) -> None:
    config = stranger.operate("create", calls=[])["config"]
    assert set(config) == {"data", "api_host", "api_port"}


def test_a_plugin_without_templates_is_sent_nothing_for_them(stranger: Stranger) -> None:
    from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest

    document = {key: value for key, value in stranger.manifest.as_dict().items() if key not in ("filesystem", "commands", "network", "secrets")}
    stranger.plugin = stranger.plugin._replace(manifest=check_manifest(document))
    error = stranger.refused("create", calls=[("fs", "stat", {"root": "data"})])
    assert (error.code, "the host has no fs" in error.message) == ("E_PLUGIN", True)


def test_one_session_serves_many_operations(stranger: Stranger, server: web.Server) -> None:
    """Connections are counted for each operation, the disk over all of them."""
    with dispatch.Session(stranger.layout, False, 20.0) as session:
        for _operation in range(2):
            found = session.operate(stranger.plugin, "create", {"name": "web", "calls": [READS[4]] * 20})
            assert all("value" in answer for answer in found["answers"])
        found = session.operate(stranger.plugin, "create", {"name": "web", "calls": [READS[4]] * 21})
        assert found["answers"][-1]["code"] == "E_LIMIT"
        large = ("fs", "write", {"root": "data", "path": "large", "content": "x" * 900_000})
        for number in range(3):
            large[2]["path"] = f"large{number}"
            codes = [answer.get("code") for answer in session.operate(stranger.plugin, "start", {"name": "web", "calls": [large]})["answers"]]
            assert codes == [None if number < 2 else "E_LIMIT"]
    assert json.loads(pathlib.Path(stranger.layout.state, "plugins/stranger-backend/files.json").read_text())["files"]["data/large0"] == 901_120
