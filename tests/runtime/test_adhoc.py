# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible localhost -m nexcage.backends.nexcage_container -a "name=web …"``: text in, and the same container out."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.ansible_cli import adhoc
from ansible_collections.nexcage.backends.tests.support.host import Host, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
MODULE = "nexcage_container"

# The text of -a, and what a playbook would say.
COMMON = {
    "command='sleep 1000'": {"command": ["sleep", "1000"]},
    "env=A=1,B=2": {"env": {"A": "1", "B": "2"}},
    "labels=tier=front,zone=a": {"labels": {"tier": "front", "zone": "a"}},
    "annotations=org.example.a=b": {"annotations": {"org.example.a": "b"}},
    "memory=64m": {"memory": "64m"},
    "memory_swap=128m": {"memory_swap": "128m"},
    "cpus=0.5": {"cpus": "0.5"},
    "cpu_shares=512": {"cpu_shares": 512},
    "cpuset_cpus=0": {"cpuset_cpus": "0"},
    "cpuset_mems=0": {"cpuset_mems": "0"},
    "pids_limit=50": {"pids_limit": 50},
    "ulimits=nofile=1024:2048,core=0": {"ulimits": ["nofile=1024:2048", "core=0"]},
    "cap_add=NET_ADMIN cap_drop=CHOWN,KILL": {"cap_add": ["NET_ADMIN"], "cap_drop": ["CHOWN", "KILL"]},
    "no_new_privileges=yes": {"no_new_privileges": True},
    "read_only=true": {"read_only": True},
    "hostname=adhoc": {"hostname": "adhoc"},
    "user=65534:65534 groups=10,11": {"user": "65534:65534", "groups": ["10", "11"]},
    "working_dir=/tmp": {"working_dir": "/tmp"},
    "tmpfs=/tmp:size=1m": {"tmpfs": ["/tmp:size=1m"]},
    "volumes={files}:/files:ro": {"volumes": ["{files}:/files:ro"]},
    "stop_signal=SIGUSR1 stop_timeout=1": {"stop_signal": "SIGUSR1", "stop_timeout": 1},
    "network_mode=host": {"network_mode": "host"},
    "seccomp_profile=unconfined": {"seccomp_profile": "unconfined"},
    "init=no": {"init": False},
}


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "home"


def filled(value: object, host: Host) -> object:
    """With the real folder in place of ``{files}``."""
    if isinstance(value, list):
        return [str(entry).format(files=host.files) for entry in value]
    return value


def test_all_common_options_at_once(host: Host, home: pathlib.Path, backend: str) -> None:
    text = " ".join(COMMON).format(files=host.files)
    typed = {key: filled(value, host) for options in COMMON.values() for key, value in options.items()}
    name = f"name=web-{backend} backend={backend} image={host.image}"
    predicted, shown = adhoc(home, MODULE, f"{name} {text}", "--check", "--diff")
    assert predicted["changed"] and predicted["container"] == {"name": f"web-{backend}", "status": "absent"}
    assert "64 MiB" in shown.split(" => ")[0]
    made, _shown = adhoc(home, MODULE, f"{name} {text}")
    assert made["changed"] and made["container"]["status"] == "running" and made["plan"] == predicted["plan"]
    assert process_of(made["container"]).environment()["B"] == "2"
    # the typed form finds nothing to do, and describes the same container
    same = host.converge(f"web-{backend}", backend=backend, image=host.image, **typed)
    assert not same["changed"], same["plan"]
    assert same["container"] == made["container"]
    again, _shown = adhoc(home, MODULE, f"{name} {text}")
    assert not again["changed"] and again["container"] == made["container"]


def test_options_that_act(host: Host, home: pathlib.Path) -> None:
    """What is no property of a container, and a secret."""
    host.start("acting", "crun")
    stopped, _shown = adhoc(home, MODULE, "name=acting state=stopped kill_signal=USR1 force_kill=no timeout=30 pull=never")
    assert stopped["container"]["exit_code"] == 10
    again, shown = adhoc(home, MODULE, "name=acting state=restarted recreate=yes secret_env=TOKEN=unspeakable wait=running validate_certs=no", "--diff", "-v")
    assert [action["action"] for action in again["plan"]] == ["replace", "start"] and again["container"]["status"] == "running"
    assert "unspeakable" not in shown.replace("TOKEN=unspeakable", "")
    listed, _shown = adhoc(home, "nexcage_container_info", "name=acting,other status=running backend=crun")
    assert [entry["name"] for entry in listed["containers"]] == ["acting"]
    said, _shown = adhoc(home, "nexcage_container_exec", "name=acting command='sh -c \"cat; echo $TOKEN\"' stdin=in env=A=1 user=0 timeout=20")
    assert said["stdout_lines"] == ["in", "unspeakable"]
    gone, _shown = adhoc(home, MODULE, "name=acting state=absent force_kill=yes", "--check")
    assert gone["changed"] and host.one("acting")
    gone, _shown = adhoc(home, MODULE, "name=acting state=absent force_kill=yes")
    assert gone["changed"] and not host.one("acting")


def test_a_changed_limit_in_check_and_diff(host: Host, home: pathlib.Path) -> None:
    host.start("limited", "runc", memory="32m")
    predicted, shown = adhoc(home, MODULE, "name=limited memory=64m", "--check", "--diff")
    assert "32 MiB" in shown and predicted["plan"][0]["action"] == "update"
    assert modules.works(MODULE, name="limited")["container"]["resources"]["memory"] == 32 << 20


@pytest.mark.parametrize(
    ("text", "option"),
    [("memory=12potatoes", "memory"), ("volumes=/no/such:/x", "volumes"), ("restart_policy=always potatoes=12", "restart_policy")],
)
def test_bad_input(host: Host, home: pathlib.Path, text: str, option: str) -> None:
    before = host.situation()
    result, _shown = adhoc(home, MODULE, f"name=web image={host.image} {text}")
    assert result["failed"] and result["error"]["option"] == option and result["error"]["remedy"]
    assert host.situation() == before
