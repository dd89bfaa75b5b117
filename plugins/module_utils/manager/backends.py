# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend holds or shall hold a container, and whether it can."""

from __future__ import annotations

import typing as t

from ..model.errors import NexcageError
from . import registry

if t.TYPE_CHECKING:
    from .dispatch import Session


def choose(session: Session, wanted: str, owner: str | None) -> registry.Plugin:
    """The backend for one container: the one the task names, else the owner, else the best.

    Args:
        session: The module run.
        wanted: The option ``backend``.
        owner: Full name of the plugin that holds the container now.

    Raises:
        NexcageError: ``E_DISABLED`` or ``E_BINARY`` naming why none can be used.
    """
    if wanted != "auto":
        return registry.usable(wanted, session.layout)
    if owner is not None:
        return registry.usable(owner, session.layout)
    refused = []
    for plugin in registry.all_plugins(session.layout):
        if not plugin.enabled:
            refused.append(f"{plugin.backend}: disabled")
            continue
        problems = check(session, plugin)
        if not problems:
            return plugin
        refused.append(f"{plugin.backend}: {problems[0].message}")
    raise NexcageError("E_BINARY", "no backend can be used here: " + "; ".join(refused), option="backend", value=wanted)


def require(session: Session, plugin: registry.Plugin) -> None:
    """Refuse where the plugin's programs are missing or too old.

    Raises:
        NexcageError: ``E_BINARY`` or ``E_SYSTEM`` naming program, found and required version.
    """
    problems = check(session, plugin)
    if problems:
        raise problems[0]


def check(session: Session, plugin: registry.Plugin) -> list[NexcageError]:
    """Why the plugin cannot be used here; empty where it can."""
    from ..model.version import Range, find_version

    try:
        facts = session.ask(plugin, "oci.features", {})
    except NexcageError as error:
        return [error]
    problems = [NexcageError(str(entry["code"]), entry["message"], "backend", plugin.backend, entry["remedy"]) for entry in facts.get("missing") or ()]
    for dependency in plugin.manifest["binary_dependencies"]:
        found = find_version(str(facts.get("version") or ""))
        if not problems and (found is None or found not in Range(dependency["version"])):
            problems.append(
                NexcageError(
                    "E_BINARY",
                    f"{plugin.backend} needs {dependency['name']} {dependency['version']}, and {facts.get('path')} is {facts.get('version')}",
                    option="backend",
                    value=plugin.backend,
                    remedy="install a newer version; the role nexcage.backends.runtime does it",
                )
            )
    return problems
