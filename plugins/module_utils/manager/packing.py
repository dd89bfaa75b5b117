# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a ``.nexcage-plugin`` file of a plugin's folder: the same content always gives the same bytes.

Neither times nor owners, modes, the order in the folder, umask or locale are in the file. It is a gzip file without
compression, because what zlib compresses to differs from one zlib to the next; a plugin is small.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import typing as t
import zlib

from ..model.errors import NexcageError
from ..model.manifest import Manifest, parse_manifest
from . import archive
from . import signature as signatures

PACKED = re.compile(r"plugin\.json|[^.].*\.(?:py|md)|(?:LICEN[CS]E|COPYING|NOTICE)(?:[.-].*)?")
TESTS = re.compile(r"(?:test_.*|.*_test|conftest|conformance_world|setup)\.py")  # an author keeps them beside the plugin, and nobody else needs them

_GZIP_HEADER = b"\x1f\x8b\x08\x00" + bytes(4) + b"\x00\xff"  # deflate, no name, no time, no system (RFC 1952, 2.3)
_STORED = 65535  # bytes in one block that is not compressed (RFC 1951, 3.2.4)


class Content(t.NamedTuple):
    """What of a folder goes into the package.

    Args:
        files: Name to bytes.
        manifest: Its checked ``plugin.json``.
        left_out: Names in the folder that are not packed; of folders with a slash at the end.
    """

    files: dict[str, bytes]
    manifest: Manifest
    left_out: list[str]


def build(folder: str) -> bytes:
    """The unsigned package of a plugin's folder.

    Raises:
        NexcageError: As :func:`collect` and :func:`pack`.
    """
    return pack(collect(folder).files)


def collect(folder: str) -> Content:
    """Read what goes into the package: ``plugin.json``, Python files but tests, ``*.md``, and licences.

    Raises:
        NexcageError: ``E_NOT_FOUND`` for a folder or file that is not there, ``E_INVALID`` for a link or a file that
            Python cannot compile, ``E_LIMIT`` for a file that is too long, ``E_MANIFEST``, ``E_VERSION``.
    """
    try:
        names = sorted(entry.name + "/" * entry.is_dir(follow_symlinks=False) for entry in os.scandir(folder))
    except OSError as error:
        raise NexcageError("E_NOT_FOUND", f"the folder cannot be read: {error.strerror}", option="src", value=folder, remedy="check the path") from None
    packed = [name for name in names if PACKED.fullmatch(name) and not TESTS.fullmatch(name)]
    for name in (archive.MANIFEST, archive.ENTRY):
        if name not in packed:
            raise NexcageError(
                "E_NOT_FOUND",
                f"there is no {name} in the folder",
                option="src",
                value=folder,
                remedy=f"write {name}; code of existing NexCage plugins in another language does not run here",
            )
    files = {name: read_file(os.path.join(folder, name), archive.FILE_LIMIT) for name in packed}
    for name, content in files.items():
        if name.endswith(".py"):
            _compile(os.path.join(folder, name), content)
    try:
        manifest = parse_manifest(files[archive.MANIFEST])
    except NexcageError as error:
        path = os.path.join(folder, archive.MANIFEST)
        raise NexcageError(error.code, f"{path}: {error.message}", error.option, error.value, error.remedy, {**error.details, "file": path}) from None
    return Content(files, manifest, [name for name in names if name not in packed])


def read_file(path: str, limit: int) -> bytes:
    """The content of a regular file that is no link.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INVALID`` for a link, a pipe and the like, ``E_LIMIT``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        code = "E_INVALID" if os.path.islink(path) else "E_NOT_FOUND"
        raise NexcageError(code, f"{path} cannot be read as a regular file: {error.strerror}", value=path, remedy="put the file itself there") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NexcageError("E_INVALID", f"{path} is no regular file", value=path, remedy="put the file itself there")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise NexcageError("E_LIMIT", f"{path} has more than {limit} bytes", value=path, remedy="make the file smaller")
    return content


def _compile(path: str, source: bytes) -> None:
    try:
        compile(source.decode("utf-8"), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"{path} line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else path
        raise NexcageError("E_INVALID", f"{where}: {error}", value=path, remedy="correct the file") from None


def pack(files: t.Mapping[str, bytes], signature: bytes | None = None) -> bytes:
    """The package of these files, and of the signature of their ``SHA256SUMS``.

    Raises:
        NexcageError: ``E_INTEGRITY`` for what no package may hold.
    """
    return _pack(files, sums(files), signature)


def sign(data: bytes, key_file: str) -> bytes:
    """The package with a signature of its ``SHA256SUMS``, in the place of one that it has.

    Args:
        data: A package.
        key_file: A private SSH key without a passphrase.

    Raises:
        NexcageError: ``E_INTEGRITY`` where it is no package; ``E_SIGNATURE``, ``E_BINARY``, ``E_TIMEOUT``.
    """
    content = archive.read(data)
    return _pack(content.files, content.sums, signatures.sign(content.sums, key_file, signatures.PLUGIN))


def _pack(files: t.Mapping[str, bytes], sums_: bytes, signature: bytes | None) -> bytes:
    members = [*sorted(files.items()), (archive.SUMS, sums_)]
    if signature is not None:
        members.append((archive.SIGNATURE, signature))
    parts = [_header(name, len(content)) + content + bytes(-len(content) % archive.BLOCK) for name, content in members]
    data = _gzip(b"".join(parts) + bytes(2 * archive.BLOCK))
    try:
        archive.read(data)  # what nobody could read is not written
    except NexcageError as error:
        raise NexcageError(error.code, error.message, error.option, error.value, "correct the files in the plugin's folder") from None
    return data


def sums(files: t.Mapping[str, bytes]) -> bytes:
    """The bytes of ``SHA256SUMS``, as ``sha256sum`` writes them, by name."""
    return b"".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n".encode() for name, content in sorted(files.items()))


def _header(name: str, size: int) -> bytes:
    """The ustar header of a regular file: mode 0644, user and group 0, the beginning of 1970."""
    fields = (name.encode()[:100].ljust(100, b"\0"), b"0000644\0", b"0000000\0" * 2, b"%011o\0" % size, b"%011o\0" % 0)
    rest = (b"0".ljust(101, b"\0"), b"ustar\x0000", bytes(64), b"0000000\0" * 2, bytes(167))
    checksum = sum(sum(field) for field in (*fields, *rest)) + 8 * 0x20
    return b"".join((*fields, b"%06o\0 " % checksum, *rest))


def _gzip(data: bytes) -> bytes:
    """A gzip file that holds the bytes as they are."""
    parts = [_GZIP_HEADER]
    for start in range(0, len(data), _STORED):
        block = data[start : start + _STORED]
        length = len(block)
        parts += [bytes([start + _STORED >= len(data)]), length.to_bytes(2, "little"), (length ^ 0xFFFF).to_bytes(2, "little"), block]
    return b"".join((*parts, zlib.crc32(data).to_bytes(4, "little"), (len(data) & 0xFFFFFFFF).to_bytes(4, "little")))
