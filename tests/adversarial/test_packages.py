# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages made by an attacker. Beside each there is one without the flaw, which is read."""

from __future__ import annotations

import gzip
import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, package, packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import packages
from ansible_collections.nexcage.backends.tests.support.reading import MEMORY, MIB, NAME, bounded, refused, taken


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
