# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages made by an attacker. Beside each there is one without the flaw, which is read."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import pathlib
import re
import tarfile
import tracemalloc
import typing as t
import zlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, package, packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import fuzz, packages
from hypothesis import given
from hypothesis import strategies as st

NAME = "sample-backend-1.0.0.nexcage-plugin"
MIB = 1 << 20
# Bytes that reading may need beside the package itself: the tar, copies of its parts, and room to grow for zlib.
MEMORY = 4 * archive.UNPACKED_LIMIT


@contextlib.contextmanager
def bounded() -> t.Iterator[None]:
    """What is done in here allocates no more than reading any package may."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= MEMORY
    finally:
        tracemalloc.stop()


def refused(data: bytes, code: str = "E_INTEGRITY") -> NexcageError:
    with bounded(), pytest.raises(NexcageError) as caught:
        package.from_bytes(data, NAME)
    assert caught.value.code == code, caught.value
    assert NAME in str(caught.value) and caught.value.details["file"] == NAME
    json.dumps(caught.value.as_dict())
    return caught.value


def taken(data: bytes) -> package.Package:
    with bounded():
        return package.from_bytes(data, NAME)


def test_the_bound_can_be_passed() -> None:
    with pytest.raises(AssertionError), bounded():
        bytes(MEMORY + 1)


def test_case_78_file_not_in_sums() -> None:
    entries = packages.members()
    assert refused(packages.package([*entries, ("json.py", b"")])).option == "json.py"
    taken(packages.package(packages.members(packages.files(json__py=b""))))


def test_case_79_file_missing() -> None:
    more = packages.members(packages.files(helper__py=b""))
    assert refused(packages.package([entry for entry in more if entry[0] != "helper.py"])).option == "helper.py"
    taken(packages.package(more))


@pytest.mark.parametrize("name", ["plugin.json", "plugin.py", "SHA256SUMS", "SHA256SUMS.sig"])
def test_the_files_that_must_be_there(name: str) -> None:
    content = packages.files()
    content.pop(name, None)
    entries: packages.Members = [*packages.members(content), ("SHA256SUMS.sig", b"signed")]
    without = [entry for entry in entries if entry[0] != name]
    if name == "SHA256SUMS.sig":
        assert (taken(packages.package(entries)).signature, taken(packages.package(without)).signature) == (b"signed", None)
    else:
        assert refused(packages.package(without)).option == name


@pytest.mark.parametrize("name", ["SHA256SUMS", "SHA256SUMS.sig"])
def test_the_sums_do_not_name_themselves(name: str) -> None:
    sums = packing.sums({**packages.files(), name: b""})
    assert refused(packages.package([*packages.files().items(), ("SHA256SUMS", sums), ("SHA256SUMS.sig", b"")])).option == name


@pytest.mark.parametrize("name", ["plugin.json", "plugin.py"])
def test_case_80_one_flipped_bit(name: str) -> None:
    right = packages.members()
    for position in range(0, len(packages.files()[name]), 7):
        changed = bytearray(packages.files()[name])
        changed[position] ^= 1
        assert refused(packages.package([(n, bytes(changed) if n == name else c) for n, c in right])).option == name
    taken(packages.package(right))


def test_case_80_one_flipped_bit_anywhere() -> None:
    """Most are refused; where the flip is in a field that nobody reads, such as a time, the files are what they were."""
    right = packing.pack(packages.files())
    expected = archive.read(right)
    for position in range(len(right)):
        changed = bytearray(right)
        changed[position] ^= 1 << position % 8
        try:
            assert archive.read(bytes(changed)) == expected
        except NexcageError as error:
            assert error.code == "E_INTEGRITY"
    tar = bytearray(packages.tar(packages.members()))
    survived = 0
    for position in range(0, len(tar), 3):
        tar[position] ^= 1
        try:
            assert archive.read(gzip.compress(bytes(tar), 1)) == expected
            survived += 1
        except NexcageError as error:
            assert error.code == "E_INTEGRITY"
        tar[position] ^= 1
    assert survived == 0  # each header has a checksum


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


@pytest.mark.parametrize("trailer", [b"\0", b"x", b"\0" * 512, packages.package(), gzip.compress(b"")])
def test_what_follows_the_end(trailer: bytes) -> None:
    for right in (packages.package(), packing.pack(packages.files())):
        taken(right)
        assert "follow the end" in refused(right + trailer).message


def test_what_follows_the_tar_in_the_gzip() -> None:
    taken(packages.package(end=bytes(1024)))
    taken(packages.package(end=bytes(10240)))
    for end in (b"", bytes(512), bytes(1023), bytes(1025), bytes(1024) + b"x" * 512, bytes(512) + b"x" * 512, packages.tar([("a.md", b"")])):
        refused(packages.package(end=end))


def test_bytes_between_the_files() -> None:
    raw = bytearray(packages.tar(packages.members()))
    assert raw[512 + len(packages.files()["plugin.json"])] == 0
    raw[512 + len(packages.files()["plugin.json"])] = 1
    assert "belong to no file" in refused(gzip.compress(bytes(raw))).message


def test_a_name_in_two_parts() -> None:
    """ustar's prefix would put a folder before the name."""
    raw = bytearray(packages.tar(packages.members()))
    raw[345:349] = b"/etc"
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 0x20)
    refused(gzip.compress(bytes(raw)))


