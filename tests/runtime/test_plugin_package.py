# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nexcage_plugin_package in a play, as an author has it: its payload carries all it needs, and check mode is right."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.action import nexcage_plugin, nexcage_plugin_package
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package, schema_check
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
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


def packaged(tmp_path: pathlib.Path, plugin: pathlib.Path, *options: str) -> tuple[int, dict[str, t.Any]]:
    """Package a plugin that has to pass the conformance suite; the play's code, and the result."""
    (tmp_path / "out").mkdir(exist_ok=True)
    play = tmp_path / "play.yml"
    text = PLAY.replace("{folder}/plugin", str(plugin)).replace("{folder}", str(tmp_path)).replace('key_file: "', 'conformance: y\n      # "')
    play.write_text(text)
    outcome = run_playbook(tmp_path / "home", play, *options)
    return outcome.code, outcome.of("package")


def test_a_plugin_that_passes_the_suite_is_packaged(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    before = sorted(repository.glob("tests/conformance/*"))
    for options in (("--check",), ()):
        code, made = packaged(tmp_path, repository / "docs/examples/acme-backend", *options)
        assert code == 0 and made["changed"] and made["conformance"]["passed"] > 10, made
        assert len(list((tmp_path / "out").iterdir())) == (not options)
    assert sorted(repository.glob("tests/conformance/*")) == before


def test_a_plugin_that_fails_the_suite_is_not_packaged(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    plugin = pathlib.Path(shutil.copytree(repository / "docs/examples/acme-backend", tmp_path / "plugin"))
    text = (plugin / "plugin.py").read_text()
    (plugin / "plugin.py").write_text(text.replace("def delete(", "def deleted("))
    code, made = packaged(tmp_path, plugin)
    assert code != 0 and made["error"]["code"] == "E_PLUGIN" and made["error"]["option"] == "src", made
    assert any("locked_worker" in name for name in made["error"]["details"]["failed"]) and "delete" in made["error"]["details"]["output"]
    assert list((tmp_path / "out").iterdir()) == []
    code, made = packaged(tmp_path, tmp_path / "nothing")
    assert code != 0 and made["error"]["code"] == "E_NOT_FOUND" and "on the controller" in made["error"]["remedy"]


@pytest.mark.parametrize(
    ("program", "limit", "expected"), [("import sys; sys.exit('No module named pytest')", 9, "E_BINARY"), ("import time; time.sleep(9)", 0.1, "E_TIMEOUT")]
)
def test_a_suite_that_cannot_run_is_no_pass(program: str, limit: float, expected: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(nexcage_plugin_package, "LIMIT", limit)
    with pytest.raises(NexcageError) as raised:
        nexcage_plugin_package.conformance(str(tmp_path))
    assert raised.value.code == expected


@pytest.mark.parametrize("library", [True, False])
def test_a_folder_to_install_is_checked_by_both_validators(library: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("jsonschema")

    if not library:
        monkeypatch.setattr(schema_check, "require", missing)
    for name, content in packages.files().items():
        (tmp_path / name).write_bytes(content)
    name, _data = nexcage_plugin.read(str(tmp_path))
    assert name.endswith(".nexcage-plugin")
    (tmp_path / "plugin.json").write_text('{"name": "a"}')
    with pytest.raises(NexcageError) as raised:
        nexcage_plugin.read(str(tmp_path))
    assert raised.value.code == "E_MANIFEST" and (len(raised.value.details.get("violations", ())) > 3) is library
