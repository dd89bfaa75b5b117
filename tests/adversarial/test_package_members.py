# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members of packages that are no plain files, or are too many or too large."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import tarfile
import typing as t
import zlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, packing
from ansible_collections.nexcage.backends.tests.support import packages
from ansible_collections.nexcage.backends.tests.support.reading import MIB, refused, taken


def member(name: str = "extra.md", kind: bytes = tarfile.REGTYPE, content: bytes = b"", **attributes: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    return packages.header(name, len(content), kind, **attributes), content


WRONG_MEMBERS: dict[str, tuple[tarfile.TarInfo, bytes]] = {
    "parent": member("../extra.md"),
    "inside parent": member("a/../../extra.md"),
    "absolute": member("/etc/extra.md"),
    "folder in name": member("a/extra.md"),
    "point": member("./extra.md"),
    "hidden": member(".extra"),
    "empty": member(""),
    "option": member("-extra.md"),
    "space": member("extra .md"),
    "line feed": member("extra.md\n"),
    "escape": member("extra\x1b[2J.md"),
    "backslash": member("a\\extra.md"),
    "unicode": member("extr\u0430.md"),
    "no module": member("no-module.py"),
    "dots in a module": member("a.b.py"),
    "digit before a module": member("1a.py"),
    "symlink": member(kind=tarfile.SYMTYPE, linkname="/etc/shadow"),
    "symlink as file": member(linkname="/etc/shadow"),
    "hardlink": member(kind=tarfile.LNKTYPE, linkname="plugin.py"),
    "character device": member(kind=tarfile.CHRTYPE, devmajor=1, devminor=1),
    "block device": member(kind=tarfile.BLKTYPE, devmajor=8),
    "fifo": member(kind=tarfile.FIFOTYPE),
    "folder": member(kind=tarfile.DIRTYPE),
    "contiguous": member(kind=tarfile.CONTTYPE),
    "old form": member(kind=tarfile.AREGTYPE),
    "sparse": member(kind=tarfile.GNUTYPE_SPARSE),
    "long name of GNU": member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, content=b"/etc/extra.md\0"),
    "long link of GNU": member("././@LongLink", kind=tarfile.GNUTYPE_LONGLINK, content=b"/etc/shadow\0"),
    "pax": member("PaxHeader", kind=tarfile.XHDTYPE, content=b"18 path=/etc/shadow\n"),
    "global pax": member("PaxHeader", kind=tarfile.XGLTYPE, content=b"16 path=plugin.py\n"),
    "vendor": member(kind=b"Z"),
}


@pytest.mark.parametrize("case", WRONG_MEMBERS)
def test_case_85_member_that_is_no_plain_file(case: str) -> None:
    wrong = WRONG_MEMBERS[case]
    rules = "only regular files are allowed|not a plain file name|not a name that Python can import"
    for entries in ([*packages.members(), wrong], [wrong, *packages.members()]):
        assert re.search(rules, refused(packages.package(entries)).message)


@pytest.mark.parametrize("case", ["parent", "absolute", "folder in name", "hidden", "no module", "symlink", "hardlink", "fifo", "symlink as file"])
def test_case_85_although_the_sums_name_it(case: str) -> None:
    described, content = WRONG_MEMBERS[case]
    sums = packing.sums({**packages.files(), described.name: content})
    refused(packages.package([*packages.files().items(), (described, content), ("SHA256SUMS", sums)]))


def test_other_forms_of_tar_and_compression() -> None:
    """GNU's and pax's headers mean other things in the same places; there is one form, and one way to read it."""
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        made = packages.package(form=form)
        assert (b"ustar\x0000" in gzip.decompress(made)) == (form == tarfile.PAX_FORMAT)
        if form == tarfile.GNU_FORMAT:
            assert "ustar form" in refused(made).message
        else:
            taken(made)  # without extended headers it is ustar
    raw = packages.tar(packages.members())
    for data in (raw, zlib.compress(raw), bz2.compress(raw), lzma.compress(raw)):
        assert "not a gzip file" in refused(data).message
    taken(gzip.compress(raw))


