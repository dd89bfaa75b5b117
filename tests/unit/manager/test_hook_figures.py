# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks that fail again and again are quarantined as operations are, and what became of hooks is counted."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, dispatch, hooks, plugins, records
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import exposition, listening, modules
from ansible_collections.nexcage.backends.tests.support.listening import NAME, PRE, Site

pytestmark = pytest.mark.requires("linux", "root")
POST, OTHER = "container.post_create", "beta-hooks"
START = 1_800_000_000.0


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    return Site(tmp_path)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [START]
    monkeypatch.setattr(breaker, "clock", lambda: now[0])
    return now


def quarantined(site: Site, name: str = NAME) -> str:
    record = records.read(site.layout, name)
    assert record is not None
    return record.quarantined


def fail(site: Site, times: int = breaker.FAULTS, event: str = PRE) -> None:
    for _count in range(times):
        site.fire(event)


def told(**parameters: t.Any) -> dict[str, t.Any]:
    (plugin,) = modules.works("nexcage_plugin_info", name=[NAME], **parameters)["plugins"]
    return t.cast("dict[str, t.Any]", plugin)


@pytest.mark.parametrize(("todo", "code"), [("die", "E_CRASH"), ("hang", "E_TIMEOUT")])
def test_one_that_keeps_failing_is_quarantined_and_tried_again(site: Site, time: list[float], todo: str, code: str) -> None:
    site.install(PRE, POST, timeout_ms=400, config={"at": PRE, "todo": todo})
    fail(site, breaker.FAULTS - 1)
    assert quarantined(site) == "" and len(site.warnings) == 1
    site.fire()
    assert f"{NAME} is quarantined: 5 of its operations" in site.warnings[0] and f"{code} in {PRE}" in quarantined(site)
    with dispatch.Session(site.layout, False, 20.0) as session:
        for event in (PRE, POST):
            hooks.of(session).fire(event, {"name": "web"})
        assert len(session.warnings) == 1 and f"the hooks of {NAME} are not asked" in session.warnings[0] and "state=enabled" not in session.warnings[0]
        assert [entry["executions"] for entry in session.told] == [0, 0] and session._workers == {}
    time[0] += breaker.HALF_OPEN  # one is let through, and fails again
    site.fire()
    assert quarantined(site).startswith("tried again, it failed again")
    time[0] += breaker.HALF_OPEN  # one that does not fail ends it
    site.fire(POST)
    assert quarantined(site) == "" and site.journal.events() == [f"{NAME} post_create"]


def test_within_one_run_too(site: Site, time: list[float]) -> None:
    site.install(PRE, config={"at": PRE, "todo": "die"})
    with dispatch.Session(site.layout, False, 20.0) as session:
        for _count in range(breaker.FAULTS + 3):
            hooks.of(session).fire(PRE, {"name": "web"})
        assert session.told[0]["executions"] == breaker.FAULTS
        assert [("not asked" in warning) for warning in session.warnings] == [False] * (breaker.FAULTS + 1) + [True]


def test_a_retry_that_meets_the_quarantine(site: Site, time: list[float]) -> None:
    site.install(PRE, strategy="retry", config={"at": PRE, "todo": "die"})
    fail(site, 2)
    assert quarantined(site) == ""
    site.fire()  # the fifth fault is its first attempt
    assert quarantined(site) != "" and site.told[0]["executions"] == 1 and "ended with code" in site.warnings[-1]


def test_a_guard_in_quarantine_refuses_where_the_operator_lets_it(site: Site, time: list[float]) -> None:
    site.install(PRE, strategy="abort", config={"at": PRE, "todo": "die"})
    for _count in range(breaker.FAULTS):
        assert site.refused().details["code"] == "E_CRASH"
    error = site.refused()
    assert error.details["code"] == "E_QUARANTINED" and NAME in error.message
    assert error.remedy is not None and f"nexcage_plugin: name={NAME} state=enabled" in error.remedy and "do what it says" not in error.remedy
    modules.works("nexcage_plugin", name=NAME, state="enabled", config={"journal": str(site.journal.folder)})
    site.fire()
    assert site.journal.events() == [f"{NAME} pre_create"]


def test_what_is_no_fault_opens_nothing(site: Site, time: list[float]) -> None:
    for todo in ("raise", "answer", "refuse"):
        site.install(PRE, config={"at": PRE, "todo": todo})
        fail(site, breaker.FAULTS + 1)
    assert quarantined(site) == ""


def test_check_mode_counts_nothing(site: Site, time: list[float]) -> None:
    site.install(PRE, config={"at": PRE, "todo": "die"})
    for _count in range(breaker.FAULTS):
        site.fire(check=True)
    assert quarantined(site) == "" and not pathlib.Path(records.folder(site.layout, NAME), breaker.FILE).exists()


def test_an_event_that_only_reads_and_succeeds_is_not_kept(site: Site, time: list[float]) -> None:
    site.install("system.health_check")
    told()
    assert not pathlib.Path(records.folder(site.layout, NAME), breaker.FILE).exists()
    modules.works("nexcage_plugin", name=NAME, config={"at": "system.health_check", "todo": "die", "journal": str(site.journal.folder)})
    told()
    assert told()["statistics"]["hooks"]["system.health_check"]["faults"] == 1


