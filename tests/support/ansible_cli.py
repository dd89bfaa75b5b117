# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real ``ansible`` and ``ansible-playbook``, as a user runs them, and their results as data."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import typing as t

import yaml

CALLBACKS = pathlib.Path(__file__).parent / "callback"
TIMEOUT = 120  # seconds; nothing here takes long, and what hangs must fail
LINE = re.compile(r"^\S+ \| (?P<status>[A-Z]+!?)(?: \(.*?\))? => (?P<json>\{.*)", re.DOTALL | re.MULTILINE)


class Outcome(t.NamedTuple):
    """How a command ended, with the results of its tasks in order."""

    code: int
    text: str
    results: list[dict[str, t.Any]]

    def of(self, task: str) -> dict[str, t.Any]:
        """The result of the one task of that name."""
        found = [entry["result"] for entry in self.results if entry["task"] == task]
        assert len(found) == 1, (task, [entry["task"] for entry in self.results])
        return t.cast("dict[str, t.Any]", found[0])


def environment(home: pathlib.Path, **more: str) -> dict[str, str]:
    """The caller's environment, without what lies in the user's home and elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHON"))}
    home.mkdir(parents=True, exist_ok=True)
    (home / "ansible.cfg").touch()
    return {
        **kept,
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": sysconfig.get_path("purelib"),
        "ANSIBLE_REMOTE_TMP": str(home / "remote"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_NOCOWS": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        **more,
    }


def program(name: str) -> str:
    """The full path of ``ansible`` or one of its siblings, beside this Python."""
    return str(pathlib.Path(sys.executable).parent / name)


def write_playbook(file: pathlib.Path, *plays: t.Mapping[str, t.Any]) -> pathlib.Path:
    """Plays on this machine as a file, without facts."""
    usual = {"hosts": "localhost", "gather_facts": False}
    file.write_text(yaml.safe_dump([{**usual, **play} for play in plays], sort_keys=False))
    return file


def playbook_command(file: pathlib.Path, *arguments: str) -> list[str]:
    return [program("ansible-playbook"), str(file), *arguments]


def run_playbook(home: pathlib.Path, file: pathlib.Path, *arguments: str, **variables: str) -> Outcome:
    """Run a playbook to its end, whatever that is; ``variables`` are of the environment."""
    results = home / f"results-{os.urandom(4).hex()}"
    settings = environment(home, ANSIBLE_CALLBACKS_ENABLED="nexcage_results", NEXCAGE_RESULTS=str(results), **variables)
    command = playbook_command(file, *arguments)
    ended = subprocess.run(
        command, env=settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT, check=False
    )
    lines = results.read_text().splitlines() if results.exists() else []
    return Outcome(ended.returncode, ended.stdout, [json.loads(line) for line in lines])


def plays_well(home: pathlib.Path, file: pathlib.Path, *arguments: str, **variables: str) -> Outcome:
    """Run a playbook that must succeed."""
    outcome = run_playbook(home, file, *arguments, **variables)
    assert outcome.code == 0, outcome.text
    return outcome


def adhoc_command(module: str, arguments: str, *options: str) -> list[str]:
    return [program("ansible"), "localhost", "-m", f"nexcage.backends.{module}", "-a", arguments, *options]


def adhoc(home: pathlib.Path, module: str, arguments: str, *options: str, **variables: str) -> tuple[dict[str, t.Any], str]:
    """``ansible localhost -m … -a …``: the result, and all that was printed."""
    ended = subprocess.run(
        adhoc_command(module, arguments, *options),
        env=environment(home, **variables),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    match = LINE.search(ended.stdout)
    assert match, ended.stdout
    result = json.JSONDecoder().raw_decode(match["json"])[0]
    result["failed"] = ended.returncode != 0  # which is not printed
    return t.cast("dict[str, t.Any]", result), ended.stdout


def examples(repository: pathlib.Path, module: str) -> list[dict[str, t.Any]]:
    """The tasks of a module's EXAMPLES."""
    text = (repository / "plugins/modules" / f"{module}.py").read_text()
    match = re.search(r'^EXAMPLES = r"""\n(.*?)^"""', text, re.DOTALL | re.MULTILINE)
    assert match, module
    return t.cast("list[dict[str, t.Any]]", yaml.safe_load(match[1]))
