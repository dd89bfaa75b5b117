# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all workers of one run may use together: ``memory_limit_mb`` and ``cpu_limit_percent`` of ``plugin_manager``.

A worker gets what its plugin asks for, and at most the whole. The sum has to fit: of the memory over all that run, of
the processor over those at work, for an idle one only waits. Idle ones are ended for a further one, as there is nothing
in them to save; one that does not fit beside those at work is refused.
"""

from __future__ import annotations

import contextlib
import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from . import settings

SECTION = "plugin_manager"
LEAST = 64  # MiB that an interpreter needs


class _Kind(t.NamedTuple):
    """One thing that is shared: key in a manifest, its default; key of the limit, its default; unit; least share; whether idle ones have it."""

    wanted: str
    usual: int
    limit: str
    default: int
    unit: str
    least: int
    idle: bool


KINDS = (
    _Kind("max_memory_mb", LEAST, "memory_limit_mb", 512, "MiB", LEAST, True),
    _Kind("max_cpu_percent", 5, "cpu_limit_percent", 10, "%", 1, False),
)


class Budget:
    """The shares of the workers that one run has.

    Args:
        layout: Where the configuration lies; it is read when the first worker starts.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._limits: dict[str, int] = {}
        self._shares: dict[str, dict[str, int]] = {}  # the one that waits longest first
        self._busy: list[str] = []

    def enter(self, name: str, requirements: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
        """Reserve a share for a worker.

        Args:
            name: Its plugin.
            requirements: ``resource_requirements`` of the manifest.

        Returns:
            The requirements, no higher than the limits; and the workers that have to end first.

        Raises:
            NexcageError: ``E_LIMIT`` naming the setting, where busy workers leave too little.
        """
        limits = self._limits = self._limits or _limits(self._layout)
        share = {kind.wanted: min(max(requirements.get(kind.wanted, kind.usual), kind.least), limits[kind.limit]) for kind in KINDS}
        idle = [other for other in self._shares if other not in self._busy]
        ending: list[str] = []
        while True:
            full = next((kind for kind in KINDS if share[kind.wanted] + self._used(kind, ending) > limits[kind.limit]), None)
            if full is None or len(ending) == len(idle):
                break
            ending = idle[: len(ending) + 1]
        if full is None:
            full = next((kind for kind in KINDS if share[kind.wanted] < kind.least), None)
        if full is not None:
            raise self._refuse(full, name, max(share[full.wanted], full.least))
        for other in ending:
            self.leave(other)
        self._shares[name] = share
        return {**requirements, **share}, ending

    def leave(self, name: str) -> None:
        """Give a share back."""
        self._shares.pop(name, None)

    @contextlib.contextmanager
    def at_work(self, name: str) -> t.Iterator[None]:
        """While the worker does something it cannot be ended for another one.

        Raises:
            NexcageError: ``E_LIMIT`` naming the setting, where others are at work, and together they would use too much.
        """
        if name in self._shares and name not in self._busy:
            for kind in KINDS:
                if not kind.idle and self._used(kind, ()) + self._shares[name][kind.wanted] > self._limits[kind.limit]:
                    raise self._refuse(kind, name, self._shares[name][kind.wanted])
        self._busy.append(name)
        try:
            yield
        finally:
            self._busy.pop()
            if name in self._shares:
                self._shares[name] = self._shares.pop(name)

    def _used(self, kind: _Kind, ending: t.Collection[str]) -> int:
        return sum(share[kind.wanted] for name, share in self._shares.items() if name not in ending and (kind.idle or name in self._busy))

    def _refuse(self, kind: _Kind, name: str, wanted: int) -> NexcageError:
        limit = self._limits[kind.limit]
        others = {other: share[kind.wanted] for other, share in self._shares.items() if other in self._busy}
        taken = ", ".join(f"{other} has {share} {kind.unit}" for other, share in others.items())
        return NexcageError(
            "E_LIMIT",
            f"a worker for {name} needs {wanted} {kind.unit}, and all workers together may use {limit} {kind.unit}" + (f" ({taken})" if taken else ""),
            option=f"{SECTION}.{kind.limit}",
            value=limit,
            remedy=f"raise {SECTION}.{kind.limit} in {self._layout.configuration}/{settings.FILE}, or lower {kind.wanted} of the plugins",
            details={"plugin": name},
        )


def _limits(layout: Layout) -> dict[str, int]:
    """The two settings; a file that says nothing of the manager is not looked at any further."""
    limits = {kind.limit: kind.default for kind in KINDS}
    if SECTION in settings.load(layout)[1]:
        from . import configuration

        chosen = configuration.manager(layout)
        limits = {name: int(chosen[name]) for name in limits}
    return limits