def test_the_figures(site: Site, time: list[float], tmp_path: pathlib.Path) -> None:
    site.install(PRE, POST, timeout_ms=400, strategy="abort", config={"at": PRE, "todo": "refuse"})
    assert told()["statistics"]["hooks"] == {}
    for _count in range(2):
        assert site.refused().code == "E_VETO"
    for todo in ("hang", "raise"):
        listening.configure(site.journal, NAME, at=PRE, todo=todo)
        assert site.refused().code == "E_VETO"
    site.fire(POST)
    found = told(metrics_file=str(tmp_path / "x.prom"))["statistics"]
    pre, post = found["hooks"][PRE], found["hooks"][POST]
    assert {key: pre[key] for key in pre if key != "avg_ms"} == {"executions": 4, "failures": 2, "faults": 1, "timeouts": 1, "vetoes": 4}
    assert (post["executions"], post["failures"], post["vetoes"]) == (1, 0, 0) and pre["avg_ms"] > 40
    assert found["executions"] == 0 and found["last"]["operation"] == POST and found["last_success"]
    figures = exposition.read((tmp_path / "x.prom").read_text())
    for outcome, count in (("ok", 2), ("fault", 1), ("defect", 1), ("error", 0)):
        assert exposition.value(figures, "nexcage_hooks_total", plugin=NAME, event=PRE, outcome=outcome) == count
    assert exposition.value(figures, "nexcage_hook_vetoes_total", plugin=NAME, event=PRE) == 4
    assert exposition.value(figures, "nexcage_hook_seconds_count", plugin=NAME, event=PRE) == 4
    assert ("nexcage_hook_vetoes_total", POST) not in {(name, dict(labels).get("event")) for name, labels in figures}
    assert told()["health"]["status"] == "degraded"


def test_a_file_with_an_event_that_there_is_not(site: Site, time: list[float]) -> None:
    site.install(PRE)
    site.fire()
    path = f"{records.folder(site.layout, NAME)}/{breaker.FILE}"
    content = store.read_json(path)
    assert list(content["hooks"]) == [PRE]
    store.write_json(path, {**content, "hooks": {**content["hooks"], "made.up": {"ok": 1}}})
    assert list(breaker.read(site.layout, NAME).hooks) == [PRE]
    del content["hooks"]  # as one had it before hooks were counted
    store.write_json(path, content)
    assert breaker.read(site.layout, NAME).hooks == {} and len(breaker.read(site.layout, NAME).outcomes) == 1


# ---- runs of nexcage_plugin


def heard(site: Site) -> list[str]:
    return [f"{plugin} {event}" for plugin, event, _told in site.journal.lines()]


def test_a_run_of_nexcage_plugin_begins_before_its_change(site: Site) -> None:
    site.install(*listening.SYSTEM, name=OTHER)
    assert heard(site) == []
    site.install("container.pre_stop")
    site.journal.clear()
    packages = site.folder / "packages"
    listening.install(packages, site.journal, NAME, listening.hooks(PRE), version="1.1.0")
    assert heard(site) == [f"{OTHER} system.{event}" for event in ("startup", "plugin_loaded", "shutdown")]
    site.journal.clear()
    modules.works("nexcage_plugin", name=NAME, state="present")
    modules.works("nexcage_plugin", name=NAME, state="disabled", check=True)
    assert heard(site) == []  # nothing changes
    modules.works("nexcage_plugin", name=OTHER, state="absent")
    assert heard(site) == [f"{OTHER} system.startup"]  # it is not there any more afterwards


def test_one_that_is_updated_hears_of_it_as_what_it_is_now(site: Site) -> None:
    told_version = listening.SOURCE.replace('"heard", json.dumps([*heard, [self.name,', '"heard", json.dumps([*heard, ["VERSION",')
    packages = site.folder / "packages"
    for version in ("1.0.0", "1.1.0"):
        source = told_version.replace("VERSION", version)
        listening.install(packages, site.journal, NAME, listening.hooks(*listening.SYSTEM), version=version, source=source)
    lines = heard(site)
    assert lines[:3] == ["1.0.0 system.plugin_loaded", "1.0.0 system.config_reload", "1.0.0 system.shutdown"]  # nobody listened when it began
    assert lines[3:] == ["1.0.0 system.startup", "1.1.0 system.plugin_loaded", "1.1.0 system.shutdown"]


def test_a_run_that_fails_after_it_began_says_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.install(*listening.SYSTEM)

    def full(*_arguments: object) -> t.NoReturn:
        raise NexcageError("E_SPACE", "no space left")

    monkeypatch.setattr(plugins, "_apply", full)
    assert modules.fails("nexcage_plugin", name=NAME, state="disabled")["error"]["code"] == "E_SPACE"
    assert heard(site) == [f"{NAME} system.{event}" for event in ("startup", "error_occurred", "shutdown")]


def test_a_listener_that_crashes_while_the_records_are_locked(site: Site, time: list[float]) -> None:
    """Its quarantine is written by the run that holds the lock, and waits for nobody."""
    site.install("system.startup", config={"at": "system.startup", "todo": "die"})
    site.install(name=OTHER)  # the first one
    for number in range(1, breaker.FAULTS):
        assert quarantined(site) == ""
        result = modules.works("nexcage_plugin", name=OTHER, priority=number)
    assert "is quarantined" in str(result["warnings"]) and quarantined(site) != ""
