# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of publishers who may not: each attack beside the same thing without its flaw, which passes."""

from __future__ import annotations

import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package as packages_read
from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing, publishers, trust
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import packages, signing
from ansible_collections.nexcage.backends.tests.support.signing import ACME, NOW, Key, Trust, make_package

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
DAY = 86400.0
FILE = "acme-sample-1.0.0.nexcage-plugin"


@pytest.fixture
def key(tmp_path: pathlib.Path) -> Key:
    return Key(tmp_path)


@pytest.fixture
def files(tmp_path: pathlib.Path, key: Key) -> Trust:
    made = Trust(tmp_path / "root")
    made.trust(key.line())
    return made


def passes(files: Trust, package: packages_read.Package, now: float = NOW, **options: t.Any) -> trust.Verdict:
    return trust.judge(package, files.layout, **{"pin": None, "unsigned": False, "now": now, **options})


def refused(files: Trust, package: packages_read.Package, now: float = NOW, **options: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        passes(files, package, now, **options)
    assert caught.value.remedy
    return caught.value


def test_case_81_sums_signed_by_a_foreign_principal(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    stranger = Key(tmp_path, "stranger")
    error = refused(files, make_package(tmp_path, stranger))
    assert error.code == "E_TRUST" and error.details["key"].startswith("SHA256:")
    # Somebody who is trusted, for other plugins.
    files.trust(key.line(), stranger.line("other@example.net"))
    files.publishers({"acme-*": [ACME], "other-*": ["other@example.net"]})
    error = refused(files, make_package(tmp_path, stranger))
    assert error.code == "E_TRUST" and "other@example.net" in error.message and ACME in error.message
    assert passes(files, make_package(tmp_path, stranger, name="other-sample")).principal == "other@example.net"
    assert passes(files, make_package(tmp_path, key)).principal == ACME


@pytest.mark.parametrize("namespace", ["git", "nexcage-index", "file"])
def test_case_82_right_key_wrong_namespace(tmp_path: pathlib.Path, files: Trust, key: Key, namespace: str) -> None:
    error = refused(files, make_package(tmp_path, key, namespace=namespace))
    assert error.code == "E_SIGNATURE" and namespace in error.message
    assert passes(files, make_package(tmp_path, key)).kind == "signature"


def test_case_83_expired_key(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    package = make_package(tmp_path, key)
    files.trust(key.line(ACME, signing.PLUGIN, 'valid-after="20270110",valid-before="20270120"'))
    assert "expired" in refused(files, package, NOW + 5 * DAY).message
    assert "not valid yet" in refused(files, package, NOW - 6 * DAY).message
    assert passes(files, package).kind == "signature"
    # What was installed in time stays right: its own time is asked for then.
    assert passes(files, package, NOW + 4 * DAY).kind == "signature"


@pytest.mark.parametrize("form", ["public key", "KRL"])
def test_case_84_revoked_key(tmp_path: pathlib.Path, files: Trust, key: Key, form: str) -> None:
    package = make_package(tmp_path, key)
    before = passes(files, package)
    files.write("revoked_keys", key.public if form == "public key" else key.revocation_list())
    for now in (NOW, NOW - 365 * DAY):  # whenever it was installed
        error = refused(files, package, now)
        assert error.code == "E_TRUST" and "revoked" in error.message
    assert trust.digest(files.layout) != before.trust  # so a verdict that was kept falls
    other = Key(tmp_path, "other")
    files.write("revoked_keys", other.public if form == "public key" else other.revocation_list())
    assert passes(files, package).kind == "signature"


def test_case_87_downgrade(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    old = make_package(tmp_path, key, version="1.9.0")
    assert passes(files, old).kind == "signature"  # the signature does not grow old
    with pytest.raises(NexcageError) as caught:
        trust.refuse_downgrade(old.name, old.version, "1.10.0", False)
    assert caught.value.code == "E_TRUST" and caught.value.details["floor"] == "1.10.0"
    trust.refuse_downgrade(old.name, old.version, "1.10.0", True)
    trust.refuse_downgrade(old.name, old.version, "1.9.0", False)


@pytest.mark.parametrize("name", ["crun-backend", "runc-backend", "Crun_Backend", "nexcage.metrics", "proxmox-lxc"])
def test_case_90_reserved_name(tmp_path: pathlib.Path, files: Trust, key: Key, name: str) -> None:
    files.publishers({"*": [ACME]})
    package = make_package(tmp_path, key, name=name)
    for options in ({}, {"pin": package.digest}, {"unsigned": True, "require_signatures": False}):
        assert refused(files, package, **options).code == "E_TRUST"
    assert passes(files, make_package(tmp_path, key, name="crane-backend")).kind == "signature"


def test_a_signature_of_another_package(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    right = packages.files(packages.manifest("acme-sample"))
    changed = {**right, "plugin.py": right["plugin.py"] + b"import os\n"}
    armored = key.sign(packing.sums(right))
    assert passes(files, packages_read.from_bytes(packing.pack(right, armored), FILE)).kind == "signature"
    assert refused(files, packages_read.from_bytes(packing.pack(changed, armored), FILE)).code == "E_SIGNATURE"


def test_openssh_reads_no_line_otherwise_than_we_do(tmp_path: pathlib.Path, key: Key) -> None:
    """A character more anywhere in a line: refused here, or OpenSSH sees the same principals, and lets it sign nothing else."""
    right, agreed = key.line(f"{ACME},b").rstrip("\n"), 0
    paths = {name: tmp_path / name for name in ("signers", signing.PLUGIN, "git")}
    for namespace in (signing.PLUGIN, "git"):
        paths[namespace].write_bytes(key.sign(b"data", namespace))

    def openssh(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["ssh-keygen", "-Y", *arguments, "-f", str(paths["signers"])], input=b"data", capture_output=True, check=False)

    for position in range(len(right) + 1):
        for character in '"\\*!,= \t#\0\r\n':
            line = right[:position] + character + right[position:] + "\n"
            try:
                ours = {name for signer in publishers.signers(line.encode(), "p", signing.PLUGIN) for name in signer.principals}
            except NexcageError:
                continue
            paths["signers"].write_bytes(line.encode())
            found = openssh("find-principals", "-s", str(paths[signing.PLUGIN]))
            if found.returncode == 0:
                assert set(found.stdout.decode().split()) == ours, line
                agreed += 1
            for name in ours:
                assert openssh("verify", "-n", "git", "-I", name, "-s", str(paths["git"])).returncode != 0, line
    assert agreed > 10
