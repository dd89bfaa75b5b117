# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hooks of real plugins in real workers around real containers: order, veto in check mode and run, and all that goes wrong."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import listening, modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host
from ansible_collections.nexcage.backends.tests.support.listening import Journal

pytestmark = pytest.mark.requires("linux", "root", "crun", "conmon", "skopeo", "umoci", "busybox")
FIRST, SECOND = "alpha-hooks", "beta-hooks"
SECRET = "s3cret-of-the-task"


class Site:
    """A host with plugins that listen."""

    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        self.host, self.folder = host, folder
        (folder / "packages").mkdir()
        self.journal = Journal(folder / "journal")
        self.names: list[str] = []

    def install(self, name: str = FIRST, rows: list[dict[str, t.Any]] | None = None, config: t.Mapping[str, t.Any] | None = None, **fields: t.Any) -> None:
        rows = listening.hooks(*listening.EVENTS) if rows is None else rows
        listening.install(self.folder / "packages", self.journal, name, rows, config, **fields)
        self.names.append(name)
        self.journal.clear()

    def task(self, check: bool = False, **parameters: t.Any) -> modules.Result:
        given = {"name": "hooked", "image": self.host.image, "command": FOREVER, "stop_signal": "KILL", "backend": "crun", **parameters}
        if parameters.get("state") == "absent":
            given = {"name": "hooked", "state": "absent"}
        return modules.run("nexcage_container", check=check, **given)

    def works(self, **parameters: t.Any) -> modules.Result:
        result = self.task(**parameters)
        assert not result.get("failed"), result.get("msg")
        return result

    def heard(self, **parameters: t.Any) -> list[str]:
        """What is heard of one task that works."""
        self.journal.clear()
        self.works(**parameters)
        return self.journal.events()


@pytest.fixture
def site(host: Host, tmp_path: pathlib.Path) -> t.Iterator[Site]:
    made = Site(host, tmp_path)
    yield made
    for name in dict.fromkeys(made.names):
        modules.works("nexcage_plugin", name=name, state="absent")
    assert not (host.root / "var/lib/nexcage/hooks.json").exists()
    (host.root / "etc/nexcage/config.json").unlink(missing_ok=True)


def test_order_and_its_reverse_in_a_teardown(site: Site) -> None:
    site.install(SECOND, listening.hooks(*listening.EVENTS))
    site.install(FIRST, listening.hooks(*listening.EVENTS))
    site.install("last-hooks", listening.hooks("container.pre_create", "container.pre_delete", priority="high"))
    both = [FIRST, SECOND]
    made = [
        "last-hooks pre_create",
        *(f"{name} {event}" for event in ("pre_create", "post_create", "pre_start", "post_start", "status_changed") for name in both),
    ]
    assert site.heard() == made
    assert site.heard() == [], "a run without a change fires nothing"
    down = [f"{name} {event}" for event in ("pre_stop", "post_stop", "pre_delete", "post_delete") for name in reversed(both)]
    down.insert(6, "last-hooks pre_delete")
    assert site.heard(state="absent") == [*down, *(f"{name} status_changed" for name in both)]


def test_a_container_that_is_made_again(site: Site) -> None:
    site.install()
    site.works()
    steps = ("pre_stop", "pre_delete", "pre_create", "post_stop", "post_delete", "post_create", "pre_start", "post_start")
    assert site.heard(env={"A": "1"}) == [f"{FIRST} {step}" for step in steps]
    assert site.heard(state="paused") == [f"{FIRST} status_changed"]
    assert site.journal.lines()[-1][2] == {
        "name": "hooked",
        "backend": "crun-backend",
        "before": "running",
        "after": "paused",
        "cause": "task",
        "check_mode": False,
    }
    assert site.heard(state="stopped") == [f"{FIRST} {step}" for step in ("pre_stop", "post_stop", "status_changed")]


def test_what_is_not_as_the_run_led_to(site: Site) -> None:
    site.install(rows=listening.hooks("container.status_changed"))
    site.works(command=["/bin/true"], wait="exited")
    changes = [(told["before"], told["after"], told["cause"]) for _plugin, _event, told in site.journal.lines()]
    assert changes == [("absent", "running", "task"), ("running", "stopped", "drift")]


