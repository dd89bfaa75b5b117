# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's own process is ended at any moment: what there is then is old or new, and the next run heals it."""

from __future__ import annotations

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host
from ansible_collections.nexcage.backends.tests.support.trail import Trail

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
RUNNER = pathlib.Path(modules.__file__).parent / "killable.py"
NAME = "victim"


class Victim:
    """One container that is changed by processes which are killed while they do it."""

    def __init__(self, host: Host, backend: str) -> None:
        self.host = host
        self.trail = Trail(host.root)
        marker = {"MARKER": str(host.root)}
        self.common = {"name": NAME, "backend": backend, "image": host.image, "command": FOREVER, "env": marker, "stop_timeout": 1}

    def converge(self, **parameters: t.Any) -> modules.Result:
        result = modules.works("nexcage_container", **{**self.common, **parameters})
        self.trail.note()
        return result

    def start(self, parameters: t.Mapping[str, t.Any], steps: str = "", kill_at: int = -1) -> subprocess.Popen[bytes]:
        """The module as a process of its own; ``steps`` gets a line for each step, ``kill_at`` is the one it ends at."""
        arguments = {**self.common, **parameters}
        command = [sys.executable, str(RUNNER), json.dumps(arguments), steps, str(kill_at)]
        # Its own output goes where nobody reads: what counts is what is left.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def killed_at(self, step: int, parameters: t.Mapping[str, t.Any]) -> None:
        with self.start(parameters, kill_at=step) as process:
            text = process.communicate(timeout=30)[0]
        assert process.returncode == -signal.SIGKILL, text
        self.trail.note()

    def steps(self, parameters: t.Mapping[str, t.Any]) -> list[str]:
        """The names of the steps of one run, in order."""
        file = self.host.files / "steps"
        file.unlink(missing_ok=True)
        with self.start(parameters, steps=str(file)) as process:
            text = process.communicate(timeout=30)[0]
        assert process.returncode == 0, text
        self.trail.note()
        return file.read_text().splitlines()

    def image(self) -> str | None:
        """The image that the container is of."""
        found = self.host.one(NAME)
        return found["image"] if found else None

    def heals(self, parameters: t.Mapping[str, t.Any], what: str) -> None:
        """The same task again succeeds, and then has nothing to do."""
        healed = self.converge(**parameters)
        assert not healed.get("warnings"), (what, healed["warnings"])
        again = self.converge(**parameters) if parameters["state"] != "restarted" else healed
        assert not again["changed"] or again is healed, (what, again.actions)
        possible = {"absent": ("absent",), "stopped": ("stopped", "created"), "paused": ("paused",), "present": ("stopped", "created", "running")}
        assert again["container"]["status"] in possible.get(parameters["state"], ("running",)), (what, again)
        details = again["container"].get("backend_details") or {}
        assert not details.get("generation_leftovers"), (what, again)

    def gone(self, what: str) -> None:
        """Remove it; nothing is left, not even of generations that nobody knows of."""
        self.converge(state="absent", force_kill=True)
        assert self.trail.left() == [], what


@pytest.fixture
def victim(host: Host, backend: str) -> t.Iterator[Victim]:
    victim = Victim(host, backend)
    yield victim
    victim.gone("at the end")


class Case(t.NamedTuple):
    """Tasks that are killed in turn, each of which changes what the one before has made; and what one may leave."""

    tasks: tuple[dict[str, t.Any], ...]
    possible: tuple[str, ...]
    before: dict[str, t.Any] | None = None  # a task in front of each


CASES = {
    "create": Case(({"state": "started"},), ("absent", "incomplete", "created", "running"), {"state": "absent", "force_kill": True}),
    "replace": Case(({"state": "started", "image": "two"}, {"state": "started", "image": "one"}), ("running", "stopped", "created")),
    "update": Case(({"state": "started", "memory": "32m", "labels": {"a": "b"}}, {"state": "started", "memory": "48m", "labels": {}}), ("running",)),
    "restart": Case(({"state": "restarted"},), ("running", "stopped", "created")),
    "pause": Case(({"state": "paused"},), ("stopped", "created", "running", "paused"), {"state": "stopped"}),
    "stop": Case(({"state": "stopped"},), ("running", "stopped"), {"state": "started"}),
    "remove": Case(({"state": "absent"},), ("running", "stopped", "incomplete", "absent"), {"state": "started"}),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_at_every_effect(victim: Victim, case: str) -> None:
    tasks, possible, before = CASES[case]
    images = {"one": victim.host.image, "two": victim.host.other_image}
    tasks = tuple({**task, **({"image": images[task["image"]]} if "image" in task else {})} for task in tasks)
    for task in ({"state": "started"}, *tasks, before or tasks[-1]):  # so that the images are there
        victim.converge(**task)
    steps = victim.steps(tasks[0])
    assert len(steps) >= 2, steps
    victim.converge(**(before or tasks[-1]))
    for number, step in enumerate(steps):
        task = tasks[number % len(tasks)]
        old, new = victim.image(), task.get("image", victim.host.image)
        victim.killed_at(number, task)
        found = victim.host.one(NAME) or {"status": "absent", "image": None}
        assert found["status"] in possible, step
        assert found["status"] in ("incomplete", "absent") or found["image"] in (old, new), step
        victim.heals(task, step)
        if before:
            victim.converge(**before)
    victim.gone(case)


def test_made_but_not_started(victim: Victim) -> None:
    """However far the runtime has come on its own by then, nobody believes that the container runs."""
    task = {"state": "started"}
    victim.converge(**task)
    victim.converge(state="stopped")
    step = victim.steps(task).index("conmon:released")
    for pause in (0, 0.005, 0.01, 0.02, 0.05):
        victim.converge(state="stopped")
        victim.killed_at(step, task)
        time.sleep(pause)
        found = victim.host.one(NAME)
        assert found and found["status"] == "stopped", pause
        healed = victim.converge(state="paused")
        assert healed.actions == ["start", "pause"] and healed["container"]["status"] == "paused"


def test_killed_while_the_image_comes(victim: Victim) -> None:
    """Each time a new host: the image is not there yet."""
    task = {"state": "present"}
    number, done = 0, False
    while not done:
        shutil.rmtree(f"{victim.host.layout.state}/images", ignore_errors=True)
        with victim.start(task, kill_at=number) as process:
            text = process.communicate(timeout=30)[0]
        done = process.returncode == 0
        assert process.returncode in (0, -signal.SIGKILL), text
        victim.trail.note()
        victim.heals(task, f"step {number}")
        victim.converge(state="absent")
        assert victim.trail.left() == [], number
        number += 3
    assert number > 9


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_ended_at_any_time(victim: Victim, number: signal.Signals) -> None:
    """At times drawn anew in each run; the seed stands in the error."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    tasks = [{"state": "started", "image": image, "memory": memory} for image in (victim.host.image, victim.host.other_image) for memory in ("32m", "40m")]
    tasks += [{"state": "restarted"}, {"state": "stopped"}, {"state": "absent"}]
    victim.converge(**tasks[0])
    for _round in range(4):
        task = dice.choice(tasks)
        with victim.start(task) as process:
            time.sleep(dice.uniform(0.05, 0.6))
            process.send_signal(number)
            process.communicate(timeout=60)  # ends although the container may run on
        victim.trail.note()
        what = f"seed {seed}: {task}"
        victim.heals(task, what)
    victim.gone(f"seed {seed}")
