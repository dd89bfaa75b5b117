# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a ``.nexcage-plugin`` file: a gzip'ed tar in the ustar form, read from memory and never unpacked.

Whoever wrote the file may be an attacker, so nothing is taken that has no use: no links, no devices, no folders, no
extended headers, no byte that is neither covered by ``SHA256SUMS`` nor a header of ustar (POSIX.1-2017, pax, "ustar
Interchange Format"). The order is part of it: size, bounded decompression, structure, ``SHA256SUMS``, digests. What
the files say is looked at by others, later.
"""

from __future__ import annotations

import hashlib
import re
import typing as t
import zlib
from collections.abc import Iterator

from ..model.errors import NexcageError

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
MANIFEST, ENTRY = "plugin.json", "plugin.py"

# All in bytes.
PACKED_LIMIT = 5 << 20
UNPACKED_LIMIT = 4 << 20  # the whole tar, headers included
FILE_LIMIT = 1 << 20
SIGNATURE_LIMIT = 16 << 10
COUNT_LIMIT = 64  # files, the sums and the signature included
RATIO_LIMIT, RATIO_FREE = 100, 64 << 10  # this many times its size may a package unpack to, what is free aside

FILE_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
MODULE_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}\.py"  # the worker imports it by its name
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({FILE_NAME})\n")

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MAGIC = b"ustar\x0000"
_GZIP = 31  # zlib's window bits: a gzip header and trailer, checked


class Archive(t.NamedTuple):
    """The content of one package; every file was compared with its digest.

    Args:
        files: Name to bytes of all that ``SHA256SUMS`` names.
        sums: The bytes of ``SHA256SUMS``, which are what is signed.
        signature: The bytes of ``SHA256SUMS.sig``, ``None`` where there is none.
        digest: ``sha256:`` and the SHA-256 of ``sums``: what pins, grants, records and the audit log know a package by.
    """

    files: dict[str, bytes]
    sums: bytes
    signature: bytes | None
    digest: str


def read(data: bytes) -> Archive:
    """The content of a package.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming the file in it that is at fault and the rule.
    """
    if len(data) > PACKED_LIMIT:
        raise _bad(f"the package has {len(data)} bytes, and {PACKED_LIMIT} are allowed")
    members = dict(_members(_unpack(data)))
    sums, signature = members.pop(SUMS, None), members.pop(SIGNATURE, None)
    if sums is None:
        raise _bad("missing in the package", SUMS)
    _compare(members, parse_sums(sums))
    for name in (MANIFEST, ENTRY):
        if name not in members:
            raise _bad("missing in the package", name)
    return Archive(members, sums, signature, digest(sums))


def digest(sums: bytes) -> str:
    """The plugin digest of the bytes of ``SHA256SUMS``."""
    return "sha256:" + hashlib.sha256(sums).hexdigest()


def parse_sums(sums: bytes) -> dict[str, str]:
    """Name to SHA-256 in hexadecimal, of lines as ``sha256sum`` writes them.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming the line.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(sums.decode("latin-1").split("\n")[:-1] if sums.endswith(b"\n") else [""], 1):
        matched = _LINE.fullmatch(line + "\n")
        if matched is None:
            raise _bad(f"line {number} is not '<64 hexadecimal digits>  <file name>' with a line feed", SUMS)
        if matched[2] in found:
            raise _bad(f"line {number} names {matched[2]} a second time", SUMS)
        found[matched[2]] = matched[1]
    return found


def _compare(members: dict[str, bytes], sums: dict[str, str]) -> None:
    for name in sorted(members.keys() ^ sums.keys()):
        raise _bad(f"in the package, and not in {SUMS}" if name in members else f"in {SUMS}, and not in the package", name)
    for name, content in members.items():
        if hashlib.sha256(content).hexdigest() != sums[name]:
            raise _bad(f"its SHA-256 is not the one in {SUMS}", name)


def _unpack(data: bytes) -> bytes:
    """The tar in the gzip; never more bytes than are allowed, whatever the package says of itself."""
    allowed = min(UNPACKED_LIMIT, RATIO_FREE + RATIO_LIMIT * len(data))
    stream = zlib.decompressobj(_GZIP)
    try:
        tar = stream.decompress(data, allowed + 1)
    except zlib.error as error:
        raise _bad(f"not a gzip file, or a damaged one: {error}") from None
    if len(tar) > allowed:
        raise _bad(f"{len(data)} bytes unpack to more than the {allowed} that are allowed for them")
    if not stream.eof:
        raise _bad("the package is cut off")
    if stream.unused_data:
        raise _bad(f"{len(stream.unused_data)} bytes follow the end of the gzip file")
    return tar


def _members(tar: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file, in the order of the tar."""
    position = 0
    seen: set[str] = set()
    while (header := tar[position : position + BLOCK]) != _ZEROS:
        if len(header) < BLOCK:
            raise _bad("the tar is cut off")
        if len(seen) == COUNT_LIMIT:
            raise _bad(f"more than {COUNT_LIMIT} files")
        name, size = _header(header)
        if name in seen:
            raise _bad("in the package twice", name)
        seen.add(name)
        start, end = position + BLOCK, position + BLOCK + size
        position = end + -end % BLOCK
        if position > len(tar):
            raise _bad("cut off", name)
        if any(tar[end:position]):
            raise _bad("bytes that belong to no file follow it", name)
        yield name, tar[start:end]
    ending = tar[position:]
    if len(ending) < 2 * BLOCK or len(ending) % BLOCK or any(ending):
        raise _bad("the tar does not end with blocks of zeros and nothing else")


def _header(header: bytes) -> tuple[str, int]:
    """Name and size that the header of one regular file gives."""
    if not re.fullmatch(rb"[0-7]{6}\0 ", header[148:156]) or int(header[148:154], 8) != sum(header[:148]) + sum(header[156:]) + 8 * 0x20:
        raise _bad("the checksum of a tar header is wrong")
    raw = header[:100].rstrip(b"\0").decode("latin-1")
    if header[257:265] != _MAGIC or header[156:157] != b"0" or any(header[157:257]):
        kind = f"a member of type {header[156:157].decode('latin-1')!a}"
        raise _bad(f"{kind}; only regular files are allowed, in the ustar form", ascii(raw)[1:-1])
    if not re.fullmatch(FILE_NAME, raw) or any(header[345:]):
        raise _bad("not a plain file name without a folder", ascii(raw)[1:-1])
    if raw.endswith(".py") and not re.fullmatch(MODULE_NAME, raw):
        raise _bad("not a name that Python can import", raw)
    if not re.fullmatch(rb"[0-7]{11}[\0 ]", header[124:136]):
        raise _bad("its size is no octal number of 11 digits", raw)
    size, limit = int(header[124:135], 8), SIGNATURE_LIMIT if raw == SIGNATURE else FILE_LIMIT
    if size > limit:
        raise _bad(f"it has {size} bytes, and {limit} are allowed", raw)
    return raw, size


def _bad(problem: str, name: str | None = None) -> NexcageError:
    return NexcageError("E_INTEGRITY", problem, option=name)
