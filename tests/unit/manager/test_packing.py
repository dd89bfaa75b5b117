# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder becomes a package: always the same bytes, and ones that the reader and other programs take."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, package, packing, signature
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import packages
from hypothesis import given, settings
from hypothesis import strategies as st

MIB = 1 << 20
# Of the files below, on every Python and with every zlib.
GOLDEN = "3121349c665511b747297c8bb761b2be"
PROGRAM = (
    "import sys; from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing; sys.stdout.buffer.write(packing.build(sys.argv[1]))"
)


def fill(folder: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return fill(tmp_path / "plugin", packages.files(README__md=b"# Sample\n", helper__py=b"X = 1\n"))


def refused(folder: pathlib.Path, code: str) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        packing.build(str(folder))
    assert caught.value.code == code, caught.value
    return caught.value


def test_round_trip(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    data = packing.build(str(folder))
    path = tmp_path / "sample-backend-1.0.0.nexcage-plugin"
    path.write_bytes(data)
    path.chmod(0o644)
    read = package.load(str(path), MIB)
    assert read.archive.files == {name: (folder / name).read_bytes() for name in ("README.md", "helper.py", "plugin.json", "plugin.py")}
    assert read.digest == "sha256:" + hashlib.sha256(packing.sums(read.archive.files)).hexdigest()
    assert list(read.sources()) == ["plugin.py", "helper.py"]
    assert (read.name, read.version, read.signature, read.data) == ("sample-backend", "1.0.0", None, data)
    assert packing.pack(read.archive.files) == data


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(archive.MODULE_NAME, fullmatch=True) | st.sampled_from(["a.md", "LICENSE"]), st.binary(max_size=2000), max_size=5))
def test_round_trip_of_any_files(more: dict[str, bytes]) -> None:
    files = {**packages.files(), **more}
    data = packing.pack(files, b"signed")
    found = archive.read(data)
    assert (found.files, found.signature, found.sums) == (files, b"signed", packing.sums(files))
    assert packing.pack(dict(reversed(found.files.items())), b"signed") == data


def test_other_programs_read_it(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "package"
    path.write_bytes(packing.build(str(folder)))
    subprocess.run(["gzip", "--test"], input=path.read_bytes(), check=True)
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "--extract", "--gzip", "--file", str(path), "--directory", str(out)], check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=out, check=True, stdout=subprocess.DEVNULL)
    assert {entry.name for entry in out.iterdir()} == {"plugin.json", "plugin.py", "helper.py", "README.md", "SHA256SUMS"}
    assert gzip.decompress(path.read_bytes())[257:265] == b"ustar\x0000"
    with tarfile.open(path) as opened:
        entries = opened.getmembers()
    for entry in entries:
        assert (entry.mode, entry.uid, entry.gid, entry.mtime, entry.uname, entry.gname) == (0o644, 0, 0, 0, "", "")


def test_what_other_programs_make_is_read(folder: pathlib.Path) -> None:
    """As an author without this collection would: sha256sum and tar."""
    names = ["plugin.json", "plugin.py", "helper.py", "README.md"]
    sums = subprocess.run(["sha256sum", *names], cwd=folder, check=True, capture_output=True).stdout
    (folder / "SHA256SUMS").write_bytes(sums)
    made = subprocess.run(["tar", "--format=ustar", "-czf", "-", *names, "SHA256SUMS"], cwd=folder, check=True, capture_output=True).stdout
    assert archive.read(made).files == archive.read(packing.build(str(folder))).files


def test_the_same_bytes_whatever_is_around(folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packing.build(str(folder))
    copy = fill(tmp_path / "elsewhere" / "x", {entry.name: entry.read_bytes() for entry in sorted(folder.iterdir(), reverse=True)})
    for number, entry in enumerate(copy.iterdir()):
        os.utime(entry, (number * 1e8, number * 1e8))
        entry.chmod((0o600, 0o755, 0o4711, 0o444)[number])
        if os.geteuid() == 0:
            os.chown(entry, 1000 + number, 2000 + number)
    fill(copy, {".hidden": b"", "test_plugin.py": b"", "SHA256SUMS": b"old", "notes.txt": b""})
    (copy / "__pycache__").mkdir()
    old = os.umask(0o077)
    try:
        assert packing.build(str(copy)) == first
        assert packing.build(str(copy) + "/") == first
    finally:
        os.umask(old)
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: sorted(scandir(path), key=lambda entry: entry.name, reverse=True))
    monkeypatch.setattr("time.time", lambda: 4e9)
    assert packing.build(str(copy)) == first
    assert packing.collect(str(copy)).left_out == [".hidden", "SHA256SUMS", "__pycache__/", "notes.txt", "test_plugin.py"]
    monkeypatch.chdir(copy)
    assert packing.build(".") == first


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C", "PYTHONHASHSEED": "1"}, {"LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "7"}]
)
def test_the_same_bytes_in_another_process(folder: pathlib.Path, environment: dict[str, str]) -> None:
    made = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], env={**os.environ, **environment}, check=True, capture_output=True).stdout
    assert made == packing.build(str(folder))


