# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which version and digest of each plugin was chosen once, so that it is chosen again: ``nexcage-plugins.lock.json``.

It lies beside the playbook, under version control::

    {"schema_version": 1, "plugins": {"acme-backend": {"version": "1.2.0", "digest": "sha256:..."}}}
"""

from __future__ import annotations

import json
import typing as t

from ..broker import store
from ..model.errors import NexcageError
from ..model.manifest_fields import NAME, VERSION
from ..model.manifest_rules import Field, MapOf, Record, Text, Whole
from .document import parse

FILE = "nexcage-plugins.lock.json"
SCHEMA_VERSION = 1
SIZE_LIMIT = 1 << 20  # bytes
DIGEST = Text(71, 71, r"sha256:[0-9a-f]{64}", "'sha256:' and 64 hexadecimal digits in lower case")

_ENTRY = Record({"version": Field(VERSION), "digest": Field(DIGEST)})
_RULES = Record({"schema_version": Field(Whole(SCHEMA_VERSION, SCHEMA_VERSION)), "plugins": Field(MapOf(NAME, _ENTRY, 4096))})


class Locked(t.NamedTuple):
    """What a plugin is held to."""

    version: str
    digest: str


def read(data: bytes, path: str) -> dict[str, Locked]:
    """The content of a lock file.

    Raises:
        NexcageError: ``E_STATE`` naming file and field.
    """
    document = parse(data, path, _RULES, "E_STATE", "restore it from version control, or remove it and have it written anew")
    return {name: Locked(entry["version"], entry["digest"]) for name, entry in document["plugins"].items()}


def dump(locked: t.Mapping[str, Locked]) -> bytes:
    """The bytes of a lock file: sorted and one line to a value, so that a change is easy to see."""
    document = {"schema_version": SCHEMA_VERSION, "plugins": {name: locked[name]._asdict() for name in sorted(locked)}}
    return (json.dumps(document, indent=2) + "\n").encode("ascii")


def write(path: str, locked: t.Mapping[str, Locked]) -> None:
    """Write a lock file, old or new and never half.

    Raises:
        NexcageError: ``E_STATE`` or ``E_SPACE``.
    """
    store.atomic_write(path, dump(locked), 0o644)


def enforce(locked: t.Mapping[str, Locked], name: str, version: str, digest: str) -> None:
    """Refuse a package that is not the one a lock file names.

    Raises:
        NexcageError: ``E_TRUST`` naming both.
    """
    held = locked.get(name)
    if held == (version, digest):
        return
    wanted = f"holds it to {held.version} with {held.digest}" if held else "does not name it"
    raise NexcageError(
        "E_TRUST",
        f"this is {name} {version} with {digest}, and the lock file {wanted}",
        option="name",
        value=name,
        remedy="if that is meant, write the lock file anew, and look at the difference",
    )