def test_a_name_with_more_behind_its_end() -> None:
    raw = bytearray(packages.tar(packages.members()))
    raw[90:95] = b"extra"
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 0x20)
    refused(gzip.compress(bytes(raw)))


@pytest.mark.parametrize("cut", [0, 1, 9, 10, 11, 100, -8, -4, -1])
def test_packages_cut_off(cut: int) -> None:
    for right in (packages.package(), packing.pack(packages.files())):
        refused(right[:cut])


def test_tars_cut_off() -> None:
    raw = packages.tar(packages.members())
    for end in range(0, len(raw) - 1, 100):
        refused(gzip.compress(raw[:end]))


@pytest.mark.parametrize(
    "sums",
    [
        b"",
        b"\n",
        b"{right}",  # no line feed at the end
        b"{right}\r\n",
        b"\n{right}\n",
        b"{right}\n\n",
        b"\xef\xbb\xbf{right}\n",
        b"{right}\n# a comment\n",
        b"{right}\n" + b"0" * 64 + b"  ../x\n",
        b"{right}\n" + b"0" * 64 + b"  a/x\n",
        b"{right}\n" + b"0" * 64 + b" *x\n",
        b"{right}\n" + b"0" * 64 + b" x\n",
        b"{right}\n" + b"0" * 63 + b"  x\n",
        b"{right}\n" + b"A" * 64 + b"  x\n",
        b"{right}\n\\" + b"0" * 64 + b"  x\\nx\n",
    ],
)
def test_sums_that_are_read_two_ways(sums: bytes) -> None:
    right = packing.sums(packages.files())
    assert refused(packages.package([*packages.files().items(), ("SHA256SUMS", sums.replace(b"{right}", right[:-1]))])).option == "SHA256SUMS"
    taken(packages.package([*packages.files().items(), ("SHA256SUMS", right)]))


def test_the_order_of_the_sums_is_free() -> None:
    turned = b"".join(sorted(packing.sums(packages.files()).splitlines(True), reverse=True))
    assert taken(packages.package([*packages.files().items(), ("SHA256SUMS", turned)])).digest != archive.read(packages.package()).digest


def test_json_is_looked_at_last() -> None:
    """A wrong digest is told before a wrong manifest is read."""
    broken = packages.files()
    broken["plugin.json"] = b"[" * 100_000
    sums = packing.sums(packages.files())
    assert "SHA-256" in refused(packages.package([*broken.items(), ("SHA256SUMS", sums)])).message


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 60_000,
        b"[" * 100_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a":' * 100_000,
        b"",
        b"null",
        b"\xff",
        b'{"name": "a", "name": "b"}',
        b'{"x": NaN}',
        b'{"x": ' + b"1" * 60_000 + b"}",
        b'"\\ud800"',
    ],
    ids=lambda text: text[:12].decode("latin-1"),
)
def test_manifests_that_are_none(text: bytes) -> None:
    files = {**packages.files(noise__md=os.urandom(10_000)), "plugin.json": text}
    assert "plugin.json" in refused(packages.package(packages.members(files)), "E_MANIFEST").message


