# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/examples/gvisor-backend with the real runsc: what every container can, and what is different behind another kernel."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import examples, modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host, lives

pytestmark = pytest.mark.requires("linux", "root", "crun", "runsc", "conmon", "skopeo", "umoci", "busybox", "ssh-keygen")
NAME = "gvisor-backend"
# The runsc of Debian 12 cannot set up a network of its own on kernels as new as 6.18; without one it runs everywhere.
OPTIONS = {"runtime_options": "--network=none"}


@pytest.fixture(scope="module")
def gvisor(host: Host, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    with examples.installed(host, NAME, tmp_path_factory.mktemp("gvisor"), config=OPTIONS):
        yield


def task(host: Host, **more: t.Any) -> dict[str, t.Any]:
    return {"name": "g1", "backend": "gvisor", "image": host.image, "command": FOREVER, **more}


def said(*argv: str, **more: t.Any) -> str:
    """What a command in the container prints."""
    return str(modules.works("nexcage_container_exec", name="g1", argv=list(argv), **more)["stdout"])


@pytest.mark.usefixtures("gvisor")
def test_a_life(host: Host) -> None:
    asked = task(host, memory="128m", env={"A": "b"}, secret_env={"TOKEN": "hush-hush"}, labels={"x": "y"})
    predicted = modules.works("nexcage_container", check=True, **asked)
    made = modules.works("nexcage_container", **asked)
    assert predicted.actions == made.actions == ["create", "start"]
    assert (made["container"]["backend"], made["container"]["status"]) == ("gvisor", "running")
    assert made["container"]["resources"]["memory"] == 128 << 20  # as the kernel tells of the group that runsc runs in
    assert "Starting gVisor" in said("/bin/busybox", "dmesg")
    assert said("/bin/busybox", "sh", "-c", "echo $A $TOKEN") == "b hush-hush"
    assert said("/bin/busybox", "cat", stdin="from here", stdin_add_newline=False) == "from here"
    refused = modules.fails("nexcage_container_exec", name="g1", argv=["/bin/busybox", "false"])
    assert refused["rc"] == 1
    assert modules.works("nexcage_container", **asked)["changed"] is False
    (found,) = modules.works("nexcage_container_info", backend="gvisor")["containers"]
    assert found["name"] == "g1" and found["labels"] == {"x": "y"}
    pid = found["pid"]
    for state, actions, status in (
        ("paused", ["pause"], "paused"),
        ("started", ["resume"], "running"),
        ("restarted", ["stop", "start"], "running"),
        ("paused", ["pause"], "paused"),
        ("stopped", ["stop"], "stopped"),  # it hears the signal, as it is let go on first
    ):
        predicted = modules.works("nexcage_container", check=True, name="g1", state=state)
        done = modules.works("nexcage_container", name="g1", state=state)
        assert predicted.actions == done.actions == actions and done["container"]["status"] == status, state
    assert done["container"]["exit_code"] == 15 and not lives(pid)
    assert modules.works("nexcage_container", name="g1", state="started").actions == ["start"]
    predicted = modules.works("nexcage_container", check=True, name="g1", state="absent", force_kill=True)
    gone = modules.works("nexcage_container", name="g1", state="absent", force_kill=True)
    assert predicted.actions == gone.actions == ["stop", "delete"]
    assert modules.works("nexcage_container", name="g1", state="absent")["changed"] is False


@pytest.mark.usefixtures("gvisor")
def test_the_readme_by_ansible(host: Host, tmp_path: pathlib.Path) -> None:
    results = examples.four_steps(NAME, tmp_path, image=host.image, command=FOREVER, stop_signal="KILL")  # nothing is fetched from elsewhere in a test
    assert [result["changed"] for result in results] == [True, True, False, False]
    assert results[0]["plan"] == results[1]["plan"] and results[1]["container"]["status"] == "running"
    modules.works("nexcage_container", name="web", state="absent")


@pytest.mark.usefixtures("gvisor")
def test_a_changed_limit_makes_it_anew(host: Host) -> None:
    modules.works("nexcage_container", **task(host, memory="64m", stop_signal="KILL"))
    larger = task(host, memory="96m", stop_signal="KILL")
    predicted = modules.works("nexcage_container", check=True, **larger)
    assert predicted.actions == ["replace", "start"]  # runsc has no update
    done = modules.works("nexcage_container", **larger)
    assert done.actions == predicted.actions and done["container"]["resources"]["memory"] == 96 << 20
    assert modules.works("nexcage_container", **larger)["changed"] is False
    modules.works("nexcage_container", name="g1", state="absent")


@pytest.mark.usefixtures("gvisor")
def test_files_that_the_host_does_not_see(host: Host) -> None:
    modules.works("nexcage_container", **task(host, stop_signal="KILL"))
    refused = modules.fails("nexcage_container_exec", name="g1", argv=["/bin/true"], creates="/bin/busybox")
    assert refused["error"]["code"] == "E_UNSUPPORTED" and "runsc" in refused["msg"]
    modules.works("nexcage_container", name="g1", state="absent")


@pytest.mark.usefixtures("gvisor")
def test_a_command_that_takes_too_long_is_killed(host: Host) -> None:
    modules.works("nexcage_container", **task(host, stop_signal="KILL"))
    late = modules.fails("nexcage_container_exec", name="g1", argv=["/bin/busybox", "sleep", "4711"], timeout=1)
    assert late["error"]["code"] == "E_TIMEOUT" and "4711" not in said("/bin/busybox", "ps")
    modules.works("nexcage_container", name="g1", state="absent")


@pytest.mark.usefixtures("gvisor")
def test_several_beside_those_of_another_runtime(host: Host) -> None:
    for name, backend in (("g1", "gvisor"), ("g2", "gvisor"), ("c1", "crun")):
        modules.works("nexcage_container", **{**task(host, stop_signal="KILL"), "name": name, "backend": backend})
    found = modules.works("nexcage_container_info")["containers"]
    assert [(entry["name"], entry["backend"], entry["status"]) for entry in found] == [
        ("c1", "crun", "running"),
        ("g1", "gvisor", "running"),
        ("g2", "gvisor", "running"),
    ]
    (health,) = (entry["health"] for entry in modules.works("nexcage_plugin_info", name=[NAME])["plugins"])
    assert health["status"] in ("healthy", "degraded"), health
    moved = modules.works("nexcage_container", **{**task(host, stop_signal="KILL"), "backend": "crun", "replace_backend": True})
    assert moved["container"]["backend"] == "crun"
    for name in ("g1", "g2", "c1"):
        modules.works("nexcage_container", name=name, state="absent", force_kill=True)


@pytest.mark.usefixtures("gvisor")
@pytest.mark.parametrize(
    ("options", "complaint"), [("--root=/tmp", "nexcage's own"), ("network none", "not an option"), ("-- --network=none", "not an option")]
)
def test_options_that_are_none(host: Host, options: str, complaint: str) -> None:
    modules.works("nexcage_plugin", name=NAME, state="present", config={"runtime_options": options})
    try:
        refused = modules.fails("nexcage_container", **task(host))
    finally:
        modules.works("nexcage_plugin", name=NAME, state="present", config=OPTIONS)
    assert (refused["error"]["code"], refused["error"]["option"]) == ("E_INVALID", "runtime_options") and complaint in refused["msg"]
    assert modules.works("nexcage_container_info", name=["g1"])["containers"] == []
