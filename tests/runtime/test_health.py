# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that crashes on real workers: quarantine, half-open, healing; and the playbook that looks at a fleet."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker
from ansible_collections.nexcage.backends.tests.support import exposition, modules, packages, releases
from ansible_collections.nexcage.backends.tests.support.ansible_cli import run_playbook
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
NAME = "frail-backend"
GRANT = [f"container_{operation}" for operation in ("create", "start", "stop", "delete", "list", "info")]
# Its setting says what its operations do: sound, or one of the ways in which a worker is lost.
SOURCE = """
import os
import time

from ..sdk.backend import BackendExtension


class Frail(BackendExtension):
    name = "frail-backend"

    def create(self, host, params):
        {harm}
        digest = host.image.ensure(params["image"], params.get("pull", "missing"))["digest"]
        return host.oci.create(params["name"], digest)

    def start(self, host, params):
        host.oci.start(params["name"])

    def stop(self, host, params):
        host.oci.stop(params["name"], params.get("signal"), params.get("timeout"), params.get("force", False))

    def delete(self, host, params):
        host.oci.delete(params["name"])

    def list(self, host, params):
        return host.oci.list(params.get("names"))

    def info(self, host, params):
        return host.oci.info(params["name"])

    def health(self, host, params):
        return {{"status": "healthy", "problems": []}}


def backend():
    return Frail()
"""
CRASH = "os.abort()"
FLOOD = """
        for descriptor in range(3, 30):
            try:
                os.write(descriptor, b"x" * 64)
            except OSError:
                pass
"""


def package(folder: pathlib.Path, harm: str, version: str = "1.0.0") -> str:
    operations = ["create", "start", "stop", "delete", "list", "info", "health"]
    facts = {"capabilities": GRANT, "operations": operations, "oci": {"runtime": "crun"}, "provides_backend": True}
    files = {**packages.files(packages.manifest(NAME, version, **facts)), "plugin.py": SOURCE.format(harm=harm).encode()}
    path = folder / f"{NAME}-{version}.nexcage-plugin"
    path.write_bytes(releases.packing.pack(files))
    return str(path)


@pytest.fixture
def installed(host: Host, tmp_path: pathlib.Path) -> t.Iterator[t.Callable[..., None]]:
    """Installs the plugin; nothing of it is left afterwards."""

    def install(harm: str, version: str = "1.0.0") -> None:
        modules.works("nexcage_plugin", name=NAME, src=package(tmp_path, harm, version), trust="unsigned", grant=GRANT, allow_downgrade=True)

    yield install
    modules.works("nexcage_plugin", name=NAME, state="enabled")
    for found in modules.works("nexcage_container_info")["containers"]:
        if found["backend"] == "frail":
            modules.works("nexcage_container", name=found["name"], state="absent", force_kill=True)
    modules.works("nexcage_plugin", name=NAME, state="absent")
    pathlib.Path(host.layout.state, "plugins", NAME, breaker.FILE).unlink(missing_ok=True)
    pathlib.Path(host.layout.configuration, "config.json").unlink(missing_ok=True)


def task(host: Host, name: str = "frail1") -> dict[str, t.Any]:
    return {"name": name, "backend": "frail", "image": host.image, "command": FOREVER, "state": "present"}


def told(**parameters: t.Any) -> dict[str, t.Any]:
    (found,) = modules.works("nexcage_plugin_info", name=[NAME], **parameters)["plugins"]
    return t.cast("dict[str, t.Any]", found)


def crash(host: Host, code: str = "E_CRASH", times: int = breaker.FAULTS) -> modules.Result:
    """So many tasks that lose their worker; the last one's result."""
    for _count in range(times):
        result = modules.fails("nexcage_container", **task(host), timeout=1 if code == "E_TIMEOUT" else 60)
        assert result["error"]["code"] == code, result["msg"]
    return result