def test_case_85_its_counterpart() -> None:
    taken(packages.package([*packages.files(extra__md=b"text").items(), ("SHA256SUMS", packing.sums(packages.files(extra__md=b"text")))]))


def test_case_85_duplicate_member() -> None:
    entries = packages.members()
    for twice in (entries[1], ("plugin.py", b"import os"), ("SHA256SUMS", packing.sums(packages.files()))):
        assert "twice" in refused(packages.package([*entries, twice])).message
    assert "second time" in refused(packages.package([*entries[:2], ("SHA256SUMS", packing.sums(packages.files()) * 2)])).message
    taken(packages.package(entries))


def test_case_85_many_members() -> None:
    def numbered(count: int) -> packages.Members:
        content = packages.files(**{f"f{number}__md": b"" for number in range(count - 3)})
        return packages.members(content)

    taken(packages.package(numbered(archive.COUNT_LIMIT)))
    assert "more than 64 files" in refused(packages.package(numbered(archive.COUNT_LIMIT + 1))).message
    block = packages.tar([("f.md", b"")], end=b"")
    refused(gzip.compress(block * 100_000))
    refused(gzip.compress(block * 8_000))


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_case_85_sparse_file_of_a_tebibyte(form: int) -> None:
    huge = packages.header("extra.md")
    huge.size = 1 << 40
    refused(packages.package([*packages.members(), (huge, b"")], form=form))
    huge.type = tarfile.GNUTYPE_SPARSE
    refused(packages.package([*packages.members(), (huge, b"")], form=form))


@pytest.mark.parametrize("size", [b"7" * 11 + b"\0", b"-0000000001\0", b"0x000000001\0", b" 0000000001\0", bytes(12), b"\x80" + bytes(10) + b"\1", b"1" * 12])
def test_sizes_that_lie(size: bytes) -> None:
    raw = bytearray(packages.tar([("extra.md", b"x")], end=b""))
    raw[124:136] = size
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 0x20)
    refused(gzip.compress(bytes(raw) + packages.tar(packages.members())))


def test_members_that_are_too_long() -> None:
    def with_content(size: int) -> bytes:
        return packages.package(packages.members(packages.files(extra__md=os.urandom(size))))

    taken(with_content(archive.FILE_LIMIT))
    assert refused(with_content(archive.FILE_LIMIT + 1)).option == "extra.md"
    entries = packages.members()
    taken(packages.package([*entries, ("SHA256SUMS.sig", b"x" * archive.SIGNATURE_LIMIT)]))
    refused(packages.package([*entries, ("SHA256SUMS.sig", b"x" * (archive.SIGNATURE_LIMIT + 1))]))


def test_much_in_all() -> None:
    def parts(count: int) -> bytes:
        return packages.package(packages.members(packages.files(**{f"f{number}__md": os.urandom(MIB) for number in range(count)})))

    taken(parts(3))
    assert "unpack to more than" in refused(parts(4)).message
    assert "are allowed" in refused(bytes(archive.PACKED_LIMIT + 1)).message


@pytest.mark.parametrize("size", [5 * MIB, 64 * MIB, 1 << 30])
def test_tar_bombs(size: int) -> None:
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = squeezed.compress(packages.tar(packages.members(), end=b""))
    data += b"".join(squeezed.compress(bytes(MIB)) for _part in range(size // MIB)) + squeezed.flush()
    assert "unpack to more than" in refused(data).message


def test_a_bomb_within_the_size_is_one_too() -> None:
    """The counterpart: 1 MiB that does not repeat itself."""
    refused(packages.package(packages.members(packages.files(extra__md=bytes(MIB)))))
    refused(packages.package(packages.members(packages.files(**{f"f{number}__md": bytes(MIB - 512) for number in range(3)}))))
    taken(packages.package(packages.members(packages.files(extra__md=os.urandom(MIB)))))
    taken(packages.package(packages.members(packages.files(extra__md=bytes(60_000)))))


def test_bombs_in_bombs() -> None:
    refused(gzip.compress(packages.package()))
    refused(gzip.compress(gzip.compress(bytes(64 * MIB))))
