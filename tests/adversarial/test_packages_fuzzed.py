# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded fuzz of the reader of packages."""

from __future__ import annotations

import gzip
import json
import tarfile

from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import fuzz, packages
from ansible_collections.nexcage.backends.tests.support.reading import bounded
from hypothesis import given
from hypothesis import strategies as st

# ---- a bounded fuzz; the files have no flaw that a random byte would hide behind

RIGHT = packing.pack(packages.files(README__md=b"text"))
EXPECTED = archive.read(RIGHT)
RAW = packages.tar(packages.members(packages.files(README__md=b"text")))


def only_refused(data: bytes) -> None:
    try:
        with bounded():
            found = archive.read(data)
        assert found.digest == archive.digest(found.sums)
        assert set(archive.parse_sums(found.sums)) == set(found.files)
    except NexcageError as error:
        assert error.code == "E_INTEGRITY"
        json.dumps(error.as_dict())
        str(error).encode("utf-8")


@fuzz.times(300)
@given(st.binary(max_size=300))
def test_fuzz_any_bytes(data: bytes) -> None:
    only_refused(data)
    only_refused(b"\x1f\x8b\x08\x00" + data)
    only_refused(gzip.compress(data, 1))


@fuzz.times(300)
@given(st.lists(st.tuples(st.integers(0, len(RAW) - 1), st.binary(min_size=1, max_size=16)), min_size=1, max_size=5), st.booleans())
def test_fuzz_bytes_of_the_tar(changes: list[tuple[int, bytes]], mend: bool) -> None:
    """With checksums that are right again, so that what is behind them is reached."""
    raw = bytearray(RAW)
    for position, text in changes:
        raw[position : position + len(text)] = text
    for start in range(0, len(raw) - 511, 512) if mend else ():
        if RAW[start + 257 : start + 262] == b"ustar":
            raw[start + 148 : start + 156] = b"%06o\0 " % (sum(raw[start : start + 148]) + sum(raw[start + 156 : start + 512]) + 8 * 0x20)
    only_refused(gzip.compress(bytes(raw), 1))


@fuzz.times(300)
@given(st.lists(st.tuples(st.integers(0, len(RIGHT) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_fuzz_bytes_of_the_package(changes: list[tuple[int, int]]) -> None:
    data = bytearray(RIGHT)
    for position, value in changes:
        data[position] = value
    only_refused(bytes(data))


NAMES = st.sampled_from(["plugin.json", "plugin.py", "SHA256SUMS", "SHA256SUMS.sig", "a.md", "../x", "/x", ".x", "a b"]) | st.text(max_size=8)
KINDS = st.sampled_from([tarfile.REGTYPE] * 8 + [tarfile.SYMTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_SPARSE, tarfile.DIRTYPE, b"\0"])


@fuzz.times(300)
@given(st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=600), st.integers(0, (1 << 33) - 1)), max_size=6), st.booleans())
def test_fuzz_members(entries: list[tuple[str, bytes, bytes, int]], honest: bool) -> None:
    made: packages.Members = [
        (packages.header(name.replace("\0", ""), len(content) if honest else size, kind), content) for name, kind, content, size in entries
    ]
    only_refused(packages.package([*made, *packages.members()]))
    only_refused(packages.package(made))
