# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the manager need."""

from __future__ import annotations

import pathlib
import subprocess

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.records import Record, Release
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.support.breaking import DIGEST, NAME, Time


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = {}
    for kind in ("ed25519", "ecdsa"):
        found[kind] = str(tmp_path_factory.mktemp("keys") / kind)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", found[kind]], check=True)
    return found


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(breaker, "clock", made)
    return made


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    """A host with one plugin."""
    made = Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})
    records.write(made, Record(NAME, Release("1.0.0", DIGEST, f"{NAME}-1.0.0.nexcage-plugin", "pin")))
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    return worlds.make(monkeypatch, str(tmp_path))
