# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of docs/hooks.md is a manifest and a plugin that do what the page says."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.model import configuration, scope
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import EVENTS
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import Manifest, check_manifest
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.testing import FakeHost, run
from ansible_collections.nexcage.backends.tests.support.ansible_cli import plays_well, write_playbook

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/hooks.md").read_text()


def manifest() -> Manifest:
    (part,) = re.findall(r"<!-- example: manifest -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    return check_manifest(json.loads(part))


def test_the_manifest_says_what_is_granted() -> None:
    granted = [entry.detail for entry in scope.entries(manifest()) if entry.capability == "hooks"]
    assert len(granted) == 2 and "container.pre_create" in granted[1] and "strategy abort" in granted[1], granted


def test_the_plugin_does_what_it_says() -> None:
    (source,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space: dict[str, t.Any] = {}
    exec(source.replace("from ..sdk", "from ansible_collections.nexcage.backends.plugins.module_utils.sdk"), space)
    host = FakeHost(manifest=manifest())
    host.responses["POST", "/starts"] = {}

    def told(event: str, **spec: t.Any) -> t.Any:
        return run(space["backend"](), host, "hook", {"event": event, "payload": {"name": "web", "spec": spec, "check_mode": False}})

    assert told("container.pre_create", labels={"owner": "ops"}) is None
    assert told("container.pre_create", labels=None) == told("container.pre_create") == "a container needs the label owner"
    assert told("container.post_start") is None and host.calls[-1][0] == "http.request"


def test_the_settings_are_known() -> None:
    (text,) = re.findall(r"<!-- example: settings -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    found = configuration.parse(json.loads(text), "config.json")
    assert found.unknown == () and found.problems == ()


def test_the_tasks_set_it_and_keep_the_rest(tmp_path: pathlib.Path) -> None:
    (text,) = re.findall(r"<!-- example: tasks -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "config.json"
    before = {"routing": {"default": "runc"}, "plugins": {"acme-guard": {"priority": 3, "hooks": {"container.post_start": "retry"}}}}
    file.write_text(json.dumps(before, indent=2) + "\n")
    file.chmod(0o600)
    play = write_playbook(tmp_path / "play.yml", {"tasks": yaml.safe_load(text.replace("/etc/nexcage/config.json", str(file)))})
    for changed in (True, False):
        assert plays_well(tmp_path / "home", play).of("Set the strategy of a hook")["changed"] is changed
    before["plugins"]["acme-guard"]["hooks"] = {"container.post_start": "retry", "container.pre_create": "skip"}
    assert json.loads(file.read_text()) == before and file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == json.dumps(before, indent=2) + "\n"  # as nexcage_plugin writes it


def test_the_table_has_every_event() -> None:
    assert re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", PAGE, re.MULTILINE) == list(EVENTS)
