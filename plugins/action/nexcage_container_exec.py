# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of this name, with the collection's code on the host."""

from __future__ import annotations

from ansible_collections.nexcage.backends.plugins.plugin_utils.delivery import Delivery


class ActionModule(Delivery):
    """All is in :class:`Delivery`."""