@pytest.mark.parametrize("by", ["manifest", "setting"])
def test_a_veto_is_predicted_and_holds(site: Site, by: str) -> None:
    rows = listening.hooks("container.pre_create", strategy="abort" if by == "manifest" else "skip")
    site.install(rows=rows, config={"at": "container.pre_create", "todo": "refuse"})
    if by == "setting":
        listening.strategies(site.host.root, FIRST, container__pre_create="abort")
    predicted, done = site.task(check=True), site.task()
    for result in (predicted, done):
        assert (result.get("failed"), result["error"]["code"]) == (True, "E_VETO"), result
        assert all(part in result["msg"] for part in (FIRST, "container.pre_create", "not on a Friday", f"plugins.{FIRST}.hooks"))
        assert result["hooks"][0]["vetoes"] == 1
    assert site.host.one("hooked") is None
    listening.strategies(site.host.root, FIRST, container__pre_create="skip")
    assert "says no, which counts only where" in str(site.task(check=True)["warnings"])
    assert site.works()["changed"]


def test_without_the_operator_it_is_a_warning(site: Site) -> None:
    site.install(config={"at": "everything", "todo": "refuse"})
    assert "not on a Friday" in str(site.task(check=True)["warnings"])
    result = site.works()
    assert result["container"]["status"] == "running" and "says no, which counts only where" in str(result["warnings"])


def test_a_later_veto_tells_what_was_done(site: Site) -> None:
    site.install(rows=listening.hooks("container.pre_start", "container.post_create", strategy="abort"), config={"at": "container.pre_start", "todo": "refuse"})
    refused = site.task()
    assert refused["error"]["details"]["done"] == ["create"] and refused["changed"], refused
    found = site.host.one("hooked")
    assert found is not None and found["status"] == "created"


@pytest.mark.parametrize(
    "todo, code, said", [("hang", "E_TIMEOUT", "did not answer within 0.3 seconds"), ("raise", "E_PLUGIN", "a defect"), ("answer", "E_PROTOCOL", "dict")]
)
def test_case_77_a_hook_that_fails(site: Site, todo: str, code: str, said: str) -> None:
    rows = listening.hooks("container.pre_create", "container.post_create", timeout_ms=300)
    site.install(rows=rows, config={"at": "everything", "todo": todo})
    result = site.works()
    assert result["container"]["status"] == "running" and said in str(result["warnings"]), result["warnings"]
    counted = {entry["event"]: (entry["executions"], entry["failures"], entry["timeouts"], entry["vetoes"]) for entry in result["hooks"]}
    assert counted == dict.fromkeys(("container.pre_create", "container.post_create"), (1, 1, int(todo == "hang"), 0))
    site.works(state="absent")
    listening.strategies(site.host.root, FIRST, container__pre_create="abort", container__post_create="abort")
    refused = site.task()
    assert (refused["error"]["code"], refused["error"]["details"]["code"]) == ("E_VETO", code)
    assert site.host.one("hooked") is None
    listening.strategies(site.host.root, FIRST, container__post_create="abort")
    assert site.works()["container"]["status"] == "running", "nothing that comes afterwards can refuse"


def test_a_hook_whose_worker_dies_takes_no_operation_with_it(site: Site) -> None:
    source = listening.SOURCE.replace("return self.crash()", "import os; os._exit(3)", 1)
    site.install(config={"at": "container.pre_create", "todo": "crash"}, source=source)
    result = site.works()
    assert result["container"]["status"] == "running" and "ended with code 3" in str(result["warnings"]), result["warnings"]
    assert site.journal.events() == [f"{FIRST} {event}" for event in ("post_create", "pre_start", "post_start", "status_changed")], "another worker goes on"


def test_once_more_where_it_shall_be(site: Site) -> None:
    rows = listening.hooks("container.pre_create", strategy="retry")
    site.install(rows=rows, config={"at": "container.pre_create", "todo": "once"})
    (counted,) = site.works()["hooks"]
    assert (counted["executions"], counted["failures"]) == (2, 1)
    assert site.journal.events() == [f"{FIRST} pre_create"]


