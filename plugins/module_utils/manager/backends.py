# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend holds or shall hold a container, and whether it can."""

from __future__ import annotations

import typing as t

from ..model.errors import NexcageError
from . import registry, settings

if t.TYPE_CHECKING:
    from .dispatch import Session


def choose(session: Session, wanted: str, owner: str | None, name: str = "") -> registry.Plugin:
    """The backend for one container: the one the task names, else the owner, else where its name is routed, else the best.

    Args:
        session: The module run.
        wanted: The option ``backend``.
        owner: Full name of the plugin that holds the container now.
        name: The container's name, for the routing rules of the configuration.

    Raises:
        NexcageError: ``E_DISABLED`` or ``E_BINARY`` naming why none can be used; ``E_NOT_FOUND`` and ``E_INVALID``
            naming the routing rule at fault.
    """
    if wanted != "auto" and owner not in (wanted, registry.full_name(wanted)):
        return registry.chosen(wanted, session.layout)
    if owner is not None:
        return held(session, owner, name)
    routed = _routed(session, name)
    if routed is not None:
        return routed
    refused = []
    for plugin in registry.in_order(session.layout):
        if plugin.installed is not None and not plugin.manifest["provides_backend"]:
            continue
        if not plugin.enabled or plugin.problem is not None:
            refused.append(f"{plugin.backend}: {plugin.problem.message if plugin.problem else 'disabled'}")
            continue
        problems = check(session, plugin)
        if not problems:
            return plugin
        refused.append(f"{plugin.backend}: {problems[0].message}")
    disabled = [reason.endswith(": disabled") for reason in refused]
    remedy = "enable one with nexcage_plugin: name=" + refused[0].partition(":")[0] + " state=enabled"
    if not all(disabled):
        remedy = "install the program; the role nexcage.backends.runtime does it" + (", or enable the one that is disabled" if any(disabled) else "")
    code = "E_DISABLED" if all(disabled) else "E_BINARY"
    raise NexcageError(code, "no backend can be used here: " + "; ".join(refused), option="backend", value=wanted, remedy=remedy)


def held(session: Session, owner: str, name: str) -> registry.Plugin:
    """The plugin that holds a container, to do something with it.

    Raises:
        NexcageError: ``E_DISABLED``: no other one can stand in for it; as :func:`registry.holding`.
    """
    plugin = registry.holding(owner, session.layout, name)
    if not plugin.enabled:
        raise NexcageError(
            "E_DISABLED",
            f"this container belongs to the backend {plugin.backend}, and the plugin {plugin.name} is disabled on this host",
            option="name",
            value=name,
            remedy=f"enable it with nexcage_plugin: name={plugin.name} state=enabled",
        )
    return plugin


def _routed(session: Session, name: str) -> registry.Plugin | None:
    """Where the configuration's rules send a name; ``None`` where it has none, or they leave it open."""
    path, content = settings.load(session.layout)
    if "runtime" not in content and "container_config" not in content:
        return None
    from ..model import routing

    rules = routing.parse(content)
    if rules is None:
        return None
    different = None if "routing_compat" in content else routing.differs(rules, name)  # who has chosen knows
    if different is not None:
        session.warnings.append(different)
    answer = routing.route(rules, name)
    if answer.backend is None:
        return None
    try:
        return registry.usable(answer.backend, session.layout)
    except NexcageError as error:
        raise NexcageError(
            error.code,
            f"{answer.key} in {path} sends {name} to {answer.backend}: {error.message}",
            option="backend",
            value="auto",
            remedy="name a backend in the task, or correct the rule; nexcage_config_info tells where names go",
        ) from error


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

    if plugin.foreign:
        from . import requirements

        return requirements.check(plugin.manifest)
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
