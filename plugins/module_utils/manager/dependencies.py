# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plugin needs which: presence, version range, order, cycles."""

from __future__ import annotations

import typing as t

from ..model.errors import NexcageError
from ..model.version import Range, parse_version

Manifests = t.Mapping[str, t.Mapping[str, t.Any]]


def needs(manifest: t.Mapping[str, t.Any]) -> list[tuple[str, str]]:
    """Name and version range of each dependency; an empty range where any version will do."""
    found = []
    for entry in manifest["dependencies"]:
        found.append((entry, "") if isinstance(entry, str) else (entry["name"], entry["version"]))
    return found


def closure(name: str, manifest: t.Mapping[str, t.Any], find: t.Callable[[str], t.Mapping[str, t.Any] | None]) -> Manifests:
    """One plugin's manifest and those of all that it needs, so that no other one has to be opened.

    Args:
        name: The plugin.
        manifest: Its own.
        find: The manifest of another one; ``None`` where it is not there or cannot be used.
    """
    known, waiting = {name: manifest}, [manifest]
    while waiting:
        for other, _range in needs(waiting.pop()):
            found = None if other in known else find(other)
            if found is not None:
                known[other] = found
                waiting.append(found)
    return known


def check(name: str, manifests: Manifests) -> None:
    """Refuse what one plugin needs and does not have.

    Args:
        name: The plugin, itself one of ``manifests``.
        manifests: All that can be used, by name, or as :func:`closure` has them.

    Raises:
        NexcageError: ``E_DEPENDENCY`` naming the plugin, the dependency and the range, or the cycle.
    """
    order([name], manifests)


def order(wanted: t.Iterable[str], manifests: Manifests) -> list[str]:
    """The wanted plugins and all they need, each after what it needs; alphabetical where that leaves a choice.

    Raises:
        NexcageError: As :func:`check`.
    """
    done: list[str] = []
    for name in sorted(wanted):
        _visit(name, manifests, done, [])
    return done


def _visit(name: str, manifests: Manifests, done: list[str], path: list[str]) -> None:
    if name in path:
        cycle = " -> ".join([*path[path.index(name) :], name])
        raise NexcageError(
            "E_DEPENDENCY", f"plugins need each other in a circle: {cycle}", option="name", value=name, remedy="remove one of these dependencies"
        )
    if name in done:
        return
    for other, wanted in sorted(needs(manifests[name])):
        found = manifests.get(other)
        text = f"{other} {wanted}".strip()
        if found is None:
            raise NexcageError(
                "E_DEPENDENCY", f"{name} needs the plugin {text}, which is not installed", option="name", value=name, remedy=f"install {other} first"
            )
        if wanted and parse_version(found["version"]) not in Range(wanted):
            raise _refuse(name, f"{name} needs {text}, and {found['version']} is installed", f"install {text}")
        _visit(other, manifests, done, [*path, name])
    done.append(name)


def _refuse(name: str, message: str, remedy: str) -> NexcageError:
    return NexcageError("E_DEPENDENCY", message, option="name", value=name, remedy=remedy)


def dependants(name: str, manifests: Manifests) -> list[str]:
    """The plugins that need ``name`` directly, sorted."""
    return sorted(other for other, manifest in manifests.items() if any(needed == name for needed, _range in needs(manifest)))
