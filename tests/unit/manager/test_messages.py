# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin in a real, locked worker says by ``host.log`` comes to the operator, bounded and without secrets."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.handlers import Order
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, messages, run
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.support.stranger import NAME, Stranger

pytestmark = pytest.mark.requires("linux")

TOKEN = "s3cret-token-of-the-api"


@pytest.fixture
def stranger(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Stranger:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "host"))
    made = Stranger(tmp_path, monkeypatch, token=TOKEN)
    (pathlib.Path(made.layout.state) / "plugins" / NAME).mkdir(parents=True)  # where the outcome of an operation is kept
    return made


def line(level: str, message: str) -> tuple[str, str, dict[str, t.Any]]:
    """The call of one line, as the plugin takes it from its parameters."""
    return ("log", "__call__", {"level": level, "message": message})


def said(stranger: Stranger, *lines: tuple[str, str, dict[str, t.Any]], check: bool = False, operation: str = "create", **order: t.Any) -> dict[str, t.Any]:
    """The result of a module whose plugin says these lines, and its warnings."""

    def action(session: dispatch.Session, _parameters: t.Any) -> dict[str, t.Any]:
        session.orders["web"] = Order(**order)
        return {"changed": False, **session.operate(stranger.plugin, operation, {"name": "web", "calls": lines})}

    module = worlds.module({}, check)
    with pytest.raises(SystemExit):
        run.run(module, action, reading=True)
    return {**module.ended, "warned": module.warnings}


def test_each_level(stranger: Stranger) -> None:
    result = said(stranger, *(line(level, f"a {level}") for level in ("debug", "info", "warning", "error")), line("debug", "a debug"))
    entry = {"plugin": NAME, "operation": "create", "times": 1}
    assert result["plugin_log"] == [
        {**entry, "level": "debug", "message": "a debug", "times": 2},
        *({**entry, "level": level, "message": f"a {level}"} for level in ("info", "warning", "error")),
    ]
    assert result["warned"] == [f"{NAME} says: a warning", f"{NAME} says that something went wrong: a error"]
    lines = [(row["phase"], row.get("level"), row.get("message")) for row in stranger.audit()]
    assert lines == [("log", "warning", "a warning"), ("log", "error", "a error"), ("run", None, None)]
    assert stranger.audit()[0]["plugin"] == NAME and stranger.audit()[0]["op"] == "create"


def test_in_check_mode_and_where_an_operation_only_reads(stranger: Stranger) -> None:
    result = said(stranger, line("warning", "odd"), check=True)
    assert (result["warned"], len(result["plugin_log"]), stranger.audit()) == ([f"{NAME} says: odd"], 1, [])
    result = said(stranger, line("info", "odd"), operation="list")
    assert (result["warned"], result["plugin_log"][0]["operation"], stranger.audit()) == ([], "list", [])


def test_where_the_audit_log_cannot_be_written_the_result_has_it_all_the_same(stranger: Stranger) -> None:
    pathlib.Path(stranger.layout.audit).mkdir(parents=True)
    result = said(stranger, line("warning", "odd"), operation="list")
    assert (result["warned"], result["plugin_log"][0]["message"]) == ([f"{NAME} says: odd"], "odd")


def test_nothing_said_is_nothing_in_the_result(stranger: Stranger) -> None:
    assert "plugin_log" not in said(stranger)


def test_a_failed_task_tells_it_too(stranger: Stranger) -> None:
    result = said(stranger, line("error", "it broke"), ("fs", "none", {}))
    assert result["failed"] and result["plugin_log"][0]["message"] == "it broke"
    assert any("it broke" in warning for warning in result["warned"])


@pytest.mark.parametrize("level", ["loud", "", "WARNING", None])
def test_another_level_is_refused(stranger: Stranger, level: t.Any) -> None:
    result = said(stranger, line(level, "hear"))
    assert "plugin_log" not in result
    assert (result["answers"][0]["code"], "debug, info, warning, error" in result["answers"][0]["message"]) == ("E_INVALID", True)


def test_without_the_grant_it_is_dropped(stranger: Stranger) -> None:
    installed = stranger.plugin.installed
    assert installed is not None
    stranger.plugin = stranger.plugin._replace(installed=installed._replace(granted=installed.granted - {"logging"}))
    result = said(stranger, line("error", "hear"))
    assert ("plugin_log" in result, result["warned"], result["answers"]) == (False, [], [{"value": None}])


def test_case_71_no_more_than_fits_and_nothing_that_moves_the_cursor(stranger: Stranger) -> None:
    loud = [line("error", f"{number} " + "x" * 5000) for number in range(messages.MOST + 5)]
    result = said(stranger, *loud, line("info", "\x1b[2J\n"))
    assert len(result["plugin_log"]) == messages.MOST + 1
    assert result["plugin_log"][-1] == {"plugin": NAME, "operation": "", "level": "warning", "message": messages.LEFT_OUT, "times": 6}
    assert {len(entry["message"]) for entry in result["plugin_log"][:-1]} == {messages.LONGEST}
    assert len(result["warned"]) == messages.WARNINGS
    assert sum(row["phase"] == "log" for row in stranger.audit()) == messages.WARNINGS
    assert said(stranger, line("info", "\x1b[2J\n"))["plugin_log"][0]["message"] == r"\x1b[2J\n"


@pytest.mark.parametrize("templates", [True, False])
def test_no_secret_of_plugin_or_task(stranger: Stranger, templates: bool) -> None:
    if not templates:  # then there is no other place that would take it out
        kept = {key: value for key, value in stranger.manifest.as_dict().items() if key not in ("filesystem", "commands", "network", "secrets")}
        stranger.plugin = stranger.plugin._replace(manifest=check_manifest(kept))
    result = said(
        stranger,
        line("error", f"{TOKEN}, hunter2-of-the-task and 7-of-the-process, not another"),
        secrets={"PASSWORD": "hunter2-of-the-task"},
        process={"secret_env": {"PIN": "7-of-the-process"}},
    )
    assert result["plugin_log"][0]["message"] == "********, ******** and ********, not another"
    told = json.dumps([result, stranger.audit()])
    assert not any(secret in told for secret in (TOKEN, "hunter2", "7-of-the"))
