# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/examples/cloud-backend over real HTTP and TLS: what a task does, what it never tells, and how it heals after faults."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import cloud as clouds
from ansible_collections.nexcage.backends.tests.support import examples, modules
from ansible_collections.nexcage.backends.tests.support.host import Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "ssh-keygen")
NAME = "cloud-backend"
WEB: dict[str, t.Any] = {
    "name": "w1",
    "backend": "cloud",
    "image": "docker://registry.example/web:1",
    "command": ["serve", "--all"],
    "env": {"A": "b"},
    "memory": "64m",
    "cpus": 1.5,
    "labels": {"team": "a"},
}


class Place(t.NamedTuple):
    """The cloud and what the operator set."""

    cloud: clouds.Cloud
    settings: dict[str, t.Any]
    host: Host
    granted: list[str]


@pytest.fixture(scope="module")
def served(host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    folder = tmp_path_factory.mktemp("cloud")
    with contextlib.ExitStack() as stack:
        cloud, settings = stack.enter_context(clouds.serving(folder))
        granted = stack.enter_context(examples.installed(host, NAME, folder, config=settings))
        assert "network_client" in granted and "host_command" not in granted
        yield Place(cloud, settings, host, granted)
        cloud.faults.clear()


@pytest.fixture
def place(served: Place) -> t.Iterator[Place]:
    """The same, with an empty cloud."""
    served.cloud.asked.clear()
    yield served
    served.cloud.faults.clear()
    modules.works("nexcage_container", name="w1", state="absent", force_kill=True)
    served.cloud.instances.clear()


def task(how: t.Callable[..., modules.Result] = modules.works, **more: t.Any) -> modules.Result:
    return how("nexcage_container", **{**WEB, **more})


def test_a_life(place: Place) -> None:
    predicted = task(check=True)
    assert predicted.actions == ["create", "start"] and place.cloud.writes() == [] and place.cloud.instances == {}
    made = task()
    assert made["plan"] == predicted["plan"]
    assert (made["container"]["status"], made["container"]["backend"], made["container"]["resources"]["memory"]) == ("running", "cloud", 64 << 20)
    instance = place.cloud.instances["w1"]
    assert (instance["memory_bytes"], instance["cpu_millis"], instance["command"], instance["env"]) == (64 << 20, 1500, ["serve", "--all"], {"A": "b"})
    place.cloud.asked.clear()
    assert task()["changed"] is False and place.cloud.writes() == []
    assert task(backend="auto")["changed"] is False
    assert modules.works("nexcage_container_exec", name="w1", argv=["echo", "hello"])["stdout"] == "hello"
    assert modules.fails("nexcage_container_exec", name="w1", argv=["false"])["rc"] == 1
    (found,) = modules.works("nexcage_container_info", backend="cloud")["containers"]
    assert (found["name"], found["backend_details"]["region"], found["labels"]) == ("w1", "north", {"team": "a"})
    for state, actions in (("stopped", ["stop"]), ("started", ["start"]), ("restarted", ["stop", "start"])):
        place.cloud.asked.clear()
        predicted = modules.works("nexcage_container", check=True, name="w1", state=state)
        assert place.cloud.writes() == []
        assert modules.works("nexcage_container", name="w1", state=state).actions == predicted.actions == actions
    assert modules.works("nexcage_container", check=True, name="w1", state="absent").actions == ["stop", "delete"]
    assert modules.works("nexcage_container", name="w1", state="absent")["changed"] and place.cloud.instances == {}
    assert modules.works("nexcage_container", name="w1", state="absent")["changed"] is False


def test_the_readme_by_ansible(place: Place, tmp_path: pathlib.Path) -> None:
    install, _run = (next(iter(task.values())) for task in examples.tasks(NAME))
    assert sorted(install["grant"]) == sorted(place.granted) and set(install["config"]) <= set(place.settings)
    results = examples.four_steps(NAME, tmp_path)
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["plan"] == results[1]["plan"] and place.cloud.instances["web"]["labels"] == {"team": "a"}
    modules.works("nexcage_container", name="web", state="absent")


def test_changes_and_drift(place: Place) -> None:
    task()
    first = place.cloud.instances["w1"]["id"]
    assert task(check=True, memory="96m", labels={"team": "b"}).actions == ["update"]
    assert task(memory="96m", labels={"team": "b"}).actions == ["update"]
    assert (place.cloud.instances["w1"]["memory_bytes"], place.cloud.instances["w1"]["labels"]) == (96 << 20, {"team": "b"})
    place.cloud.instances["w1"]["cpu_millis"] = 250  # by somebody in the cloud's own console
    assert task(memory="96m", labels={"team": "b"}).actions == ["update"] and place.cloud.instances["w1"]["cpu_millis"] == 1500
    assert place.cloud.instances["w1"]["id"] == first
    again = task(env={"A": "c"}, memory="96m", labels={"team": "b"})
    assert again.actions == ["replace", "start"] and place.cloud.instances["w1"]["env"] == {"A": "c"}
    assert place.cloud.instances["w1"]["id"] != first
    del place.cloud.instances["w1"]  # and now it is gone
    assert task().actions == ["create", "start"]


def test_the_token_is_known_to_broker_and_cloud_only(place: Place) -> None:
    task()
    assert place.cloud.authorization == {f"Bearer {clouds.TOKEN}"} and clouds.TOKEN not in json.dumps(place.cloud.bodies)
    refused = modules.works("nexcage_plugin", name=NAME, state="present", config={**place.settings, "token": "another-one-entirely"})
    assert "another-one" not in json.dumps(refused)
    failed = task(modules.fails)  # the cloud repeats the credentials in its message
    modules.works("nexcage_plugin", name=NAME, state="present", config=place.settings)
    assert "401" in failed["msg"] and "unknown credentials" in failed["msg"] and "set a valid token" in failed["msg"]
    assert "another-one" not in json.dumps(failed)
    place.cloud.authorization.clear()
    told = [task(), modules.works("nexcage_container_info"), modules.works("nexcage_plugin_info", name=[NAME]), modules.works("nexcage_config_info")]
    assert clouds.TOKEN not in json.dumps(told)
    audit = pathlib.Path(place.host.layout.audit).read_text()
    assert "/v1/instances/{name}" in audit, audit[-2000:]
    assert clouds.TOKEN not in audit and "another-one" not in audit
    assert place.host.holders(clouds.TOKEN) == [place.host.layout.configuration + "/config.json"]
    assert pathlib.Path(place.host.layout.configuration, "config.json").stat().st_mode & 0o077 == 0


def test_a_server_with_another_certificate_gets_no_token(place: Place) -> None:
    place.cloud.authorization.clear()
    modules.works("nexcage_plugin", name=NAME, state="present", config={key: value for key, value in place.settings.items() if key != "authorities"})
    failed = task(modules.fails)
    modules.works("nexcage_plugin", name=NAME, state="present", config=place.settings)
    assert failed["error"]["code"] == "E_HTTP" and "certificate" in failed["msg"] and not place.cloud.authorization
    assert task()["changed"]


FLAWS = {
    "the mark is forgotten": ('"mark": (entry.get("tags") or {}).get(MARK)', '"mark": None', "test_what_the_manager_needs_of_it"),
    "what it observes is not so": ('"command": entry.get("command")', '"command": ["init"]', "test_what_the_manager_needs_of_it"),
    "a read that writes": ('_record(_ask(host, "GET", INSTANCE,', '_record(_ask(host, "POST", INSTANCE + "/start",', "test_reading_changes"),
    "gone is an error": ('"DELETE", INSTANCE, params["name"], missing=True', '"DELETE", INSTANCE, params["name"]', "test_a_life"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_suite_finds(repository: pathlib.Path, tmp_path: pathlib.Path, flaw: str) -> None:
    """The conformance suite, in a backend over an API."""
    old, new, finder = FLAWS[flaw]
    folder = shutil.copytree(repository / "docs/examples" / NAME, tmp_path / NAME)
    text = (folder / "plugin.py").read_text()
    assert text.count(old) == 1
    (folder / "plugin.py").write_text(text.replace(old, new))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/conformance", "--nexcage-plugin", str(folder), "-k", finder]
    ended = subprocess.run(command, cwd=repository, env={**os.environ, "CI": ""}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 1 and f"::{finder}" in ended.stdout, ended.stdout[-2000:]


def test_somebody_elses_is_left_alone(place: Place) -> None:
    theirs = {"name": "w1", "id": "i-9", "state": "running", "image": "docker://x", "region": "south"}
    place.cloud.instances["w1"] = dict(theirs)
    assert modules.works("nexcage_container_info")["containers"] == []
    for state in ("started", "absent"):
        modules.run("nexcage_container", **{**WEB, "state": state})
        assert place.cloud.instances["w1"] == theirs and place.cloud.writes() == [], state
    refused = task(modules.fails)
    assert refused["error"]["code"] == "E_OWNER"
    place.cloud.instances.clear()
    assert task()["changed"]


def test_what_is_refused_before_anything_is_asked_for(place: Place) -> None:
    for given, code in (({"image": "oci:/srv/images/web:1"}, "E_UNSUPPORTED"), ({"hostname": "x"}, "E_UNSUPPORTED"), ({"state": "paused"}, "E_UNSUPPORTED")):
        for check in (True, False):
            refused = task(modules.fails, check=check, **given)
            assert refused["error"]["code"] == code, (given, refused["msg"])
    assert place.cloud.writes() == []
    refused = task(modules.fails, memory="2g")
    assert "422 to PUT /v1/instances/w1: memory_bytes is above the quota" in refused["msg"]
    assert task()["changed"]


FAULTS = {
    "create, an error": (clouds.Fault("PUT", "/w1", "500"), ("E_RUNTIME", "503 to PUT /v1/instances/w1: the zone north is being repaired", "in 7 s")),
    "create, an error and yet done": (clouds.Fault("PUT", "/w1", "500", done=True), ("E_RUNTIME", "503 to PUT", "run the task again")),
    "create, a cut answer": (clouds.Fault("PUT", "/w1", "cut"), ("E_HTTP", "IncompleteRead", "")),
    "create, a cut answer and yet done": (clouds.Fault("PUT", "/w1", "cut", done=True), ("E_HTTP", "IncompleteRead", "")),
    "create, no answer and yet done": (clouds.Fault("PUT", "/w1", "silent", done=True), ("E_TIMEOUT", "did not answer in time", "")),
    "create, somebody else's page": (clouds.Fault("PUT", "/w1", "html"), ("E_RUNTIME", "200 to PUT /v1/instances/w1: <h1>a proxy's own page</h1>", "")),
    "start, a cut answer and yet done": (clouds.Fault("POST", "/start", "cut", done=True), ("E_HTTP", "IncompleteRead", "")),
    "start, an error": (clouds.Fault("POST", "/start", "500"), ("E_RUNTIME", "503 to POST /v1/instances/w1/start", "")),
    "reading, an error": (clouds.Fault("GET", "/w1", "500"), ("E_RUNTIME", "503 to GET /v1/instances/w1", "")),
    "reading, a cut answer": (clouds.Fault("GET", "/w1", "cut"), ("E_HTTP", "IncompleteRead", "")),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_and_the_next_run_heals(place: Place, case: str) -> None:
    fault, (code, words, remedy) = FAULTS[case]
    place.cloud.faults.append(fault)
    failed = task(modules.fails, timeout=2)
    assert failed["error"]["code"] == code and words in failed["msg"] and remedy in failed["error"]["remedy"], failed["msg"]
    place.cloud.faults.clear()
    healed = task()
    assert healed["container"]["status"] == "running" and len(place.cloud.instances) == 1
    assert task()["changed"] is False


@pytest.mark.parametrize("kind", ["500", "cut"])
@pytest.mark.parametrize("done", [True, False])
def test_a_fault_of_other_changes(place: Place, kind: str, done: bool) -> None:
    task()
    wanted = {"memory": "96m"}
    place.cloud.faults.append(clouds.Fault("PATCH", "/w1", kind, done))
    assert task(modules.fails, **wanted)["error"]["code"] in ("E_RUNTIME", "E_HTTP")
    place.cloud.faults.clear()
    task(**wanted)
    assert place.cloud.instances["w1"]["memory_bytes"] == 96 << 20 and task(**wanted)["changed"] is False
    place.cloud.faults.append(clouds.Fault("DELETE", "/w1", kind, done))
    assert modules.fails("nexcage_container", name="w1", state="absent")["error"]["code"] in ("E_RUNTIME", "E_HTTP")
    place.cloud.faults.clear()
    modules.works("nexcage_container", name="w1", state="absent")
    assert place.cloud.instances == {} and modules.works("nexcage_container", name="w1", state="absent")["changed"] is False


def test_many_come_in_pages(place: Place) -> None:
    names = [f"n{number}" for number in range(7)]
    for name in names:
        task(name=name, state="present")
    place.cloud.asked.clear()
    assert [found["name"] for found in modules.works("nexcage_container_info", backend="cloud")["containers"]] == names
    assert [path for _method, path in place.cloud.asked] == ["/v1/instances", "/v1/instances?page=3", "/v1/instances?page=6"]
    for name in names:
        modules.works("nexcage_container", name=name, state="absent")


def test_health(place: Place) -> None:
    def told() -> dict[str, t.Any]:
        (plugin,) = modules.works("nexcage_plugin_info", name=[NAME])["plugins"]
        return dict(plugin["health"])

    place.cloud.incidents = ["the zone south is slow"]
    assert told()["problems"] == ["the zone south is slow"]
    place.cloud.incidents = []
    place.cloud.faults.append(clouds.Fault("GET", "/v1/status", "500"))
    assert told()["status"] == "unhealthy" and "503 to GET /v1/status" in str(told()["problems"])
