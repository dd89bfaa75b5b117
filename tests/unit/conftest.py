# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process as it is on a host, with code that was delivered."""

from __future__ import annotations

import sys
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.nexcage.backends.plugins.module_utils.worker import delivered
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery
from ansible_collections.nexcage.backends.tests.conftest import in_ci
from hypothesis import HealthCheck, settings

if not in_ci():  # hypothesis has a profile of its own for that; elsewhere a busy machine is no defect either
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")


@pytest.fixture
def finders(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """A way of its own to find modules, and to load parameters."""
    monkeypatch.setattr(basic, "_load_params", basic._load_params)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return sys.meta_path


@pytest.fixture
def code(finders: list[t.Any]) -> delivered.Code:
    """This process's code, as if it had been sent and something of it compiled."""
    found = delivered.Code(*delivery.code("/nexcage/no/such/folder"))
    finders.insert(0, found)
    found.get_code(delivered.BASE + "model.errors")
    return found
