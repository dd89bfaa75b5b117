# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plugins exist, what they are set to, and where their source is."""

from __future__ import annotations

import os
import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from . import settings

if t.TYPE_CHECKING:
    from .installed import Installed

BUILT_IN = {"crun-backend": 10, "runc-backend": 20}  # name -> default priority, lower is preferred
SUFFIX = "-backend"


class Plugin(t.NamedTuple):
    """One plugin with its settings.

    Args:
        name: The plugin's name, such as ``crun-backend``.
        manifest: As in ``plugin.json``.
        enabled: Whether it may be used.
        priority: Lower is preferred.
        config: The operator's settings for it.
        installed: Its package; ``None`` for a built-in plugin.
        problem: Why an installed plugin cannot be used; ``None`` where it can, as far as is known.
    """

    name: str
    manifest: t.Mapping[str, t.Any]
    enabled: bool
    priority: int
    config: t.Mapping[str, t.Any]
    installed: Installed | None = None
    problem: NexcageError | None = None

    @property
    def trust(self) -> str:
        """Why its code may run: ``builtin``, ``signature``, ``pin`` or ``unsigned``."""
        if self.installed is not None:
            return self.installed.release.trust
        return "unknown" if self.problem else "builtin"

    @property
    def backend(self) -> str:
        """The name a user types, such as ``crun``."""
        return short_name(self.name)

    @property
    def kind(self) -> str:
        """The built-in backend whose options it has: every OCI runtime has those of crun."""
        return "crun" if self.runtime else self.backend

    @property
    def foreign(self) -> bool:
        """Whether it does without the OCI engine; what was wanted of its containers, the manager records."""
        return not self.runtime

    @property
    def runtime(self) -> str:
        """The OCI runtime it drives, empty where it drives none."""
        return str((self.manifest.get("oci") or {}).get("runtime", ""))


def short_name(plugin: str) -> str:
    """``crun`` for ``crun-backend``."""
    return plugin[: -len(SUFFIX)] if plugin.endswith(SUFFIX) else plugin


def full_name(backend: str) -> str:
    """``crun-backend`` for ``crun``; a full name stays as it is."""
    return backend if backend.endswith(SUFFIX) else backend + SUFFIX


def get(name: str, layout: Layout) -> Plugin:
    """One plugin by its full or short name, enabled or not.

    Raises:
        NexcageError: ``E_NOT_FOUND`` naming the plugins that exist; ``E_STATE`` where the
            configuration cannot be read; what is wrong with the package of an installed one.
    """
    full = full_name(name)
    if full not in BUILT_IN:
        return _installed(name, layout)
    chosen = settings.read(layout).get(full, {})
    return Plugin(
        full,
        _module(full).MANIFEST,
        chosen.get("enabled", True),
        chosen.get("priority", BUILT_IN[full]),
        chosen.get("config") or {},
    )


def _installed(name: str, layout: Layout) -> Plugin:
    """One plugin that was installed from a package."""
    from . import installed

    full = next((candidate for candidate in (name, full_name(name)) if installed.is_installed(layout, candidate)), None)
    if full is None:
        raise NexcageError(
            "E_NOT_FOUND",
            "no such plugin",
            option="name",
            value=name,
            remedy=f"use one of {', '.join(sorted([*BUILT_IN, *installed.names(layout)]))}, or install it with nexcage_plugin",
        )
    chosen = settings.read(layout).get(full, {})
    found = installed.load(layout, full)
    return Plugin(full, found.package.manifest, chosen.get("enabled", True), chosen.get("priority", settings.PRIORITY), chosen.get("config") or {}, found)


def holding(owner: str, layout: Layout, container: str) -> Plugin:
    """The plugin that holds a container.

    Raises:
        NexcageError: ``E_OWNER`` where that plugin does not exist here; as :func:`get` otherwise.
    """
    if not exists(owner, layout):
        raise NexcageError(
            "E_OWNER",
            f"the container belongs to the plugin {owner}, which is not installed here",
            option="name",
            value=container,
            remedy="install that plugin, or choose another name",
        )
    return get(owner, layout)


