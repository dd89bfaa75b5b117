# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events fired at real plugins in real workers, without containers: strategies, settings, policy, and what a run pays without listeners."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, dispatch, hooks, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import Hook
from ansible_collections.nexcage.backends.plugins.module_utils.model.plan import Action, Plan
from ansible_collections.nexcage.backends.tests.support import listening, modules
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.support.listening import NAME, PRE, Site

pytestmark = pytest.mark.requires("linux", "root")
OTHER = "beta-hooks"
POST = "container.post_create"
DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    return Site(tmp_path)


def test_each_listener_of_the_event_is_asked(site: Site) -> None:
    site.install(PRE, POST)
    site.install(PRE, name=OTHER, priority="critical")
    site.fire()
    assert site.journal.events() == [f"{OTHER} pre_create", f"{NAME} pre_create"]
    assert [(entry["plugin"], entry["event"], entry["executions"]) for entry in site.told] == [(OTHER, PRE, 1), (NAME, PRE, 1)]
    assert all(0 < entry["min_ms"] == entry["max_ms"] == entry["avg_ms"] == entry["total_ms"] for entry in site.told)
    site.fire("container.pre_delete")
    assert site.told == [] and site.warnings == []


def test_the_first_veto_counts(site: Site) -> None:
    for name in (NAME, OTHER):
        site.install(PRE, name=name, strategy="abort", config={"at": PRE, "todo": "refuse", "day": name})
    error = site.refused()
    assert (error.code, error.option, error.value, error.details) == ("E_VETO", "name", "web", {"plugin": NAME, "hook": PRE, "reason": f"not on a {NAME}"})
    assert [(entry["plugin"], entry["vetoes"], entry["failures"]) for entry in site.told] == [(NAME, 1, 0)]
    assert error.remedy is not None and error.remedy.startswith("do what it says") and str(site.root / "etc/nexcage/config.json") in error.remedy


def test_abort_after_the_fact_refuses_nothing(site: Site) -> None:
    site.install(POST, strategy="abort", config={"at": POST, "todo": "refuse"})
    site.fire(POST)
    assert site.warnings == [f"the hook {POST} of {NAME}: not on a Friday"]


@pytest.mark.parametrize(
    "chosen, said",
    [
        ({"pre": "abort"}, "no such event"),
        ({PRE: "never"}, "skip, retry, abort"),
        ({PRE: 1}, "skip, retry, abort"),
        ([], ""),
        (["x"], "mapping"),
        ("x", "mapping"),
    ],
)
def test_settings_that_are_wrong(site: Site, chosen: t.Any, said: str) -> None:
    site.install(PRE)
    file = site.root / "etc/nexcage/config.json"
    content = json.loads(file.read_text())
    content["plugins"][NAME]["hooks"] = chosen
    file.write_text(json.dumps(content))
    if not said:
        site.fire()
        return
    error = site.refused()
    assert error.code == "E_INVALID" and f"plugins.{NAME}.hooks" in str(error) and said in str(error)


def test_a_plugin_that_cannot_be_loaded_is_tried_once(site: Site) -> None:
    site.install(PRE, POST, source="raise RuntimeError('no')")
    with dispatch.Session(site.layout, False, 20.0) as session:
        fired = hooks.of(session)
        fired.fire(PRE, {"name": "web"})
        first = session.told[0]["max_ms"]
        fired.fire(POST, {"name": "web"})
        assert len(session.warnings) == 2 and all("cannot be loaded" in warning for warning in session.warnings)
        assert session.told[1]["max_ms"] < first / 2 and session.told[1]["failures"] == 1


def test_one_worker_for_all_hooks_of_a_plugin(site: Site) -> None:
    site.install(PRE, POST)
    with dispatch.Session(site.layout, False, 20.0) as session:
        fired = hooks.of(session)
        assert hooks.of(session) is fired
        fired.fire(PRE, {"name": "web"})
        workers = list(session._workers.values())
        fired.fire(POST, {"name": "web"})
        assert len(workers) == 1 and list(session._workers.values()) == workers and session.sandbox == {}


