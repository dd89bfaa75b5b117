# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the broker need."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import web


@pytest.fixture
def server() -> t.Iterator[web.Server]:
    """A web server that answers with what it was asked."""
    with web.serving() as made:
        yield made
