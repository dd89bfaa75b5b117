# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against a package that shall become the active one, beside its trust: the task, the record, the host, other plugins."""

from __future__ import annotations

import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.version import chosen, parse_version
from . import dependencies, installed, registry, requirements, settings
from .package import Package
from .records import Record


def more(layout: Layout) -> None:
    """Refuse one plugin more than the host shall have.

    Raises:
        NexcageError: ``E_LIMIT`` naming the setting.
    """
    limit, there = installed.setting(layout, "max_plugins", 1000), len(installed.names(layout))
    if there >= limit:
        message = f"{there} plugins are installed, and this host shall have no more"
        remedy = f"remove one, or raise it in {settings.load(layout)[0]}"
        raise NexcageError("E_LIMIT", message, option="plugin_manager.max_plugins", value=limit, remedy=remedy)


def another_version(parameters: t.Mapping[str, t.Any], found: Package) -> None:
    """Refuse a package of another version than the task wants.

    Raises:
        NexcageError: ``E_VERSION``.
    """
    wanted = parameters.get("version")
    if wanted is not None and not fits(wanted, found.version):
        message = f"the package is {found.name} {found.version}"
        raise NexcageError("E_VERSION", message, option="version", value=wanted, remedy="give another src, or another version")


def fits(wanted: str, version: str) -> bool:
    """Whether a version is the one, or in the range, that the option ``version`` names."""
    return parse_version(version) in chosen(wanted)


def another_digest(parameters: t.Mapping[str, t.Any], found: Package) -> None:
    """Refuse an installed package that is not the one that the task pins.

    Raises:
        NexcageError: ``E_INTEGRITY``.
    """
    wanted = parameters.get("digest")
    if wanted is not None and wanted != found.digest:
        raise NexcageError("E_INTEGRITY", f"{found.digest} is installed", option="digest", value=wanted, remedy="give the package with that digest as src")


def downgrade(record: Record, found: Package, parameters: t.Mapping[str, t.Any]) -> None:
    """Refuse a version below the highest one that was here, unless the task allows it.

    Raises:
        NexcageError: ``E_TRUST``.
    """
    option = next((key for key in ("version", "src", "index") if parameters.get(key) is not None), "state")
    same = record.active is not None and record.active.digest == found.digest
    if record.floor and not same and parse_version(found.version) < parse_version(record.floor) and not parameters.get("allow_downgrade"):
        raise NexcageError(
            "E_TRUST",
            f"{record.name} was {record.floor} here already, and {found.version} is older",
            option=option,
            value=parameters.get(option),
            remedy=f"install {record.floor} or later, or set allow_downgrade: true",
        )


def host(layout: Layout, name: str, manifest: t.Mapping[str, t.Any]) -> None:
    """Refuse a plugin whose programs, system or other plugins are not here.

    Raises:
        NexcageError: ``E_BINARY``, ``E_SYSTEM``; ``E_DEPENDENCY`` naming the plugin and the range, or the cycle.
    """
    lacking = requirements.check(manifest)
    if lacking:
        raise lacking[0]
    dependencies.check(name, dependencies.closure(name, manifest, lambda other: registry.manifest_of(other, layout)))
