# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers for plugins that did not come with the collection: the strongest tier of the host, and the policy's least one."""

from __future__ import annotations

import re
import typing as t

from ..worker import strong
from ..worker.sandbox import PRELOADABLE, Limits
from ..worker.spawn import Worker
from . import policy

HIDDEN = {"_strptime": "strptime"}  # imported behind the plugin's back, by this name


def required(rules: policy.Policy | None, kind: str) -> str:
    """The tier that a plugin needs: "process", "standard" or "strong".

    Args:
        rules: Those of this host, ``None`` where it has none.
        kind: "builtin" or "third_party".
    """
    return policy.FLOORS[kind] if rules is None else rules.minimum_tier(kind)


def start(sources: t.Mapping[str, str], limits: Limits, tier: str, spare: Worker | None = None) -> Worker:
    """A locked worker for a plugin, at the strongest tier that can be had.

    Args:
        sources: The plugin's files; they tell what has to be imported before the lock-down.
        limits: What it may use.
        tier: The least that will do.
        spare: One that was started ahead, without namespaces.

    Raises:
        NexcageError: ``E_SANDBOX``.
    """
    return strong.start(limits, tier, preload(sources), spare)


def preload(sources: t.Mapping[str, str]) -> list[str]:
    """Those of ``PRELOADABLE`` that the sources may import: each costs time, so what no line names is left out."""
    words = {word for source in sources.values() for word in re.findall(r"\w+", source)}
    return [name for name in PRELOADABLE if words.issuperset(HIDDEN.get(name, name).split("."))]
