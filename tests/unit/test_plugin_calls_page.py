# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of docs/plugin-calls.md are a manifest, and what a plugin writes there works against the fake host."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import Manifest, check_manifest
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.testing import FakeHost

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/plugin-calls.md").read_text()
BASE = {
    "name": "acme-backend",
    "version": "1.0.0",
    "description": "d",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "capabilities": ["filesystem_read", "filesystem_write", "host_command", "network_client"],
    "resource_requirements": {},
}


def manifest() -> Manifest:
    parts = re.findall(r"<!-- example: \w+ -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert len(parts) == 3
    document: dict[str, t.Any] = {**BASE}
    for part in parts:
        document.update(json.loads("{" + part + "}"))
    return check_manifest(document)


def test_the_examples_are_a_manifest() -> None:
    made = manifest()
    assert made["commands"]["list"]["kind"] == "read"
    assert made["secrets"][0]["prefix"] == "Bearer "


def test_the_settings_of_the_example_are_those_of_the_manifest() -> None:
    (task,) = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    assert set(task["nexcage.backends.nexcage_plugin"]["config"]) <= set(manifest()["configuration"])


def test_the_lines_of_a_plugin_work() -> None:
    host = FakeHost(manifest=manifest())
    host.files["templates", "default/unit.conf"] = b"name=@NAME@"
    host.responses["GET", "/v1/boxes"] = {"json": [1]}
    host.responses["POST", "/v1/boxes/{name}/start"] = {}
    space: dict[str, t.Any] = {"host": host}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if "FakeHost" not in block:
            exec(block, space)
    assert host.files["units", "web.conf"] == b"name=web"
    assert (space["boxes"], space["answer"]["rc"]) == ([1], 0)
    assert {name for name, _params in host.calls} == {"fs.read", "fs.write", "fs.list", "command.run", "http.request"} <= set(EXTRA)
