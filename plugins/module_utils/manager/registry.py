# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plugins exist, what they are set to, and where their source is."""

from __future__ import annotations

import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from . import settings

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
    """

    name: str
    manifest: t.Mapping[str, t.Any]
    enabled: bool
    priority: int
    config: t.Mapping[str, t.Any]

    @property
    def backend(self) -> str:
        """The name a user types, such as ``crun``."""
        return short_name(self.name)

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
            configuration cannot be read.
    """
    name = full_name(name)
    if name not in BUILT_IN:
        raise NexcageError(
            "E_NOT_FOUND",
            "no such plugin",
            option="name",
            value=name,
            remedy=f"use one of {', '.join(sorted(BUILT_IN))}",
        )
    chosen = settings.read(layout).get(name, {})
    return Plugin(
        name,
        _module(name).MANIFEST,
        chosen.get("enabled", True),
        chosen.get("priority", BUILT_IN[name]),
        chosen.get("config") or {},
    )


def holding(owner: str, layout: Layout, container: str) -> Plugin:
    """The plugin that holds a container.

    Raises:
        NexcageError: ``E_OWNER`` where that plugin does not exist here; as :func:`get` otherwise.
    """
    if owner not in BUILT_IN:
        raise NexcageError(
            "E_OWNER",
            f"the container belongs to the plugin {owner}, which is not installed here",
            option="name",
            value=container,
            remedy="install that plugin, or choose another name",
        )
    return get(owner, layout)


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


def all_plugins(layout: Layout) -> list[Plugin]:
    """Every plugin, the preferred one first."""
    return sorted((get(name, layout) for name in BUILT_IN), key=lambda plugin: (plugin.priority, plugin.name))


def sources(plugin: Plugin) -> dict[str, str]:
    """The plugin's source by file name, as it is sent to the worker."""
    from ..worker.bundle import plugin_sources

    return plugin_sources(_module(plugin.name))


def _module(name: str) -> t.Any:
    """A built-in plugin's module; literal imports, so that all travel and only the used one is compiled."""
    if name == "crun-backend":
        from ..backends import crun

        return crun
    from ..backends import runc

    return runc
