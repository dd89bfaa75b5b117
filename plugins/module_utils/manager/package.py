# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ``.nexcage-plugin`` file: read once, and what was read is what is hashed, judged and sent to the worker."""

from __future__ import annotations

import os
import typing as t

from ..broker import guarded
from ..model.errors import NexcageError
from ..model.manifest import Manifest, parse_manifest
from . import archive
from .archive import Archive

SUFFIX = ".nexcage-plugin"
MODULE = ".py"


class Package(t.NamedTuple):
    """A package whose structure, digests, manifest and name are right. Nothing is said of whether to trust it.

    Args:
        path: Where its bytes came from, for messages.
        archive: Its content.
        manifest: Its ``plugin.json``.
        data: The bytes of the file, which may be written elsewhere as they are.
    """

    path: str
    archive: Archive
    manifest: Manifest
    data: bytes

    @property
    def name(self) -> str:
        """The plugin's name, such as ``lxc-backend``."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The plugin's version, such as ``1.0.0``."""
        return str(self.manifest["version"])

    @property
    def digest(self) -> str:
        """``sha256:`` and the SHA-256 of ``SHA256SUMS``."""
        return self.archive.digest

    @property
    def signature(self) -> bytes | None:
        """The bytes of ``SHA256SUMS.sig``, ``None`` where the package is not signed."""
        return self.archive.signature

    def sources(self) -> dict[str, str]:
        """The worker's files: name to source of every Python file, ``plugin.py`` first."""
        names = sorted((name for name in self.archive.files if name.endswith(MODULE)), key=lambda name: (name != archive.ENTRY, name))
        return {name: _text(name, self.archive.files[name]) for name in names}


def load(path: str, limit: int, file: str | None = None) -> Package:
    """The package in a file that nobody but root and this user can have changed.

    Args:
        path: Of the file.
        limit: Bytes that it may have; never more than ``archive.PACKED_LIMIT``.
        file: The name that it must have by its manifest; the last part of the path where not given.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_PRIVILEGE``, ``E_LIMIT``; as :func:`from_bytes`.
    """
    return from_bytes(guarded.read(path, min(limit, archive.PACKED_LIMIT)), path, file)


def from_bytes(data: bytes, path: str, file: str | None = None) -> Package:
    """The package that these bytes are.

    Args:
        data: Of the file.
        path: Where they come from, for messages.
        file: As in :func:`load`.

    Raises:
        NexcageError: ``E_INTEGRITY``, ``E_MANIFEST`` or ``E_VERSION`` naming the file, what is at fault in it, and the rule.
    """
    file = file or os.path.basename(path)
    try:
        content = archive.read(data)
        package = Package(path, content, parse_manifest(content.files[archive.MANIFEST]), data)
        package.sources()
    except NexcageError as error:
        raise _named(error, path) from None
    if file != file_name(package.manifest):
        raise NexcageError(
            "E_INTEGRITY",
            f"{path}: the package says that it is {package.name} {package.version}",
            option="name",
            value=file,
            remedy=f"name the file {file_name(package.manifest)}, or get the right one",
            details={"file": path},
        )
    return package


def file_name(manifest: t.Mapping[str, t.Any]) -> str:
    """The name that a package with this manifest has."""
    return f"{manifest['name']}-{manifest['version']}{SUFFIX}"


def _text(name: str, source: bytes) -> str:
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NexcageError("E_INTEGRITY", f"not UTF-8 text: {error.reason} at byte {error.start}", option=name) from None


def _named(error: NexcageError, path: str) -> NexcageError:
    """The same error, with the file that it is about."""
    inside = f"{archive.MANIFEST}: " if error.code in ("E_MANIFEST", "E_VERSION") else ""
    return NexcageError(error.code, f"{path}: {inside}{error.message}", error.option, error.value, error.remedy, {**error.details, "file": path})
