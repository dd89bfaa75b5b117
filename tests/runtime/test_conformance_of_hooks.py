# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance suite runs plugins that only listen, as the one of docs/hooks.md, and finds what is wrong with them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.requires("linux", "root")
NAME = "acme-guard"
WORLD = """
def prepare(host):
    host.responses["POST", "/starts"] = {}
"""
LOOK = 'host.http.request("tracker", "GET", "/rules")'
# What an author may get wrong: file, what stands there, what stands in its place, and the test that finds it.
FLAWS = {
    "it crashes": ("plugin.py", "return None", "import os; os._exit(3)", "test_each_event_twice"),
    "it answers with an object": ("plugin.py", "return None", "return {}", "test_each_event_twice"),
    "it remembers": (
        "plugin.py",
        'if event == "container.pre_create":',
        'self.seen = getattr(self, "seen", 0) + 1\n        if self.seen % 2:\n            return "no"\n        if event == "container.pre_create":',
        "test_each_event_twice",
    ),
    "it takes too long": ("plugin.py", "host.http.request(", 'while payload["name"]:\n            pass\n        host.http.request(', "test_each_event_twice"),
    "it changes something in check mode": (
        "plugin.py",
        'if event == "container.pre_create":',
        'if event == "container.pre_create":\n            host.state.put("seen", 1)',
        "test_check_mode_and_what_only_reads",
    ),
    "the run decides otherwise": (
        "plugin.py",
        'if event == "container.pre_create":',
        'if event == "container.pre_create":\n            if payload["check_mode"]:\n                return "no"',
        "test_check_mode_and_what_only_reads",
    ),
    "it changes a container": (
        "plugin.py",
        "host.http.request(",
        'host.oci.stop(payload["name"], None, None, False)\n        host.http.request(',
        "test_no_more_than_it_declares",
    ),
    "more than declared": ("plugin.json", '"network_client", ', "", "test_"),
    "a guard that lets pass what it cannot see": (
        "plugin.py",
        '                return "a container needs the label owner"\n',
        '                return "a container needs the label owner"\n            try:\n'
        "                host.oci.features()\n            except Exception:\n                pass\n",
        "test_a_guard_that_cannot_look_lets_nothing_pass",
    ),
    "neither a backend nor a listener": ("plugin.json", '"hooks"', '"provides_cli_commands": true, "configuration_of_old"', "test_"),
}


@pytest.fixture
def folder(tmp_path: pathlib.Path, repository: pathlib.Path) -> pathlib.Path:
    """The example of the documentation, as a folder of a plugin."""
    page = (repository / "docs/hooks.md").read_text()
    (part,) = re.findall(r"<!-- example: manifest -->\n```json\n(.*?)```", page, re.DOTALL)
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    place = tmp_path / "guard"
    place.mkdir()
    document = json.loads(part)
    document["capabilities"] = [*document["capabilities"], "container_stop", "container_list"]
    (place / "plugin.json").write_text(json.dumps(document))
    (place / "plugin.py").write_text(source)
    (place / "conformance_world.py").write_text(WORLD)
    return place


def conformance(repository: pathlib.Path, folder: pathlib.Path, *words: str) -> tuple[int, str]:
    """Exit code and output of the suite."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", "tests/conformance", "--nexcage-plugin", str(folder), *words]
    ended = subprocess.run(command, cwd=repository, env={**os.environ, "CI": ""}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return ended.returncode, ended.stdout + ended.stderr


def test_one_that_only_listens_passes(folder: pathlib.Path, repository: pathlib.Path) -> None:
    code, output = conformance(repository, folder)
    assert code == 0 and not re.search(r"failed|error|skipped", output), output
    assert re.search(r"\b6 passed, \d+ deselected", output), output


def test_one_that_does_both_is_asked_for_both(folder: pathlib.Path, repository: pathlib.Path) -> None:
    code, output = conformance(repository, repository / "docs/examples/acme-backend", "--nexcage-plugin", str(folder), "--collect-only")
    assert code == 0 and "test_a_life[acme-backend-web]" in output and "test_each_event_twice[guard]" in output
    assert "test_a_life[guard" not in output and "test_each_event_twice[acme-backend]" not in output


def flawed(folder: pathlib.Path, number: int, flaw: str) -> pathlib.Path:
    """A copy with one flaw."""
    file, old, new, _finder = FLAWS[flaw]
    place = pathlib.Path(shutil.copytree(folder, folder.parent / f"flaw{number}"))
    text = (place / file).read_text()
    assert text.count(old) >= 1, text
    (place / file).write_text(text.replace(old, new))
    if "too long" in flaw:
        document = json.loads((place / "plugin.json").read_text())
        document["hooks"][1]["timeout_ms"] = 300
        (place / "plugin.json").write_text(json.dumps(document))
    return place


def test_the_suite_finds_each_flaw(folder: pathlib.Path, repository: pathlib.Path) -> None:
    places = [flawed(folder, number, flaw) for number, flaw in enumerate(FLAWS)]
    words = [word for place in places[1:] for word in ("--nexcage-plugin", str(place))]
    code, output = conformance(repository, places[0], *words)
    assert code == 1
    for number, flaw in enumerate(FLAWS):
        assert re.search(rf"^(?:FAILED|ERROR) .*::{FLAWS[flaw][3]}\w*\[flaw{number}\]", output, re.MULTILINE), f"{flaw}\n{output[-5000:]}"
