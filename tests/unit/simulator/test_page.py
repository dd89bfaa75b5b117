# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/simulator.md says what there is, and its examples work."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import subprocess
import sys

from ansible_collections.nexcage.backends.tests.simulator import control

ROOT = pathlib.Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "simulator.md").read_text()


def example(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[0]


def test_every_act_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(control.ACTS)


def test_the_command_serves_until_its_input_ends() -> None:
    words = shlex.split(example("sh"))
    assert words[0] == ".venv/bin/python"
    run = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    ready = json.loads(run.stdout)
    assert ready["url"].startswith("https://127.0.0.1:") and re.fullmatch(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", ready["fingerprint"])


def test_the_program_of_the_page_runs() -> None:
    run = subprocess.run([sys.executable, "-c", example("python")], stdout=subprocess.PIPE, text=True, timeout=30, check=True)
    assert run.stdout.startswith("https://127.0.0.1:")
