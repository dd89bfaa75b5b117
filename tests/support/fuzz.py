# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long to fuzz: a little in every run of the tests, as long as one likes with ``make fuzz``, which runs what has a mark of here."""

from __future__ import annotations

import os
import typing as t

import pytest
from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("NEXCAGE_FUZZ") or 1)


def times(examples: int, **options: t.Any) -> t.Callable[[t.Callable[..., None]], t.Callable[..., None]]:
    """Mark a test for so many examples, times ``NEXCAGE_FUZZ``; where that is set they are others in each run."""
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    derandomize = {"derandomize": False} if FACTOR > 1 else {}
    chosen = settings(**{"max_examples": examples * FACTOR, "deadline": None, "suppress_health_check": slow, **derandomize, **options})
    return lambda test: pytest.mark.fuzz(chosen(test))
