# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of this name, with the collection's code on the host."""

from __future__ import annotations

import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.plugin_utils import peers
from ansible_collections.nexcage.backends.plugins.plugin_utils.delivery import Delivery


class ActionModule(Delivery):
    """As :class:`Delivery`; an option that only podman's and docker's modules have is refused with what to do instead."""

    def deliver(self, arguments: dict[str, t.Any], variables: dict[str, t.Any] | None, asynchronous: bool = False) -> dict[str, t.Any]:
        """The module's result."""
        try:
            peers.refuse(arguments)
        except NexcageError as error:
            return {"failed": True, "msg": str(error), "error": error.as_dict()}
        return super().deliver(arguments, variables, asynchronous)
