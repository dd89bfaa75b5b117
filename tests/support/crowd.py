# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many installed plugins, put there as an installation leaves them, in a moment instead of a minute."""

from __future__ import annotations

import os
import typing as t
from unittest import mock

from ansible_collections.nexcage.backends.plugins.module_utils.manager import install, trust
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout

from . import releases

NAME = "crowd{:03d}-backend"


def settle(layout: Layout, number: int, **fields: t.Any) -> list[str]:
    """Install that many unsigned plugins beside what is there; their names."""
    names = [NAME.format(index) for index in range(number)]
    digest = trust.digest(layout)
    with mock.patch.object(os, "fsync", lambda _descriptor: None):  # nobody cuts the power of a test
        for name in names:
            content = releases.data(name, **fields)
            install.activate(layout, name, releases.release(content, name)._replace(trust_digest=digest), content)
    return names
