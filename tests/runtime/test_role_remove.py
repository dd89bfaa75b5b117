# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What undoes the role says nothing of folders that are not there; only predicted, as it is this machine's own."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.support import ansible_cli

pytestmark = pytest.mark.requires("root")


def remove(home: pathlib.Path, state: pathlib.Path) -> ansible_cli.Outcome:
    task = {
        "name": "Undo",
        "ansible.builtin.include_role": {"name": "nexcage.backends.runtime", "tasks_from": "remove"},
        "vars": {"__runtime_state_folder": str(state)},
    }
    play = ansible_cli.write_playbook(home.parent / "remove.yml", {"tasks": [task]})
    return ansible_cli.run_playbook(home, play, "--check", NEXCAGE_ROOT="")


def test_undoing_what_was_never_done(tmp_path: pathlib.Path) -> None:
    outcome = remove(tmp_path / "home", tmp_path / "nothing")
    assert outcome.code == 0 and "WARNING" not in outcome.text, outcome.text


def test_containers_that_are_there(tmp_path: pathlib.Path) -> None:
    (tmp_path / "state/containers/web").mkdir(parents=True)
    outcome = remove(tmp_path / "home", tmp_path / "state")
    assert outcome.code != 0 and "web: these containers are still there" in " ".join(outcome.text.split()), outcome.text