def test_a_plugin_that_keeps_crashing(host: Host, installed: t.Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    installed(CRASH)
    for _count in range(2 * breaker.FAULTS):  # what check mode sees, nobody counts
        assert modules.works("nexcage_container", check=True, **task(host))["changed"]
    crash(host, times=breaker.FAULTS - 1)
    assert (told()["state"], told()["health"]["status"]) == ("loaded", "degraded")
    last = crash(host, times=1)
    assert any(f"{NAME} is quarantined" in warning for warning in map(str, last["warnings"])), last["warnings"]

    for check in (True, False):
        refused = modules.fails("nexcage_container", check=check, **task(host))
        assert refused["error"]["code"] == "E_QUARANTINED" and f"nexcage_plugin name={NAME} state=enabled" in refused["error"]["remedy"]
        assert (refused["error"]["option"], refused["error"]["value"]) == ("backend", NAME)
    found = told(verify=True)
    assert (found["state"], found["health"]["status"]) == ("error_state", "unhealthy") and "E_CRASH in create" in found["quarantined"]
    assert (found["statistics"]["faults"], found["statistics"]["last"]["code"]) == (5, "E_CRASH") and found["verification"]["ok"]
    other = modules.works("nexcage_container", name="sound1", backend="crun", image=host.image, command=FOREVER, state="present")
    assert other["changed"]  # the others are untouched
    modules.works("nexcage_container", name="sound1", state="absent")

    real = breaker.clock
    monkeypatch.setattr(breaker, "clock", lambda: real() + breaker.HALF_OPEN + 5)
    modules.works("nexcage_container", check=True, **task(host))
    assert told(check=True)["quarantined"] == found["quarantined"]  # check mode tries nothing
    assert told()["quarantined"] == ""  # the health operation was the one that is let through
    assert told()["state"] == "loaded"
    crash(host, times=1)  # crashes still, and is counted from the beginning
    assert told()["quarantined"] == ""


def test_enabled_by_hand_and_mended_by_an_update(host: Host, installed: t.Callable[..., None]) -> None:
    installed(CRASH)
    crash(host)
    assert modules.fails("nexcage_container", **task(host))["error"]["code"] == "E_QUARANTINED"
    assert modules.works("nexcage_plugin", name=NAME, state="enabled", check=True)["changed"] and told()["quarantined"]
    assert modules.works("nexcage_plugin", name=NAME, state="enabled")["changed"] and not told()["quarantined"]
    crash(host)
    assert told()["quarantined"]
    installed("pass", "1.0.1")
    assert told()["quarantined"] == "" and modules.works("nexcage_container", **task(host))["changed"]
    assert modules.works("nexcage_container", **task(host))["changed"] is False


def test_auto_takes_another_one(host: Host, installed: t.Callable[..., None]) -> None:
    installed("pass")
    modules.works("nexcage_plugin", name=NAME, priority=1)
    auto = {**task(host), "backend": "auto"}
    assert modules.works("nexcage_container", **auto)["container"]["backend"] == "frail"
    installed(CRASH, "1.0.1")
    for number in range(breaker.FAULTS):
        lost = modules.fails("nexcage_container", **{**auto, "name": f"frail{number + 2}"})
        assert lost["error"]["code"] == "E_CRASH", lost["msg"]
    chosen = modules.works("nexcage_container", **{**auto, "name": "sound2"})
    assert chosen["container"]["backend"] == "crun"
    listed = modules.works("nexcage_container_info")  # of the others
    assert [entry["name"] for entry in listed["containers"]] == ["sound2"]
    assert "not listed: frail1; frail-backend may not be used" in str(listed["warnings"])
    assert [entry["name"] for entry in listed["not_listed"]] == ["frail1"]
    assert modules.fails("nexcage_container_info", name=["frail1"])["error"]["code"] == "E_QUARANTINED"
    assert modules.fails("nexcage_container_info", backend="frail")["error"]["code"] == "E_QUARANTINED"
    modules.works("nexcage_container", name="sound2", state="absent")
    held = modules.fails("nexcage_container", name="frail1", state="absent")  # nobody else can remove it
    assert held["error"]["code"] == "E_QUARANTINED" and held["error"]["option"] is None


@pytest.mark.parametrize(("harm", "code"), [("time.sleep(60)", "E_TIMEOUT"), (FLOOD, "E_PROTOCOL")])
def test_other_ways_to_lose_a_worker(host: Host, installed: t.Callable[..., None], harm: str, code: str) -> None:
    installed(harm)
    crash(host, code)
    assert f"the last one with {code} in create" in told()["quarantined"]


def test_an_error_of_the_plugin_or_of_the_task_is_no_crash(host: Host, installed: t.Callable[..., None]) -> None:
    installed('raise RuntimeError("not today")')
    for _count in range(breaker.FAULTS + 1):
        assert modules.fails("nexcage_container", **task(host))["error"]["code"] == "E_PLUGIN"
    found = told()
    assert (found["quarantined"], found["health"]["status"], found["statistics"]["faults"]) == ("", "degraded", 0)


# ---- the playbook


@pytest.fixture
def inventory(host: Host) -> pathlib.Path:
    """Two hosts, both this machine."""
    path = host.files / "inventory.yml"
    facts = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    path.write_text(yaml.safe_dump({"all": {"hosts": {"one": facts, "two": facts}}}))
    return path


def table(outcome: t.Any) -> list[str]:
    rows: list[str] = outcome.of("One table for all")["msg"]
    return rows


def test_the_table_of_a_fleet(host: Host, installed: t.Callable[..., None], inventory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    installed(CRASH)
    playbook, home = pathlib.Path("nexcage.backends.health"), tmp_path / "home"
    common = ["-i", str(inventory)]
    figures = host.files / "nexcage.prom"
    options = json.dumps({"health_verify": True, "health_metrics_file": str(figures)})
    outcome = run_playbook(home, playbook, *common, "-e", options, NEXCAGE_ROOT=str(host.root))
    assert outcome.code == 0, outcome.text
    head, *rows = table(outcome)
    assert head.split() == ["HOST", "PLUGIN", "VERSION", "TIER", "HEALTH", "PROBLEMS"]
    assert [row.split()[:2] for row in rows] == [[name, plugin] for name in ("one", "two") for plugin in ("crun-backend", "runc-backend", NAME)]
    assert {row.split()[4] for row in rows} <= {"healthy", "degraded"}
    assert exposition.value(exposition.read(figures.read_text()), "nexcage_plugin_quarantined", plugin=NAME) == 0

    crash(host)
    outcome = run_playbook(home, playbook, *common, "-e", '{"health_plugins": ["frail"]}', NEXCAGE_ROOT=str(host.root))
    assert outcome.code != 0 and [row.split()[4] for row in table(outcome)[1:]] == ["unhealthy"] * 2
    assert "E_CRASH in create" in table(outcome)[1] and f"unhealthy: {NAME}" in outcome.text
    outcome = run_playbook(home, playbook, *common, "-e", '{"health_plugins": ["crun"]}', "--limit", "two", NEXCAGE_ROOT=str(host.root))
    assert outcome.code == 0 and len(table(outcome)) == 2


def test_a_host_that_cannot_be_asked_is_in_the_table(host: Host, inventory: pathlib.Path, tmp_path: pathlib.Path) -> None:
    hosts = yaml.safe_load(inventory.read_text())["all"]["hosts"]
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-o BatchMode=yes"}
    broken = {**hosts["one"], "health_plugins": ["nope"]}
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"broken": broken, "gone": gone, "two": hosts["two"]}}}))
    outcome = run_playbook(tmp_path / "home", pathlib.Path("nexcage.backends.health"), "-i", str(inventory), NEXCAGE_ROOT=str(host.root))
    assert outcome.code != 0
    rows = {row.split()[0]: row.split() for row in table(outcome)[1:]}
    assert rows["gone"][4] == "unreachable" and rows["broken"][4] == "unknown" and "nope" in " ".join(rows["broken"])
    assert rows["two"][4] in ("healthy", "degraded")
