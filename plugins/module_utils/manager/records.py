# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must not be lost of an installed plugin: which package is active, the version floor, the previous package.

One file for each plugin below the state folder. Everything else can be made again from the package.
"""

from __future__ import annotations

import os
import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.manifest_fields import NAME

SCHEMA_VERSION = 1
FILE = "record.json"
KEPT = "kept"  # folder of packages that are not in plugin_dir any more, or not there yet


class Release(t.NamedTuple):
    """One package that was installed.

    Args:
        version: As in its manifest.
        digest: The plugin digest, ``sha256:<hexadecimal>``.
        file: Name of the package file.
        trust: Why it was accepted: ``signature``, ``pin`` or ``unsigned``.
        principal: Who signed it; empty where nobody did.
        trust_digest: Of the trust files at that time; with others the package is judged again.
        installed: Seconds since 1970; the signer's key had to be valid then.
    """

    version: str
    digest: str
    file: str
    trust: str
    principal: str = ""
    trust_digest: str = ""
    installed: int = 0


class Record(t.NamedTuple):
    """One plugin.

    Args:
        name: The plugin's name.
        active: What is used; ``None`` where the plugin was removed and only its floor is left.
        previous: What ``rolled_back`` brings back.
        floor: The highest version that was ever active; a lower one needs ``allow_downgrade``.
        quarantined: Why it may not be used until somebody enables it again; empty where it may.
    """

    name: str
    active: Release | None
    previous: Release | None = None
    floor: str = ""
    quarantined: str = ""


def folder(layout: Layout, name: str) -> str:
    """Where all of one plugin's state lies.

    Raises:
        NexcageError: ``E_INVALID`` for what cannot be a plugin's name.
    """
    NAME.check("name", name)
    return f"{layout.state}/plugins/{name}"


def names(layout: Layout) -> list[str]:
    """The plugins that have a record, sorted, also those that were removed."""
    try:
        found = sorted(os.listdir(f"{layout.state}/plugins"))
    except FileNotFoundError:
        return []
    return [name for name in found if os.path.exists(f"{layout.state}/plugins/{name}/{FILE}")]


def mark(layout: Layout, name: str) -> tuple[int, ...]:
    """What tells one writing of a plugin's record from the next one; empty where there is none."""
    try:
        facts = os.stat(f"{folder(layout, name)}/{FILE}")
    except FileNotFoundError:
        return ()
    return facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns


def read(layout: Layout, name: str) -> Record | None:
    """The record of one plugin, ``None`` where there is none.

    Raises:
        NexcageError: ``E_STATE`` for a damaged record or one of a later version.
    """
    path = f"{folder(layout, name)}/{FILE}"
    content = store.read_json(path)
    if content is None:
        return None
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        version = content.get("schema_version") if isinstance(content, dict) else None
        raise NexcageError(
            "E_STATE",
            f"{path} has the schema version {version!r}, this collection knows {SCHEMA_VERSION}",
            value=path,
            remedy="use the collection that wrote it, or a newer one",
        )
    try:
        return Record(
            name,
            _release(content["active"]),
            _release(content["previous"]),
            str(content["floor"]),
            str(content["quarantined"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NexcageError("E_STATE", f"{path} is damaged: {error}", value=path) from error


def _release(content: t.Any) -> Release | None:
    if content is None:
        return None
    version, digest, file, why, principal, known = (str(content[key]) for key in Release._fields[:-1])
    return Release(version, digest, file, why, principal, known, int(content["installed"]))


def write(layout: Layout, record: Record) -> None:
    """Make ``record`` what counts; one rename is the moment.

    Raises:
        NexcageError: ``E_SPACE`` or ``E_STATE``; the old record still counts.
    """
    place = folder(layout, record.name)
    store.ensure_folder(place)
    content = {
        "schema_version": SCHEMA_VERSION,
        "active": record.active and record.active._asdict(),
        "previous": record.previous and record.previous._asdict(),
        "floor": record.floor,
        "quarantined": record.quarantined,
    }
    store.write_json(f"{place}/{FILE}", content)
    store.sync_folder(place)


def lock(layout: Layout, timeout: float) -> store.Lock:
    """Whoever changes records holds it; who reads them does not."""
    held = store.Lock(f"{layout.runtime}/locks/.plugins", timeout, f"process {os.getpid()}: plugins of this host")
    held.discard = True
    return held


def kept(layout: Layout, name: str, digest: str) -> str:
    """The path of the copy that is kept of one package."""
    return f"{folder(layout, name)}/{KEPT}/{digest.rpartition(':')[2]}"
