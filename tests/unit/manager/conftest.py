# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the manager need."""

from __future__ import annotations

import subprocess

import pytest


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = {}
    for kind in ("ed25519", "ecdsa"):
        found[kind] = str(tmp_path_factory.mktemp("keys") / kind)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", found[kind]], check=True)
    return found
