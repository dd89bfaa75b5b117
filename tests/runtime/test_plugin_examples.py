# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of nexcage_plugin that need a package, with a real signature; check mode first, and what check mode needs nothing for."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.support import modules, releases, signing
from ansible_collections.nexcage.backends.tests.support.ansible_cli import examples, plays_well, run_playbook, write_playbook
from ansible_collections.nexcage.backends.tests.support.host import Host

pytestmark = pytest.mark.requires("linux", "root", "ssh-keygen")
NAME = "acme-backend"
ASKS = {"capabilities": ["container_list", "container_info", "logging"], "provides_backend": True, "operations": ["list", "info"]}


@pytest.fixture
def publisher(host: Host, tmp_path: pathlib.Path) -> signing.Key:
    """Whoever may publish acme's plugins."""
    (tmp_path / "publisher").mkdir()
    key = signing.Key(tmp_path / "publisher")
    signing.Trust(host.root).trust(key.line("release@acme.example"))
    return key


def test_the_examples(host: Host, publisher: signing.Key, tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    files = tmp_path / "play" / "files"
    files.mkdir(parents=True)
    for version in ("1.0.0", "1.1.0"):
        signing.write_package(files, publisher, name=NAME, version=version, **ASKS)
    old = files / f"{NAME}-1.0.0.nexcage-plugin"
    modules.works("nexcage_plugin", name=NAME, src=str(old), grant=ASKS["capabilities"])
    tasks = [task for task in examples(repository, "nexcage_plugin") if task["name"] in releases.NEED_A_PACKAGE]
    assert [task["name"] for task in tasks] == list(releases.NEED_A_PACKAGE)
    play = write_playbook(tmp_path / "play" / "play.yml", {"tasks": tasks})
    first = write_playbook(tmp_path / "play" / "first.yml", {"tasks": tasks[:1]})
    predicted = run_playbook(tmp_path / "home", first, "--check", "--diff").of(tasks[0]["name"])
    assert predicted["changed"] and modules.works("nexcage_plugin_info", name=[NAME])["plugins"][0]["version"] == "1.0.0"
    outcome = plays_well(tmp_path / "home", play, "--diff")
    assert {entry["task"]: bool(entry["result"].get("changed")) for entry in outcome.results} == releases.NEED_A_PACKAGE
    made = outcome.of(tasks[0]["name"])
    assert [made[key] for key in ("plan", "plugin")] == [predicted[key] for key in ("plan", "plugin")]
    assert (made["plugin"]["trust"], made["plugin"]["principal"], made["plugin"]["version"]) == ("signature", "release@acme.example", "1.1.0")
    assert outcome.of("Go back to the version before")["plugin"]["version"] == "1.0.0"
    assert not list((host.root / "etc/nexcage/plugins").iterdir())
