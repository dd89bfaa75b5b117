# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of nexcage_plugin_index, run by ansible-playbook; and that a host takes what they make."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, lockfile
from ansible_collections.nexcage.backends.tests.support import mirror
from ansible_collections.nexcage.backends.tests.support.ansible_cli import adhoc, examples, plays_well, write_playbook

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
FIRST, SECOND = "Publish the packages in a folder", "Take back a release, and hold playbooks to the rest"


def test_every_example_runs(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    published = mirror.make(tmp_path)
    for version in ("1.1.0", "1.2.0"):
        published.add("acme-backend", version=version)
    text = json.dumps(examples(repository, "nexcage_plugin_index"))
    text = text.replace("/srv/nexcage", str(published.folder)).replace("~/.ssh/nexcage_index", str(published.index_key.path))
    tasks = json.loads(text)
    play = write_playbook(tmp_path / "publish.yml", {"tasks": tasks})
    home, private = tmp_path / "home", str(tmp_path / "private")
    predicted = plays_well(home, play, "--check", "--diff", NEXCAGE_ROOT=private)
    assert predicted.of(FIRST)["changed"] and not (published.folder / index.FILE).exists()
    outcome = plays_well(home, play, "--diff", NEXCAGE_ROOT=private)
    assert outcome.of(FIRST)["index"]["version"] == 1 and outcome.of(FIRST)["plan"] == predicted.of(FIRST)["plan"]
    assert [action["action"] for action in outcome.of(SECOND)["plan"]] == ["index", "sign", "lock"]
    locked = lockfile.read((tmp_path / lockfile.FILE).read_bytes(), lockfile.FILE)
    assert locked["acme-backend"].version == index.resolve(published.read(), "acme-backend")["version"] == "1.1.0"
    again = plays_well(home, play, "--diff", NEXCAGE_ROOT=private)
    assert not again.of(FIRST)["changed"] and not again.of(SECOND)["changed"]


def test_from_the_command_line(tmp_path: pathlib.Path) -> None:
    published = mirror.make(tmp_path)
    published.add()
    arguments = f"path={published.folder} key={published.index_key.path} name=acme"
    result, shown = adhoc(tmp_path / "home", "nexcage_plugin_index", arguments, NEXCAGE_ROOT=str(tmp_path / "private"))
    assert result["changed"] and not result["failed"], shown
    assert published.read().name == "acme"