def test_the_same_bytes_everywhere() -> None:
    files = {"plugin.json": b"{}", "plugin.py": b"x = 1\n" * 30_000, "README.md": b""}
    assert hashlib.sha256(packing.pack(files, b"signed")).hexdigest()[:32] == GOLDEN


def test_other_content_other_bytes(folder: pathlib.Path) -> None:
    first = packing.build(str(folder))
    (folder / "helper.py").write_bytes(b"X = 2\n")
    second = packing.build(str(folder))
    assert first != second and archive.read(first).digest != archive.read(second).digest


def test_what_is_packed(folder: pathlib.Path) -> None:
    more = ["LICENSE", "LICENSE.txt", "LICENCE-BSD", "COPYING", "NOTICE", "CHANGELOG.md"]
    out = [".env", "conftest.py", "id_ed25519", "id_ed25519.pub", "notes.txt", "plugin.json~", "plugin.zig", "setup.py", "test_a.py"]
    fill(folder, dict.fromkeys((*more, *out), b""))
    (folder / "tests").mkdir()
    (folder / "docs.md").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "elsewhere").symlink_to("/etc")
    content = packing.collect(str(folder))
    assert set(content.files) == {*more, "plugin.json", "plugin.py", "helper.py", "README.md"}
    assert set(content.left_out) == {*out, "tests/", "docs.md/", "fifo", "elsewhere"}


def test_a_folder_of_the_existing_form(tmp_path: pathlib.Path) -> None:
    """Its plugin.json has no field that existing NexCage plugins do not have."""
    document = packages.manifest(
        name="crun-backend",
        author="NexCage Team",
        homepage="https://github.com/cageforge/nexcage",
        license="Apache-2.0",
        capabilities=["container_create", "container_start", "host_command", "filesystem_read", "logging"],
        resource_requirements={"max_memory_mb": 128, "max_cpu_percent": 10, "max_file_descriptors": 200, "max_threads": 5, "timeout_seconds": 60},
        provides_backend=True,
        provides_cli_commands=False,
        binary_dependencies=[{"name": "crun", "version": ">=1.0.0", "description": "OCI container runtime", "check_command": "crun --version"}],
        system_requirements={"os": ["linux"], "architecture": ["x86_64", "aarch64"], "kernel_version": ">=3.10"},
    )
    folder = fill(tmp_path / "crun-plugin", {**packages.files(document), "plugin.zig": b"const std = @import();"})
    content = packing.collect(str(folder))
    assert content.left_out == ["plugin.zig"] and "max_threads" in "".join(content.manifest.notes)
    assert package.from_bytes(packing.build(str(folder)), "crun-backend-1.0.0.nexcage-plugin").name == "crun-backend"
    (folder / "plugin.py").unlink()
    assert "another language" in refused(folder, "E_NOT_FOUND").remedy


def test_folders_that_are_none(tmp_path: pathlib.Path) -> None:
    for name, code in (("gone", "E_NOT_FOUND"), ("file", "E_NOT_FOUND"), ("empty", "E_NOT_FOUND")):
        (tmp_path / "file").write_bytes(b"")
        (tmp_path / "empty").mkdir(exist_ok=True)
        refused(tmp_path / name, code)


@pytest.mark.parametrize("name", ["plugin.json", "plugin.py", "README.md"])
def test_files_that_are_none(folder: pathlib.Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    (folder / name).symlink_to("/etc/hostname")
    assert str(folder / name) in refused(folder, "E_INVALID").message
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert "no regular file" in refused(folder, "E_INVALID").message
    (folder / name).unlink()
    (folder / name).write_bytes(b" " * (archive.FILE_LIMIT + 1))
    assert str(folder / name) in refused(folder, "E_LIMIT").message
    (folder / name).write_bytes(content)
    packing.build(str(folder))


def test_a_file_that_vanishes(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def late(path: str) -> list[os.DirEntry[str]]:
        found = list(scandir(path))
        (folder / "helper.py").unlink()
        return found

    monkeypatch.setattr(os, "scandir", late)
    refused(folder, "E_NOT_FOUND")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("plugin.py", b"def backend(:\n"),
        ("helper.py", b"\xff"),
        ("helper.py", b"x = 1\0"),
        ("helper.py", b"(" * 5000 + b")" * 5000),
        ("helper.py", b"return\n"),
    ],
)
def test_code_that_does_not_compile(folder: pathlib.Path, name: str, source: bytes) -> None:
    (folder / name).write_bytes(source)
    assert str(folder / name) in refused(folder, "E_INVALID").message
    (folder / name).write_bytes(b"raise SystemExit  # never runs here\n")
    packing.build(str(folder))


