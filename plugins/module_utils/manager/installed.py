# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugins that were installed from packages, as they can be used right now.

A package's bytes are read once: what was hashed is what is judged and what is sent to the worker.
"""

from __future__ import annotations

import os
import re
import typing as t

from ..broker import guarded
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.manifest_fields import NAME
from ..model.version import EXACT_PATTERN
from . import archive, grants, package, records, settings, trust
from .package import Package
from .records import Record, Release

# A refusal that a replacement can bring about. With one record a package moves once, and then its grant.
MOVED = ("E_INTEGRITY", "E_NOT_FOUND", "E_GRANT")
LOOKS = 3
REPLACEMENTS = 100  # so many within one look are no replacements any more
Seen = t.TypeVar("Seen")


class Installed(t.NamedTuple):
    """One plugin that may be used.

    Args:
        record: What is known of it.
        release: The active one.
        package: Its content.
        granted: The capabilities that the operator granted.
    """

    record: Record
    release: Release
    package: Package
    granted: frozenset[str]


def plugin_dir(layout: Layout) -> str:
    """The folder of packages."""
    return str(setting(layout, "plugin_dir", layout.configuration + "/plugins"))


def setting(layout: Layout, name: str, default: t.Any) -> t.Any:
    """One setting of the manager of plugins; ``default`` where the file says nothing of the manager, and nothing more is read then.

    Raises:
        NexcageError: ``E_INVALID``, and ``E_INTEGRITY`` where others could change the file.
    """
    if "plugin_manager" not in settings.load(layout)[1]:
        return default
    from . import configuration

    return configuration.manager(layout)[name]


def names(layout: Layout) -> list[str]:
    """The plugins that are installed, sorted."""
    return [name for name in records.names(layout) if is_installed(layout, name)]


def is_installed(layout: Layout, name: str) -> bool:
    """Whether a plugin of that name is installed, of use or not."""
    if not re.fullmatch(NAME.pattern, name):
        return False
    try:
        record = records.read(layout, name)
    except NexcageError:  # of this one alone: whoever uses it is told what is wrong
        return True
    return record is not None and record.active is not None


def lying(layout: Layout, name: str, without: str = "") -> str:
    """The one package of a plugin that lies in the folder of packages.

    Args:
        layout: The host's folders.
        name: The plugin.
        without: A file that does not count.

    Raises:
        NexcageError: ``E_NOT_FOUND``; ``E_EXISTS`` naming both where there are two.
    """
    place = plugin_dir(layout)
    try:
        entries = sorted(os.listdir(place))
    except FileNotFoundError:
        entries = []
    found = [entry for entry in entries if entry.endswith(package.SUFFIX) and entry != without and _plugin_of(entry) == name]
    if not found:
        raise NexcageError(
            "E_NOT_FOUND", f"no package of {name} lies in {place}", option="name", value=name, remedy=f"put {name}-VERSION{package.SUFFIX} there"
        )
    if len(found) > 1:
        raise NexcageError("E_EXISTS", f"{place} has {' and '.join(found)}", option="name", value=name, remedy="remove all but one of them")
    return f"{place}/{found[0]}"


def _plugin_of(file: str) -> str:
    """The name in a package's file name: all before the version."""
    found = re.fullmatch(rf"(.+)-(?:{EXACT_PATTERN})", file[: -len(package.SUFFIX)])
    return found.group(1) if found else ""


def load(layout: Layout, name: str) -> Installed:
    """One installed plugin, after everything that has to hold for its use was looked at.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INTEGRITY``, ``E_TRUST``, ``E_SIGNATURE``, ``E_GRANT``, ``E_QUARANTINED``.
    """
    return steady(layout, name, lambda record: _usable(layout, name, record))


def steady(layout: Layout, name: str, look: t.Callable[[Record | None], Seen]) -> Seen:
    """What ``look`` makes of a plugin's record, whoever replaces the plugin meanwhile.

    Who uses plugins waits for nobody, so a replacement may fall into the look. What is missing then has only moved, and
    is looked for again: a refusal counts once it came ``LOOKS`` times with one and the same record.

    Raises:
        NexcageError: What ``look`` raises; ``E_STATE`` for a damaged record.
    """
    looks: dict[object, int] = {}
    while True:
        mark, record = records.mark(layout, name), records.read(layout, name)
        looks[mark] = looks.get(mark, 0) + 1
        try:
            return look(record)
        except NexcageError as error:
            if error.code not in MOVED or record is None or looks[mark] >= LOOKS or len(looks) > REPLACEMENTS:
                raise


def _usable(layout: Layout, name: str, record: Record | None) -> Installed:
    """The plugin that a record names."""
    if record is None or record.active is None:
        raise NexcageError("E_NOT_FOUND", "no such plugin is installed", option="name", value=name, remedy="install it with nexcage_plugin: state=present")
    release = record.active
    found, _data = fetch(layout, name, release)
    if release.trust_digest != trust.digest(layout):
        judge(layout, found, release)
    if record.quarantined:
        from . import breaker

        breaker.refuse(layout, record)
    return Installed(record, release, found, grants.granted(layout, found.manifest, release.digest))


def judge(layout: Layout, found: Package, release: Release) -> trust.Verdict:
    """Judge an installed package anew, in the way it was accepted: the trust files may say something else now."""
    pin, unsigned = (release.digest if release.trust == "pin" else None), release.trust == "unsigned"
    return trust.judge(found, layout, pin=pin, unsigned=unsigned, now=float(release.installed), require_signatures=not unsigned)


def fetch(layout: Layout, name: str, release: Release) -> tuple[Package, bytes]:
    """A release's package and its bytes, from wherever it lies.

    Raises:
        NexcageError: ``E_INTEGRITY`` where it is gone, or is not the one that was installed.
    """
    place = f"{plugin_dir(layout)}/{release.file}"
    other = ""
    for path in (place, records.kept(layout, name, release.digest)):
        if not os.path.lexists(path):
            continue
        data = guarded.read(path, archive.PACKED_LIMIT)
        found = package.from_bytes(data, place)
        if found.digest == release.digest:
            return found, data
        other = found.digest
    what = f"is another package, {other}" if other else "is gone"
    raise NexcageError(
        "E_INTEGRITY",
        f"{place} {what}; {release.version}, {release.digest}, was installed",
        option="name",
        value=name,
        remedy=f"install it again, or take what lies there now: nexcage_plugin name={name} state=reloaded",
    )
