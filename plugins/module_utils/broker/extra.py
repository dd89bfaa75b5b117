# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin may do beyond containers: the calls that its manifest has templates for, and no others.

A file of effects is imported only for a manifest that declares such effects, and what writes is made only where
something may change.
"""

from __future__ import annotations

import time
import typing as t

if t.TYPE_CHECKING:
    from ..model.config import Layout
    from .handlers import Handlers, Order, Workbench
    from .secret import Secrets

MEGABYTE = 1 << 20


class Subject:
    """The container that an operation is about, with what the operator's task says of it.

    Args:
        bench: That of the plugin.
        container: Its name; empty where the operation is about none.
    """

    def __init__(self, bench: Workbench, container: str) -> None:
        self._bench = bench
        self.container = container

    @property
    def order(self) -> Order:
        """What the task says; ``E_CAPABILITY`` where it says nothing."""
        return self._bench.order(self.container)

    def scrub(self, answer: dict[str, t.Any]) -> dict[str, t.Any]:
        """What a program printed, without the secrets that the run's tasks give: it may have them from us, or have kept them."""
        values = {}
        for order in self._bench.orders.values():
            values.update({**order.secrets, **(order.process.get("secret_env") or {})})
        if not values:
            return answer
        from .secret import Secrets

        secrets = Secrets({"configuration": {name: {"sensitive": True} for name in values}}, values)
        return t.cast("dict[str, t.Any]", secrets.scrub(answer))

    def ended(self, outcome: dict[str, t.Any]) -> None:
        """Keep what the task's process printed, whole."""
        self._bench.outcomes[self.container] = outcome


class Extra:
    """One plugin's effects beyond containers during one module run.

    Args:
        layout: The folders of this host and user.
        manifest: The plugin's, checked.
        config: The operator's settings for it.
    """

    def __init__(self, layout: Layout, manifest: t.Mapping[str, t.Any], config: t.Mapping[str, t.Any]) -> None:
        self._layout = layout
        self._manifest = manifest
        self._config = config
        self._roots: t.Mapping[str, t.Any] = manifest.get("filesystem") or {}
        self._secrets: Secrets | None = None

    @property
    def secrets(self) -> Secrets:
        """The plugin's secrets."""
        if self._secrets is None:
            from .secret import Secrets

            self._secrets = Secrets(self._manifest, self._config)
        return self._secrets

    @property
    def config(self) -> dict[str, t.Any]:
        """The settings that the worker may see."""
        return self.secrets.visible(self._config)

    @property
    def program(self) -> dict[str, str]:
        """What the worker needs to ask for these effects, by the name of the module; nothing where none is declared."""
        if not (self._manifest.get("commands") or self._manifest.get("network") or any(self._roots.values())):
            return {}
        from ..worker import bundle

        return bundle.extra()

    def offer(self, reads: Handlers, writes: Handlers | None, timeout: float, bench: Workbench | None = None, container: str = "") -> None:
        """Add what one operation may ask for to its tables.

        Args:
            reads: Calls that change nothing.
            writes: Calls that change something; ``None`` where nothing may change, and then none is made.
            timeout: Seconds that the operation has for all of them together.
            bench: Holds what the task says of containers, and takes the outcome of an exec.
            container: The one that the operation is about, empty where it is about none.
        """
        deadline = time.monotonic() + timeout
        if any(self._roots.values()):
            self._offer_files(reads, writes)
        if self._manifest.get("commands"):
            self._offer_commands(reads, writes, deadline, None if bench is None else Subject(bench, container))
        if self._manifest.get("network"):
            self._offer_requests(reads, writes, deadline)

    def _offer_files(self, reads: Handlers, writes: Handlers | None) -> None:
        from . import filesystem

        readable = self._roots.get("read") or ()
        writable = self._roots.get("write") or ()
        if readable:
            reads.update(filesystem.read_handlers(filesystem.Roots(readable, self._config, self._layout)))
        if writable and writes is not None:
            roots = filesystem.Roots(writable, self._config, self._layout)
            limit = self._manifest["resource_requirements"]["max_disk_usage_mb"] * MEGABYTE
            writes.update(filesystem.write_handlers(filesystem.Writer(roots, self._layout, self._manifest["name"], limit)))

    def _offer_commands(self, reads: Handlers, writes: Handlers | None, deadline: float, subject: Subject | None) -> None:
        from .command import Commands

        reads["command.run"] = Commands(self._manifest, "read", deadline, subject).run
        if writes is not None:
            writes["command.run"] = Commands(self._manifest, "write", deadline, subject).run

    def _offer_requests(self, reads: Handlers, writes: Handlers | None, deadline: float) -> None:
        from .network import Budget, Requests

        budget = Budget(self._manifest["resource_requirements"]["max_network_connections"])
        reads["http.request"] = Requests(self._manifest, "read", self._config, self.secrets, budget, deadline).request
        if writes is not None:
            writes["http.request"] = Requests(self._manifest, "write", self._config, self.secrets, budget, deadline).request
