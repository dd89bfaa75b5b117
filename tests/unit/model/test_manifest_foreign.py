# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manifests of backends without an OCI runtime: which options they have, and templates that the task fills."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import (
    check_manifest,
)
from ansible_collections.nexcage.backends.tests.unit.model.test_manifest import changed, refused

FOREIGN: dict[str, t.Any] = {**changed("oci", {}), "options": ["image", "memory", "secret_env", "pull"], "live": ["memory"]}
HOLES: dict[str, t.Any] = {
    "binary": "pct",
    "argv": ["create", "--memory={memory}", "--env={env}", "{folder}", "{name}"],
    "parameters": {
        "memory": {"type": "option", "form": "plain"},
        "env": {"type": "process"},
        "folder": {"type": "option", "option": "image"},
        "name": {"type": "node"},
    },
    "stdin": "secret_env",
}


def test_what_a_backend_of_its_own_kind_declares() -> None:
    manifest = check_manifest({**FOREIGN, "commands": {"create": HOLES}})
    assert (manifest["options"], manifest["live"]) == (("image", "memory", "secret_env", "pull"), ("memory",))
    assert manifest["commands"]["create"]["stdin"] == "secret_env"
    assert check_manifest(manifest.as_dict()) == manifest
    for path, value in (("live", ["image", "env"]), ("options", ["nothing"]), ("oci", {"runtime": "crun"}), ("provides_backend", False)):
        document = changed(path, value, FOREIGN)
        if path == "provides_backend":
            document["operations"] = []
        assert (refused(document).option or "").startswith("options" if path in ("oci", "provides_backend") else path)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"parameters": {**HOLES["parameters"], "env": {"type": "option", "option": "secret_env"}}}, "parameters.env.option"),
        ({"parameters": {**HOLES["parameters"], "env": {"type": "process", "option": "image"}}}, "parameters.env"),
        ({"parameters": {**HOLES["parameters"], "folder": {"type": "option"}}}, "parameters.folder"),
        ({"parameters": {**HOLES["parameters"], "name": {"type": "node", "form": "json"}}}, "parameters.name"),
        ({"argv": ["{memory}{env}", "{folder}", "{name}"]}, "argv"),
        ({"stdin": "command"}, "stdin"),
    ],
)
def test_holes_that_the_task_fills(change: dict[str, t.Any], place: str) -> None:
    assert refused({**FOREIGN, "commands": {"create": {**HOLES, **change}}}).option == f"commands.create.{place}"


def test_a_request_has_no_hole_for_the_task() -> None:
    error = refused(changed("network.0.requests.0.parameters.node", {"type": "process", "option": "user"}))
    assert error.option == "network[0].requests[0].parameters.node"
