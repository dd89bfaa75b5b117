# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation, run by ansible-playbook; and that nothing waits for what a container leaves running."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import images, modules, trail
from ansible_collections.nexcage.backends.tests.support.ansible_cli import (
    adhoc_command,
    environment,
    examples,
    playbook_command,
    plays_well,
    run_playbook,
    write_playbook,
)
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host
from ansible_collections.nexcage.backends.tests.support.releases import NEED_A_PACKAGE, NEED_AN_INDEX

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "docker-registry")
RUNNER = pathlib.Path(modules.__file__).parent / "killable.py"
PROMPT = 30  # seconds; what waits for a container here would wait for ever

# The tasks of the modules' EXAMPLES in an order that makes sense as one play: a module, and how many of its tasks.
ORDER = (
    ("nexcage_container", 2),
    ("nexcage_container_exec", 2),
    ("nexcage_container_info", 3),
    ("nexcage_plugin_info", 5),
    ("nexcage_container", 3),
    ("nexcage_plugin", 2),
)
# Whether each of them changes something on a machine where nothing is yet.
CHANGES = {
    "Run a container from a local OCI layout": True,
    "Change a limit of the running container, without making it again": True,
    "Stop it": True,
    "Remove it": True,
    "Run a job on runc to its end, and fail where it fails; its code 4 means that there was nothing to do": True,
    "Ask for the version": True,
    "Initialise the data once": True,
    "List the containers that run": False,
    "Look for one container": False,
    "List those with a label, on one backend": False,
    "Prefer runc": True,
    "Never use crun on this host": True,
    "See which backends this host has": False,
    "See what is installed, on a host with hundreds of plugins": False,
    "Refuse to go on without a healthy crun": False,
    "See whether anything was changed behind our back": False,
    "Write figures for Prometheus": False,
}


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "home"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def replaced(value: t.Any, table: t.Mapping[str, str]) -> t.Any:
    """Whatever an example says, with this machine's paths and addresses in place of those it names."""
    if isinstance(value, dict):
        return {key: replaced(entry, table) for key, entry in value.items()}
    if isinstance(value, list):
        return [replaced(entry, table) for entry in value]
    if isinstance(value, str):
        for old, new in table.items():
            value = value.replace(old, new)
    return value


def test_every_example_runs(host: Host, home: pathlib.Path, repository: pathlib.Path) -> None:
    layout = images.Layout(host.files / "examples")
    base = images.busybox_layer()
    web = layout.tag(layout.manifest([base, images.layer(images.link_member("bin/httpd", "busybox"))], {"Env": ["PATH=/bin"]}), "web")
    script = b'#!/bin/sh\ntest "$1" = --once && test "$TOKEN" = sesame && touch /tmp/it && exit 4\n'
    job = layout.tag(layout.manifest([base, images.layer(images.member("bin/job", script))], {"Env": ["PATH=/bin"]}), "job")
    pages = host.files / "www"
    pages.mkdir()
    with images.running_registry(host.files / "registry") as registry:
        table = {
            "oci:/srv/images/web:latest": web,
            "docker://registry.example.com/tools/job:1.2": registry.push(job, "tools/job:1.2"),
            "/srv/www": str(pages),
            "/var/lib/prometheus/node-exporter": str(host.files),
            "8080": str(free_port()),
        }
        elsewhere = {"nexcage_plugin": (*NEED_A_PACKAGE, *NEED_AN_INDEX)}
        left = {module: [task for task in examples(repository, module) if task["name"] not in elsewhere.get(module, ())] for module, _count in ORDER}
        tasks = [replaced(left[module].pop(0), table) for module, count in ORDER for _number in range(count)]
        assert not any(left.values()), "examples that this test does not run"
        for task in tasks:
            if "registry.example.com" not in str(task) and task.get("nexcage.backends.nexcage_container", {}).get("name") == "job":
                task["nexcage.backends.nexcage_container"]["validate_certs"] = False  # this registry has no certificate
        assert {task["name"] for task in tasks} == set(CHANGES)
        play = write_playbook(host.files / "examples.yml", {"vars": {"vault_token": "sesame"}, "tasks": tasks})
        outcome = plays_well(home, play, "--diff")
    assert {entry["task"]: bool(entry["result"].get("changed")) for entry in outcome.results} == CHANGES
    assert outcome.of("Run a job on runc to its end, and fail where it fails; its code 4 means that there was nothing to do")["container"]["exit_code"] == 4
    assert outcome.of("Ask for the version")["stdout"].startswith("Linux")
    assert [entry["name"] for entry in outcome.of("Look for one container")["containers"]] == ["web"]
    assert "sesame" not in outcome.text
    assert 'nexcage_plugin_info{plugin="crun-backend"' in (host.files / "nexcage.prom").read_text()
    (pathlib.Path(host.layout.configuration) / "config.json").unlink()  # crun is of use again


# ---- nothing waits


def is_apart(pid: int, ours: str) -> None:
    """A process holds nothing of its maker: no descriptor, no terminal, no session, no control group."""
    facts = trail.stat(pid)
    assert facts["terminal"] == 0 and facts["session"] != os.getsid(0)
    for number, target in trail.descriptors(pid).items():
        assert ours not in target and not target.startswith(("/dev/pts/", "/dev/tty")), (number, target)
    mine = trail.control_groups(os.getpid())
    shared = [name for name, path in trail.control_groups(pid).items() if path == mine.get(name) and path.strip("/")]
    assert not shared, shared