def test_an_import_that_kills_its_worker(site: Site) -> None:
    site.install(PRE, source="import os; os._exit(4)")
    site.fire()
    assert "ended with code 4" in site.warnings[0]


def test_no_event_within_an_event(site: Site) -> None:
    site.install(PRE)
    with dispatch.Session(site.layout, False, 20.0) as session:
        fired = hooks.of(session)
        fired._firing = True
        fired.fire(PRE, {"name": "web"})
        assert session.told == []
        fired._firing = False
        fired.fire(PRE, {"name": "web"})
        assert len(session.told) == 1 and fired._room.hears() is False


def test_without_its_grant_it_refuses_nothing(site: Site) -> None:
    site.install(PRE, strategy="abort")
    (site.root / f"etc/nexcage/grants/{NAME}.json").unlink()
    site.fire()
    assert "nothing was granted" in site.warnings[0]
    listening.strategies(site.root, NAME, container__pre_create="abort")
    assert site.refused().details["code"] == "E_GRANT"


def test_a_policy_decides_who_is_told(site: Site) -> None:
    site.install(PRE, strategy="abort")
    site.policy({"effect": "deny", "when": {"plugin": OTHER}})
    site.fire()
    site.policy({"effect": "deny", "when": {"plugin": NAME, "container": "web"}})
    error = site.refused()
    assert error.details["code"] == "E_POLICY" and "r0" in str(error)
    site.policy({"effect": "deny", "when": {"plugin": NAME, "container": "db"}})
    site.fire()
    site.policy(trust={"require": ["signature", "builtin"]})
    assert "trust" in str(site.refused())
    site.policy({"effect": "deny", "when": {"call": "fs.write"}})
    site.journal.clear()
    assert site.refused().details["code"] == "E_POLICY" and site.journal.lines() == []


def test_reads_where_nothing_may_change(site: Site) -> None:
    source = listening.SOURCE.replace('if event != "system.health_check":', "if True:")
    site.install("system.health_check", "system.startup", source=source)
    with dispatch.Session(site.layout, False, 20.0) as session:
        hooks.of(session).fire("system.health_check", {"plugins": []})
        assert "changes something" in session.warnings[0]
        hooks.of(session).fire("system.startup", {"user": 0})
        assert len(session.warnings) == 1
    assert site.journal.events("system.") == [f"{NAME} startup"]


def test_the_audit_log_says_which_hook_wrote(site: Site) -> None:
    site.install(PRE)
    site.fire()
    lines = [json.loads(line) for line in pathlib.Path(site.layout.audit).read_text().splitlines()]
    (intent,) = [line for line in lines if line["phase"] == "intent" and line["call"] == "fs.write"]
    assert (intent["plugin"], intent["op"]) == (NAME, PRE) and intent["tier"] in ("standard", "strong")


def test_a_secret_is_left_out(site: Site) -> None:
    site.install(PRE, config={"at": PRE, "todo": "tell"})
    plan = Plan("web", [Action("create", "new")], "absent", "created", [])
    with dispatch.Session(site.layout, True, 20.0) as session:
        hooks.of(session).concern("web", "crun-backend", plan, "absent", ContainerSpec({"image": "i", "secret_env": {"TOKEN": "s3cret-token"}}))
        hooks.of(session).done("web", "created")
    (warning,) = session.warnings
    assert "s3cret-token" not in warning and '{"TOKEN": "(secret)"}' in warning