def chosen(name: str, layout: Layout) -> Plugin:
    """The plugin that a task names as its ``backend``; as :func:`usable`, about that option."""
    try:
        return usable(name, layout)
    except NexcageError as error:
        if not str(error.value).startswith("/"):  # a file at fault is named as itself
            error.option = "backend"
        raise


def usable(name: str, layout: Layout) -> Plugin:
    """One plugin that is enabled.

    Raises:
        NexcageError: As :func:`get`, and ``E_DISABLED``.
    """
    plugin = get(name, layout)
    if not plugin.enabled:
        raise NexcageError(
            "E_DISABLED",
            f"the plugin {plugin.name} is disabled on this host",
            option="backend",
            value=plugin.backend,
            remedy=f"enable it with nexcage_plugin: name={plugin.name} state=enabled, or choose another backend",
        )
    return plugin


def exists(name: str, layout: Layout) -> bool:
    """Whether there is a plugin of that full name, built in or installed."""
    if name in BUILT_IN:
        return True
    from . import installed

    return installed.is_installed(layout, name)


def all_plugins(layout: Layout) -> list[Plugin]:
    """Every plugin, the preferred one first; those that cannot be used say why in ``problem``."""
    return list(in_order(layout))


def in_order(layout: Layout) -> t.Iterator[Plugin]:
    """The same one by one: a package is opened when its turn comes, so that hundreds of them cost no task anything."""
    chosen = settings.read(layout)
    try:
        others = os.listdir(layout.state + "/plugins")
    except OSError:
        others = []

    def rank(name: str) -> tuple[int, str]:
        return chosen.get(name, {}).get("priority", BUILT_IN.get(name, settings.PRIORITY)), name

    for name in sorted([*BUILT_IN, *others], key=rank):
        if name in BUILT_IN:
            yield get(name, layout)
        elif exists(name, layout):
            yield _or_problem(name, layout)


def named(name: str, layout: Layout) -> Plugin:
    """One plugin as :func:`get` finds it; one that cannot be used says why in ``problem``.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_STATE``.
    """
    full = next((candidate for candidate in (name, full_name(name)) if exists(candidate, layout)), None)
    return get(name, layout) if full is None or full in BUILT_IN else _or_problem(full, layout)


def manifest_of(name: str, layout: Layout) -> t.Mapping[str, t.Any] | None:
    """The manifest of a plugin by its full name; ``None`` where there is none that can be used."""
    found = named(name, layout) if exists(name, layout) else None
    return None if found is None or found.problem is not None else found.manifest


def known(backend: str, layout: Layout) -> str:
    """The short name of a plugin that exists, whether it can be used or not.

    Raises:
        NexcageError: ``E_NOT_FOUND``.
    """
    try:
        return named(backend, layout).backend
    except NexcageError as error:
        error.option = "backend"
        raise


def _or_problem(name: str, layout: Layout) -> Plugin:
    try:
        return _installed(name, layout)
    except NexcageError as problem:
        chosen = settings.read(layout).get(name, {})
        return Plugin(name, {}, chosen.get("enabled", True), chosen.get("priority", settings.PRIORITY), chosen.get("config") or {}, problem=problem)


def sources(plugin: Plugin) -> dict[str, str]:
    """The plugin's source by file name, as it is sent to the worker."""
    if plugin.installed is not None:
        return plugin.installed.package.sources()
    from ..worker.bundle import plugin_sources

    return plugin_sources(_module(plugin.name))


def _module(name: str) -> t.Any:
    """A built-in plugin's module; literal imports, so that all travel and only the used one is compiled."""
    if name == "crun-backend":
        from ..backends import crun

        return crun
    from ..backends import runc

    return runc