def test_sources_that_are_no_text() -> None:
    assert refused(packages.package(packages.members(packages.files(helper__py=b"# \xff")))).option == "helper.py"
    assert taken(packages.package(packages.members(packages.files(helper__py="# ÿ".encode())))).sources()["helper.py"] == "# ÿ"


@pytest.mark.parametrize(
    "file",
    [
        "sample-backend-1.0.1.nexcage-plugin",
        "other-backend-1.0.0.nexcage-plugin",
        "sample-backend.nexcage-plugin",
        "sample-backend-1.0.0.nexcage-plugin.bak",
        "Sample-backend-1.0.0.nexcage-plugin",
    ],
)
def test_case_86_name_and_version_differ_from_the_file(tmp_path: pathlib.Path, file: str) -> None:
    for name in (file, NAME):
        (tmp_path / name).write_bytes(packages.package())
        (tmp_path / name).chmod(0o644)
    with pytest.raises(NexcageError) as caught:
        package.load(str(tmp_path / file), MIB)
    assert (caught.value.code, caught.value.value) == ("E_INTEGRITY", file)
    assert NAME in caught.value.remedy
    assert package.load(str(tmp_path / NAME), MIB).version == "1.0.0"
    assert package.load(str(tmp_path / file), MIB, NAME).version == "1.0.0"


@pytest.mark.parametrize("level", ["file", "folder", "parent"])
def test_case_92_group_writable_folder_or_parent(tmp_path: pathlib.Path, level: str) -> None:
    folder = tmp_path / "nexcage" / "plugins"
    folder.mkdir(parents=True, mode=0o755)
    path = folder / NAME
    path.write_bytes(packages.package())
    path.chmod(0o644)
    assert package.load(str(path), MIB).name == "sample-backend"
    place = {"file": path, "folder": folder, "parent": folder.parent}[level]
    place.chmod(place.stat().st_mode | 0o020)
    with pytest.raises(NexcageError) as caught:
        package.load(str(path), MIB)
    assert caught.value.code == "E_INTEGRITY" and str(place) in caught.value.message


def test_case_93_file_swapped_between_hash_and_load(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, evil = tmp_path / NAME, tmp_path / "evil"
    path.write_bytes(packages.package())
    evil.write_bytes(packages.package(packages.members({**packages.files(), "plugin.py": b"evil = 1\n"})))
    for file in (path, evil):
        file.chmod(0o644)
    read = os.read

    def swapping(descriptor: int, count: int) -> bytes:
        if evil.exists():
            evil.rename(path)
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", swapping)
    loaded = package.load(str(path), MIB)
    monkeypatch.undo()
    assert not evil.exists()
    assert loaded.sources() == {"plugin.py": packages.ENTRY.decode()}  # the file that was opened
    path.unlink()
    assert loaded.sources() == {"plugin.py": packages.ENTRY.decode()} and loaded.data == packages.package()


def test_the_limit_of_the_operator_and_the_reader_s_own(tmp_path: pathlib.Path) -> None:
    path = tmp_path / NAME
    for size, limit, code in ((None, 100, "E_LIMIT"), (archive.PACKED_LIMIT + 1, 1 << 30, "E_LIMIT"), (archive.PACKED_LIMIT, 1 << 30, "E_INTEGRITY")):
        path.write_bytes(packages.package() if size is None else b"")
        path.chmod(0o644)
        if size is not None:
            os.truncate(path, size)
        with pytest.raises(NexcageError) as caught:
            package.load(str(path), limit)
        assert caught.value.code == code
    path.write_bytes(packages.package())
    assert package.load(str(path), len(packages.package())).name == "sample-backend"


def test_the_package_itself_is_a_link(tmp_path: pathlib.Path) -> None:
    (tmp_path / "elsewhere").write_bytes(packages.package())
    (tmp_path / NAME).symlink_to("elsewhere")
    with pytest.raises(NexcageError) as caught:
        package.load(str(tmp_path / NAME), MIB)
    assert caught.value.code == "E_INTEGRITY"


def test_no_plugin_file_is_imported(tmp_path: pathlib.Path) -> None:
    """What a package holds is text until the worker has it."""
    marker = tmp_path / "ran"
    source = f"open({str(marker)!r}, 'w')\n".encode()
    loaded = taken(packages.package(packages.members(packages.files(json__py=source))))
    assert list(loaded.sources()) == ["plugin.py", "json.py"]
    assert not marker.exists()


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