@pytest.mark.parametrize(
    "changed, plugin, events",
    [
        ({"digest": (None, "a"), "enabled": (None, True)}, {"state": "loaded", "version": "1"}, ["system.plugin_loaded"]),
        ({"digest": ("a", "b")}, {"state": "loaded", "version": "1"}, ["system.plugin_loaded"]),
        ({"digest": ("a", "b")}, {"state": "disabled", "version": "1"}, []),
        ({"quarantined": ("x", "")}, {"state": "loaded", "version": "1"}, ["system.plugin_loaded"]),
        ({"enabled": (True, False)}, {"state": "disabled", "version": "1"}, ["system.plugin_unloaded"]),
        ({"enabled": (False, True)}, {"state": "loaded", "version": "1"}, ["system.plugin_loaded"]),
        ({"digest": ("a", None), "enabled": (True, None)}, {"state": "unloaded"}, ["system.plugin_unloaded"]),
        ({"grant": ([], ["logging"])}, {"state": "loaded", "version": "1"}, []),
    ],
)
def test_the_events_of_a_plugin(changed: dict[str, tuple[t.Any, t.Any]], plugin: dict[str, t.Any], events: list[str]) -> None:
    before, after = ({key: value[side] for key, value in changed.items() if value[side] is not None} for side in (0, 1))
    assert list(hooks._of_plugin({"diff": {"before": before, "after": after}, "plugin": plugin, "plan": []})) == events


def test_a_hook_of_nobody() -> None:
    assert Hook("p", PRE).strategy == "skip"


def test_a_run_without_listeners_looks_once(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = worlds.make(monkeypatch, str(tmp_path))
    looks: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **rest: (looks.append(str(path)), lstat(path, **rest))[1])
    monkeypatch.setattr(hooks, "of", lambda _session: pytest.fail("nobody listens"))
    for check, found in ((True, 1), (False, 1), (False, 0)):
        looks.clear()
        with world.session(check) as session:
            converge.converge(session, {**DEFAULTS, "name": "web", "image": "oci:/image"})
        assert len([path for path in looks if path.endswith("hooks.json")]) == found


def test_around_a_run_in_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's actions, one by one, with the statuses of an engine that does what it is told."""
    site.install(*listening.EVENTS, "system.startup", "system.error_occurred", "system.shutdown")
    world = worlds.make(monkeypatch, str(site.root))

    def run(fails: bool = False, **given: t.Any) -> list[str]:
        site.journal.clear()
        try:
            with world.session() as session:
                converge.converge(session, {**DEFAULTS, "name": "web", **given})
            assert not fails
        except NexcageError:
            assert fails
        return [event.partition(".")[2] for _plugin, event, _told in site.journal.lines()]

    made = ["startup", "pre_create", "post_create", "pre_start", "post_start", "status_changed", "shutdown"]
    assert run(image="oci:/image") == made
    assert run(image="oci:/image") == []
    assert run(state="restarted") == ["startup", "pre_stop", "post_stop", "pre_start", "post_start", "shutdown"]
    again = ["startup", "pre_stop", "pre_delete", "pre_create", "post_stop", "post_delete", "post_create", "pre_start", "post_start", "shutdown"]
    assert run(env={"A": "b"}) == again
    world.faults["stop"] = NexcageError("E_RUNTIME", "it does not end")
    assert run(fails=True, state="absent") == ["startup", "pre_stop", "error_occurred", "shutdown"]
    world.faults.clear()
    assert run(state="absent") == ["startup", "pre_stop", "post_stop", "pre_delete", "post_delete", "status_changed", "shutdown"]


def test_a_module_tells_what_became_of_its_hooks(site: Site) -> None:
    site.install("system.health_check", "system.config_reload", "system.plugin_loaded")
    found = modules.works("nexcage_plugin_info", name=["crun"])
    assert [(entry["plugin"], entry["event"], entry["executions"], entry["failures"]) for entry in found["hooks"]] == [(NAME, "system.health_check", 1, 0)]
    listening.configure(site.journal, NAME, day="Monday")
    assert site.journal.events("system.") == [f"{NAME} config_reload"]
    assert "hooks" not in modules.works("nexcage_plugin", name=NAME, check=True, config={"day": "Tuesday"})
    assert registry.get(NAME, site.layout).config["day"] == "Monday"