def test_a_hook_that_writes_in_check_mode(site: Site) -> None:
    rows = listening.hooks("container.pre_create", strategy="abort")
    site.install(rows=rows, config={"todo": "write"})
    before = site.journal.file.read_bytes()
    predicted = site.task(check=True)
    assert "changes something" in str(predicted["warnings"]) and predicted["changed"], predicted
    assert site.journal.file.read_bytes() == before
    site.works()
    assert site.journal.events() == [f"{FIRST} pre_create"]


def test_a_hook_changes_no_container_and_sets_off_no_other(site: Site) -> None:
    site.install(rows=listening.hooks("container.post_create"), config={"at": "container.post_create", "todo": "meddle"})
    result = site.works()
    assert "meddled: E_UNSUPPORTED E_UNSUPPORTED E_CAPABILITY E_UNSUPPORTED" in str(result["warnings"]), result["warnings"]
    assert result["container"]["status"] == "running" and site.host.names() == ["hooked"]
    assert [entry["executions"] for entry in result["hooks"]] == [1]


def test_no_secret_is_told(site: Site) -> None:
    site.install(rows=listening.hooks("container.pre_create"), config={"at": "container.pre_create", "todo": "tell"})
    for check in (True, False):
        told = str(site.task(check=check, secret_env={"TOKEN": SECRET}, env={"PLAIN": "seen"})["warnings"])
        assert "PLAIN" in told and "seen" in told and "(secret)" in told
        assert SECRET not in told and "hmac" not in told
    site.works(state="absent")


def test_disabled_removed_and_back(site: Site) -> None:
    site.install()
    modules.works("nexcage_plugin", name=FIRST, state="disabled")
    assert site.heard() == []
    modules.works("nexcage_plugin", name=FIRST, state="enabled")
    assert site.heard(state="stopped")[0] == f"{FIRST} pre_stop"
    modules.works("nexcage_plugin", name=FIRST, state="absent")
    assert site.heard(state="absent") == []


def test_a_package_that_cannot_be_used_refuses_where_it_may(site: Site) -> None:
    site.install(rows=listening.hooks("container.pre_create", strategy="abort"))
    path = site.host.root / f"etc/nexcage/plugins/{FIRST}-1.0.0.nexcage-plugin"
    good = path.read_bytes()
    path.unlink()
    refused = site.task()
    assert (refused["error"]["code"], refused["error"]["details"]["code"]) == ("E_VETO", "E_INTEGRITY")
    path.write_bytes(good)
    assert site.works()["changed"]


def test_events_of_the_system(site: Site) -> None:
    site.install(rows=listening.hooks(*listening.SYSTEM))
    site.works()
    assert [event for _plugin, event, _told in site.journal.lines()] == ["system.startup", "system.shutdown"]
    site.journal.clear()
    site.works()
    assert site.task(backend="nope")["failed"] and site.journal.lines() == []
    site.install(SECOND, [], capabilities=[], filesystem={}, configuration={"journal": {"type": "string"}})
    modules.works("nexcage_plugin", name=SECOND, state="disabled")
    modules.works("nexcage_plugin", name=SECOND, priority=7)
    told = [(event, entry.get("plugin")) for _plugin, event, entry in site.journal.lines() if event not in ("system.startup", "system.shutdown")]
    assert told == [("system.plugin_unloaded", SECOND), ("system.config_reload", SECOND)]
    info = modules.works("nexcage_plugin_info", name=[SECOND])
    assert [(entry["event"], entry["executions"]) for entry in info["hooks"]] == [("system.health_check", 1)]


def test_a_run_that_fails(site: Site) -> None:
    site.install(rows=listening.hooks("system.error_occurred", "system.shutdown"))
    assert site.task(command=["/bin/false"], wait="running")["failed"]
    (first, second) = site.journal.lines()
    assert (first[1], first[2]["code"]) == ("system.error_occurred", "E_RUNTIME")
    assert (second[1], second[2]["failed"]) == ("system.shutdown", True)
