# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nexcage_plugin_package in a play, as an author has it: its payload carries all it needs, and check mode is right."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package
from ansible_collections.nexcage.backends.tests.support import packages
from ansible_collections.nexcage.backends.tests.support.ansible_cli import run_playbook

PLAY = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/nexcage.backends.nexcage:
      key_file: "{folder}/key"
  tasks:
    - name: package
      nexcage.backends.nexcage_plugin_package:
        src: "{folder}/plugin"
        dest: "{folder}/out/"
      delegate_to: localhost
"""


@pytest.mark.requires("ssh-keygen")
def test_a_play_packages_and_signs(tmp_path: pathlib.Path) -> None:
    for name in ("plugin", "out"):
        (tmp_path / name).mkdir()
    for name, content in packages.files().items():
        (tmp_path / "plugin" / name).write_bytes(content)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    play = tmp_path / "play.yml"
    play.write_text(PLAY.replace("{folder}", str(tmp_path)))
    predicted = run_playbook(tmp_path / "home", play, "--check", "--diff").of("package")
    assert predicted["changed"] and list((tmp_path / "out").iterdir()) == []
    made = run_playbook(tmp_path / "home", play, "--diff").of("package")
    told = ("changed", "package", "notes")
    assert [made[key] for key in told] == [predicted[key] for key in told]
    loaded = package.load(made["package"]["path"], 1 << 20)
    assert loaded.signature is not None and loaded.digest == made["package"]["digest"]
    assert not run_playbook(tmp_path / "home", play).of("package")["changed"]
    (tmp_path / "plugin" / "plugin.json").write_text('{"name": "a"}')
    outcome = run_playbook(tmp_path / "home", play)
    failed = outcome.of("package")
    assert outcome.code != 0 and failed["error"]["code"] == "E_MANIFEST" and len(failed["error"]["details"]["violations"]) > 3
