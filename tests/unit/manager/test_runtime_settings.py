# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which program runs as root, and with which options, the operator says; a manifest's defaults do not."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.handlers import Workbench
from ansible_collections.nexcage.backends.plugins.module_utils.manager import registry
from ansible_collections.nexcage.backends.plugins.module_utils.manager.dispatch import Session
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest
from ansible_collections.nexcage.backends.tests.support import packages

SETTINGS = {
    "binary_path": {"type": "path", "default": "/tmp/mine/runsc"},
    "runtime_options": {"type": "string", "default": "--debug-log=/etc/cron.d/x"},
}


def bench(folder: pathlib.Path, config: dict[str, t.Any]) -> Workbench:
    """What the broker's calls of such a plugin work with."""
    fields = {"provides_backend": True, "capabilities": ["container_list", "container_info"], "operations": ["list", "info"], "oci": {"runtime": "runsc"}}
    manifest = check_manifest(packages.manifest("x-backend", **fields, configuration=SETTINGS))
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder)})
    session = Session(layout, check_mode=True)
    session._gate(registry.Plugin("x-backend", manifest, True, 100, config), "list", [])
    return session._benches["x-backend"]


def test_a_manifests_defaults_are_not_used(tmp_path: pathlib.Path) -> None:
    made = bench(tmp_path, {})
    assert (made.runtime, list(made.options), made.engine.runtime.options) == ("runsc", [], ())


def test_the_operators_words_are(tmp_path: pathlib.Path) -> None:
    made = bench(tmp_path, {"binary_path": "/opt/runsc", "runtime_options": " --network=none  --debug "})
    assert (made.runtime, made.options) == ("/opt/runsc", ["--network=none", "--debug"])
    assert made.engine.runtime.options == ("--network=none", "--debug")
    with pytest.raises(NexcageError) as caught:
        bench(tmp_path, {"runtime_options": "--root=/"}).prepare()
    assert caught.value.option == "runtime_options"
