# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures made and verified by the real ssh-keygen; a false one stands in only where it is missing or too old."""

from __future__ import annotations

import base64
import errno
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.plugins.module_utils.manager import signature
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import signing
from ansible_collections.nexcage.backends.tests.support.signing import ACME, NOW, Key

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
DATA = b"0123  plugin.json\n"


@pytest.fixture
def key(tmp_path: pathlib.Path) -> Key:
    return Key(tmp_path)


@pytest.fixture
def scratch(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "run" / "nexcage"


def check(scratch: pathlib.Path, key: Key, **changes: t.Any) -> str:
    """Verify a right signature, with these arguments instead; whatever happens, nothing is left behind."""
    arguments: dict[str, t.Any] = {"data": DATA, "signature": key.sign(DATA), "signers": key.line().encode(), "when": NOW, **changes}
    try:
        return signature.verify(namespace=signature.PLUGIN, folder=str(scratch), allowed=arguments.pop("allowed", {ACME}.__contains__), **arguments)
    finally:
        assert not scratch.exists() or os.listdir(scratch) == []


def refused(scratch: pathlib.Path, key: Key, **changes: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        check(scratch, key, **changes)
    assert caught.value.remedy
    return caught.value


def test_a_right_one(scratch: pathlib.Path, key: Key) -> None:
    assert check(scratch, key) == check(scratch, key, when=None) == ACME
    assert check(scratch, key, revoked=b"") == check(scratch, key, revoked=b"# none\n") == ACME


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_what_sign_makes_is_verified(tmp_path: pathlib.Path, scratch: pathlib.Path, kind: str) -> None:
    key = Key(tmp_path, kind, kind)
    made = signature.sign(DATA, str(key.path), signature.PLUGIN)
    assert check(scratch, key, signature=made) == ACME
    seal = signature.inspect(made)
    assert (seal.kind, seal.namespace) == (key.public.split()[0], "nexcage-plugin")
    assert seal.fingerprint in signing.keygen("-l", "-f", f"{key.path}.pub").decode()


def test_other_bytes(scratch: pathlib.Path, key: Key) -> None:
    assert refused(scratch, key, data=DATA + b"\n").code == "E_SIGNATURE"


@pytest.mark.parametrize("namespace", ["git", "nexcage-index", "file", "nexcage-plugins"])
def test_case_82_a_signature_for_something_else(scratch: pathlib.Path, key: Key, namespace: str) -> None:
    for signers in (key.line(), key.line(namespace=None), key.line(namespace=f"{namespace},nexcage-plugin")):
        assert refused(scratch, key, signature=key.sign(DATA, namespace), signers=signers.encode()).code == "E_SIGNATURE"


def test_a_line_for_something_else(scratch: pathlib.Path, key: Key) -> None:
    assert refused(scratch, key, signers=key.line(namespace="git").encode()).code == "E_SIGNATURE"


def test_a_foreign_key(tmp_path: pathlib.Path, scratch: pathlib.Path, key: Key) -> None:
    other = Key(tmp_path, "other")
    error = refused(scratch, key, signature=other.sign(DATA))
    assert error.code == "E_TRUST" and "No principal matched" in error.message
    assert refused(scratch, key, signers=b"").code == "E_TRUST"


def test_another_principal(scratch: pathlib.Path, key: Key) -> None:
    error = refused(scratch, key, signers=key.line("a@b,c@d").encode())
    assert error.code == "E_TRUST" and "a@b, c@d signed it" in error.message
    assert check(scratch, key, signers=key.line(f"a@b,{ACME}").encode()) == ACME


def test_limits_in_time(scratch: pathlib.Path, key: Key) -> None:
    def signers(*options: str) -> bytes:
        return key.line(ACME, signing.PLUGIN, *options).encode()

    early, late = 'valid-after="20270115080001"', 'valid-before="20270115075959"'
    assert "not yet valid" in refused(scratch, key, signers=signers(early)).message
    assert "expired" in refused(scratch, key, signers=signers(late)).message
    assert check(scratch, key, signers=signers(early), when=NOW + 1) == ACME
    assert check(scratch, key, signers=signers(late), when=NOW - 1) == ACME


def test_revoked_keys_whenever(tmp_path: pathlib.Path, scratch: pathlib.Path, key: Key) -> None:
    other = Key(tmp_path, "other")
    for revoked in (key.public.encode(), key.revocation_list(), other.public.encode() + b"\n" + key.public.encode()):
        error = refused(scratch, key, revoked=revoked, when=86400.0)
        assert (
            error.code == "E_TRUST"
            and error.message.startswith(f"the key of {ACME} is revoked")
            and ("damaged" in error.message) == revoked.startswith(b"SSHKRL")
        )
    for revoked in (other.public.encode(), other.revocation_list()):
        assert check(scratch, key, revoked=revoked) == ACME
    for damaged, said in ((b"# none\nneither\n", "line 2 is no public key"), (key.revocation_list()[:20], "it was cut off")):
        error = refused(scratch, key, revoked=damaged)
        assert error.code == "E_TRUST" and f"the list of revoked keys cannot be read: {said}" in error.message and "correct the file" in error.remedy


def test_certificates(tmp_path: pathlib.Path, scratch: pathlib.Path, key: Key) -> None:
    authority = Key(tmp_path, "authority")
    signing.keygen("-q", "-s", str(authority.path), "-I", "id", "-n", ACME, "-V", "20270101:20270201", f"{key.path}.pub")
    made = signing.keygen("-Y", "sign", "-f", f"{key.path}-cert.pub", "-n", signing.PLUGIN, data=DATA)
    assert "-cert-" in signature.inspect(made).kind
    signers = authority.line(ACME, signing.PLUGIN, "cert-authority").encode()
    assert check(scratch, key, signature=made, signers=signers) == ACME
    assert refused(scratch, key, signature=made, signers=signers, when=NOW + 86400 * 60).code == "E_TRUST"
    assert refused(scratch, key, signature=made, signers=authority.line().encode()).code == "E_TRUST"


def test_every_part_of_a_signature_counts(scratch: pathlib.Path, key: Key) -> None:
    right = key.sign(DATA)
    body = base64.b64decode(b"".join(right.splitlines()[1:-1]))
    for position in [*range(0, len(body), 23), len(body) - 1]:
        flipped = bytearray(body)
        flipped[position] ^= 1
        armored = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(bytes(flipped)) + b"-----END SSH SIGNATURE-----\n"
        assert refused(scratch, key, signature=armored).code in ("E_SIGNATURE", "E_TRUST"), position
    armored = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(body) + b"-----END SSH SIGNATURE-----\n"
    assert check(scratch, key, signature=armored) == ACME


def test_damaged_ones(scratch: pathlib.Path, key: Key) -> None:
    right = key.sign(DATA)
    body = b"".join(right.splitlines()[1:-1])
    damaged = [b"", b"no", right[:60], right[:-40], right.replace(b"U1NIU0lH", b"U1NIU0lX"), right + b"more", b"x" * 20000]
    for length in (8, 16, 40, 100, len(body) // 8 * 4):
        damaged.append(b"-----BEGIN SSH SIGNATURE-----\n" + body[:length] + b"\n-----END SSH SIGNATURE-----\n")
    damaged.append(b"-----BEGIN SSH SIGNATURE-----\n===\n-----END SSH SIGNATURE-----\n")
    for text in damaged:
        assert refused(scratch, key, signature=text).code in ("E_SIGNATURE", "E_TRUST"), text
    assert check(scratch, key, signature=right) == ACME


@pytest.mark.parametrize("flaw", ["missing", "public", "passphrase", "no key"])
def test_keys_that_do_not_sign(tmp_path: pathlib.Path, key: Key, flaw: str) -> None:
    path = key.path
    if flaw == "missing":
        path = tmp_path / "missing"
    elif flaw == "public":
        path.chmod(0o644)
    elif flaw == "passphrase":
        signing.keygen("-q", "-p", "-P", "", "-N", "secret", "-f", str(path))
    else:
        path.write_text("no key\n")
    with pytest.raises(NexcageError) as caught:
        signature.sign(DATA, str(path), signature.PLUGIN)
    assert caught.value.code == "E_SIGNATURE" and str(path) in caught.value.message and "passphrase" in caught.value.remedy


@pytest.fixture
def programs(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder that is the only one that programs are taken from."""
    folder = tmp_path.resolve() / "bin"
    folder.mkdir(mode=0o755)
    monkeypatch.setattr(runtime, "FOLDERS", (str(folder),))
    return folder


def fake(programs: pathlib.Path, script: str) -> pathlib.Path:
    path = programs / "ssh-keygen"
    path.write_text("#!/bin/sh\n" + script)
    path.chmod(0o755)
    return path


@pytest.mark.requires("root")
def test_the_program_is_roots_and_so_is_every_folder_above(programs: pathlib.Path) -> None:
    path = fake(programs, "exit 0\n")
    assert signature.program() == str(path)
    other = programs.parent / "other"
    other.mkdir(mode=0o755)
    path.rename(other / "real")
    path.symlink_to("../other/real")
    assert signature.program() == str(path)
    for place, code in ((other, "E_INTEGRITY"), (programs, "E_INTEGRITY"), (programs.parent, "E_INTEGRITY"), (other / "real", "E_BINARY")):
        mode = place.stat().st_mode
        place.chmod(0o777)
        with pytest.raises(NexcageError) as caught:
            signature.program()
        assert caught.value.code == code and place.name in caught.value.message.replace("ssh-keygen", "real"), place
        place.chmod(mode)
    assert signature.program() == str(path)


@pytest.mark.requires("root")
def test_nothing_of_the_callers_environment_decides(programs: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("SECRET", "hush")
    fake(programs, "env >&2; exit 1\n")
    with pytest.raises(NexcageError) as caught:
        signature.sign(DATA, "/key", signature.PLUGIN)
    assert "hush" not in caught.value.message and "TZ=UTC" in caught.value.message


@pytest.mark.requires("root")
def test_missing(programs: pathlib.Path, scratch: pathlib.Path, key: Key) -> None:
    error = refused(scratch, key)
    assert error.code == "E_SIGNATURE" and "digest pin" in error.remedy and str(programs) in error.message


@pytest.mark.requires("root")
@pytest.mark.parametrize("said", ["unknown option -- Y", 'Unsupported operation for -Y: "find-principals"'])
def test_too_old(programs: pathlib.Path, scratch: pathlib.Path, key: Key, said: str) -> None:
    fake(programs, f"echo '{said}' >&2; exit 1\n")
    error = refused(scratch, key)
    assert error.code == "E_SIGNATURE" and "too old" in error.message and "digest pin" in error.remedy


@pytest.mark.requires("root")
def test_one_that_hangs(programs: pathlib.Path, scratch: pathlib.Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "TIMEOUT", 0.2)
    fake(programs, "exec sleep 60\n")
    assert refused(scratch, key).code == "E_TIMEOUT"


@pytest.mark.requires("root")
def test_what_it_reads_is_for_us_alone(programs: pathlib.Path, scratch: pathlib.Path, key: Key) -> None:
    fake(programs, 'stat -c %a "$4" "$6" >&2; stat -c %a "${4%/*}" "${4%/*/*}" >&2; exit 1\n')
    assert refused(scratch, key).message.endswith("600; 600; 700; 700")


@pytest.mark.requires("root")
def test_a_folder_that_cannot_be_used(scratch: pathlib.Path, key: Key) -> None:
    scratch.mkdir(parents=True)
    scratch.chmod(0o777)
    assert refused(scratch, key).code == "E_STATE"
    scratch.chmod(0o700)
    assert check(scratch, key) == ACME
    scratch.rmdir()
    scratch.write_text("")
    with pytest.raises(NexcageError) as caught:
        signature.verify(DATA, key.sign(DATA), b"", signature.PLUGIN, bool, str(scratch))
    assert caught.value.code == "E_STATE"


def test_a_full_disk(scratch: pathlib.Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_options: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(signature.tempfile, "mkdtemp", full)
    assert refused(scratch, key).code == "E_SPACE"