def left_running(host: Host, name: str, ours: str) -> None:
    """The container, what was started in it, and conmon run, each apart from whoever made them."""
    found = host.one(name)
    assert found and found["status"] == "running"
    is_apart(found["pid"], ours)
    is_apart(found["backend_details"]["conmon_pid"], ours)
    inside = [pid for pid, line in trail.inside(found["backend_details"]["cgroup"]) if "4711" in line]
    assert inside, "what exec left in the background"
    for pid in inside:
        is_apart(pid, ours)


PARAMETERS = {"state": "started", "command": FOREVER, "timeout": 60}
BACKGROUND = "sh -c 'sleep 4711 & echo left'"


def test_a_script_that_reads_the_output_to_its_end(host: Host, backend: str) -> None:
    """``subprocess.run`` with both streams captured ends at the end of the file, not at the end of the process."""
    name = f"captured-{backend}"
    arguments = json.dumps({"name": name, "backend": backend, "image": host.image, **PARAMETERS})
    reading, writing = os.pipe()  # an extra one that the caller has open, and would pass on
    os.set_inheritable(writing, True)
    command = [sys.executable, str(RUNNER), arguments, "", "-1"]
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROMPT, close_fds=False, check=True)
    assert json.loads(made.stdout)["changed"]
    command = [sys.executable, str(RUNNER), json.dumps({"name": name, "command": BACKGROUND}), "", "-1", "nexcage_container_exec"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROMPT, close_fds=False, check=True)
    assert json.loads(said.stdout)["stdout"] == "left"
    left_running(host, name, f"pipe:[{os.fstat(writing).st_ino}]")
    os.close(writing)
    assert os.read(reading, 1) == b""  # nobody else holds the other end
    os.close(reading)


def test_a_pipe_behind_ansible(host: Host, home: pathlib.Path, backend: str) -> None:
    """``ansible … | cat``: all that was started has to let go of the pipe."""
    name = f"piped-{backend}"
    for module, text in (
        ("nexcage_container", f"name={name} backend={backend} image={host.image} state=started"),
        ("nexcage_container_exec", f'name={name} command="{BACKGROUND}"'),
    ):
        process = subprocess.Popen(
            adhoc_command(module, text), env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert process.stdout
        ours = f"pipe:[{os.fstat(process.stdout.fileno()).st_ino}]"
        shown = process.communicate(timeout=PROMPT)[0]
        assert process.returncode == 0 and b"CHANGED" in shown, shown
    left_running(host, name, ours)


def test_a_playbook_on_a_terminal(host: Host, home: pathlib.Path) -> None:
    """With a controlling terminal, which goes away when the playbook has ended."""
    tasks = [
        {"nexcage.backends.nexcage_container": {"name": "terminal", "image": host.image, "backend": "crun"}},
        {"nexcage.backends.nexcage_container_exec": {"name": "terminal", "command": BACKGROUND}},
    ]
    command = playbook_command(write_playbook(host.files / "terminal.yml", {"tasks": tasks}))
    leader, terminal = os.openpty()
    script = "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", script, *command], env=environment(home), stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while part := _read(leader):
            shown += part
        assert process.wait(PROMPT) == 0, shown
    os.close(leader)  # a hang-up for whoever is still there
    time.sleep(0.1)
    left_running(host, "terminal", "/dev/pts/")


def _read(terminal: int) -> bytes:
    """What comes from a terminal; nothing once nobody holds its other end."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


# ---- ended from outside


def test_ansible_ends_a_task_at_its_limit(host: Host, home: pathlib.Path) -> None:
    """``async`` kills the module's process group, or on a busy machine misses it; the next run goes on from there."""
    seen = trail.Trail(host.root)
    slow = {"name": "late", "image": host.image, "backend": "crun", "wait": "exited", "timeout": 10, "env": {"MARKER": str(host.root)}}
    tasks = [
        {"name": "late", "nexcage.backends.nexcage_container": slow, "async": 3, "poll": 1, "ignore_errors": True},
        {"name": "again", "nexcage.backends.nexcage_container": {**slow, "wait": "running", "timeout": 60}},
    ]
    play = write_playbook(host.files / "late.yml", {"vars": {"ansible_async_dir": str(host.files / "async")}, "tasks": tasks})
    outcome = run_playbook(home, play)
    seen.note()
    assert outcome.code == 0 and [entry["status"] for entry in outcome.results] == ["failed", "ok"], outcome.text
    assert not outcome.of("again")["changed"] and outcome.of("again")["container"]["status"] == "running"
    host.converge("late", state="absent", force_kill=True)
    assert [line for line in seen.left() if "late" in line or "mount" in line or "process" in line] == []


def test_interrupted_playbook(host: Host, home: pathlib.Path) -> None:
    """Control-C at a terminal reaches the whole process group, and no container."""
    slow = {"name": "patient", "image": host.image, "backend": "runc", "wait": "exited"}
    play = write_playbook(host.files / "patient.yml", {"tasks": [{"nexcage.backends.nexcage_container": slow}]})
    with subprocess.Popen(
        playbook_command(play), env=environment(home), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        deadline = time.monotonic() + PROMPT
        while not ((found := host.one("patient")) and found["status"] == "running") and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=PROMPT)
    assert process.returncode != 0
    found = host.one("patient")
    assert found and found["status"] == "running"
    assert not host.converge("patient")["changed"]