@pytest.mark.parametrize("change", [{"api_version": "1"}, {"capabilities": ["fly"]}, {"extra": 1}])
def test_manifests_that_are_wrong(folder: pathlib.Path, change: dict[str, t.Any]) -> None:
    (folder / "plugin.json").write_text(json.dumps(packages.manifest(**change)))
    error = refused(folder, "E_MANIFEST")
    assert error.message.startswith(f"{folder}/plugin.json: ") and error.details["file"] == f"{folder}/plugin.json"
    (folder / "plugin.json").write_text(json.dumps(packages.manifest(api_version=9)))
    refused(folder, "E_VERSION")


@pytest.mark.parametrize("name", ["my-helper.py", "1.py", "a.b.py"])
def test_names_that_no_reader_takes(folder: pathlib.Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    error = refused(folder, "E_INTEGRITY")
    assert error.option == name and "folder" in error.remedy


@pytest.mark.requires("ssh-keygen")
def test_signing(folder: pathlib.Path, keys: dict[str, str]) -> None:
    unsigned = packing.build(str(folder))
    signed = packing.sign(unsigned, keys["ed25519"])
    assert signed == packing.sign(signed, keys["ed25519"]) != unsigned
    found = archive.read(signed)
    assert (found.digest, found.files) == (archive.read(unsigned).digest, archive.read(unsigned).files)
    assert found.signature is not None and signature.inspect(found.signature).namespace == "nexcage-plugin"
    assert packing.pack(found.files, found.signature) == signed
    with pytest.raises(NexcageError) as caught:
        packing.sign(unsigned, keys["ed25519"] + ".gone")
    assert caught.value.code == "E_SIGNATURE"
    with pytest.raises(NexcageError) as caught:
        packing.sign(b"no package", keys["ed25519"])
    assert caught.value.code == "E_INTEGRITY"


@pytest.mark.requires("ssh-keygen")
def test_signing_keeps_sums_in_another_order(keys: dict[str, str]) -> None:
    turned = b"".join(sorted(packing.sums(packages.files()).splitlines(True), reverse=True))
    other = packages.package([*packages.files().items(), ("SHA256SUMS", turned)])
    assert archive.read(packing.sign(other, keys["ed25519"])).sums == turned


@pytest.mark.requires("ssh-keygen", "tar", "sha256sum")
def test_the_documented_commands(tmp_path: pathlib.Path, keys: dict[str, str], repository: pathlib.Path) -> None:
    """docs/plugin-packages.md says how to make a package and look into one with other programs."""
    made, opened = re.findall(r"```sh\n(.*?)```", (repository / "docs/plugin-packages.md").read_text(), re.DOTALL)
    folder = fill(tmp_path / "plugin", packages.files())
    (tmp_path / "out").mkdir()
    environment = {**os.environ, "KEY": keys["ed25519"], "PACKAGE": str(tmp_path / "sample-backend-1.0.0.nexcage-plugin")}
    subprocess.run(["bash", "-euc", made], cwd=folder, env=environment, check=True)
    shown = subprocess.run(["bash", "-euc", opened], cwd=tmp_path / "out", env=environment, check=True, capture_output=True, text=True).stdout
    ours = archive.read(packing.sign(packing.build(str(folder)), keys["ed25519"]))
    os.chmod(environment["PACKAGE"], 0o644)
    assert package.load(environment["PACKAGE"], MIB).archive == ours
    assert "Good" in shown and ours.digest == "sha256:" + shown.splitlines()[-1].split()[0]


def test_the_documented_bounds(repository: pathlib.Path) -> None:
    text = (repository / "docs/plugin-packages.md").read_text()
    units = (archive.FILE_LIMIT // MIB, archive.UNPACKED_LIMIT // MIB, archive.PACKED_LIMIT // MIB, archive.RATIO_FREE // 1024)
    one, unpacked, packed, free = units
    assert (
        f"more than {archive.COUNT_LIMIT} files, {one} MiB in one, {unpacked} MiB unpacked, {packed} MiB packed, or more than a hundredfold"
        f" of the packed size above {free} KiB" in text
    )
    assert archive.RATIO_LIMIT == 100
