# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role never works on the host's own folders while the modules of the same play work below ``NEXCAGE_ROOT``."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.support import ansible_cli

ENTRIES = [("plugins", "main"), ("runtime", "main"), ("runtime", "remove"), ("runtime", "audit")]


def included(home: pathlib.Path, root: str, entries: list[tuple[str, str]]) -> ansible_cli.Outcome:
    """Each entry of a role in check mode, with the variable as a task's ``environment`` has it; the refusals are rescued."""
    tasks = [
        {
            "block": [{"ansible.builtin.include_role": {"name": f"nexcage.backends.{role}", "tasks_from": entry}}],
            "rescue": [{"name": f"{role} {entry}", "ansible.builtin.debug": {"msg": "{{ ansible_failed_result.msg }}"}}],
        }
        for role, entry in entries
    ]
    play = ansible_cli.write_playbook(home.parent / "play.yml", *({"environment": {"NEXCAGE_ROOT": root}, "tasks": [task]} for task in tasks))
    return ansible_cli.run_playbook(home, play, "--check", NEXCAGE_ROOT="")


@pytest.mark.requires("root")
def test_where_the_variable_is_set_every_entry_refuses(tmp_path: pathlib.Path) -> None:
    outcome = included(tmp_path / "home", str(tmp_path / "root"), ENTRIES)
    assert outcome.code == 0, outcome.text
    for role, entry in ENTRIES:
        message = outcome.of(f"{role} {entry}")["msg"]
        assert f"NEXCAGE_ROOT={tmp_path}/root is set" in message and f"nexcage.backends.{role}" in message and "Remedy: " in message
    done = {entry["task"].rpartition(" : ")[2] for entry in outcome.results if " : " in entry["task"] and "arg spec" not in entry["task"]}
    of_the_check = {"See whether the modules work below another folder", "Refuse to work on other folders than the modules do"}
    assert done - {"nexcage.backends.plugins", "nexcage.backends.runtime"} == of_the_check, "nothing else was even looked at"


def test_where_it_is_not_set_or_empty_the_role_goes_on(tmp_path: pathlib.Path) -> None:
    outcome = included(tmp_path / "home", "", [("plugins", "root"), ("runtime", "root")])
    assert outcome.code == 0 and "Remedy" not in outcome.text, outcome.text
