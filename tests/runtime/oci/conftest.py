# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every test here runs on every runtime, and none may leave anything behind."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support.containers import RUNTIMES, Yard


@pytest.fixture(params=RUNTIMES)
def yard(request: pytest.FixtureRequest) -> t.Generator[Yard, None, None]:
    place = Yard(request.param)
    yield place
    assert place.clear() == []
