# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a package may be used: by signature, pin or knowing consent, and by nothing else."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.plugins.module_utils.manager import trust
from ansible_collections.nexcage.backends.plugins.module_utils.manager.package import Package
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import signing
from ansible_collections.nexcage.backends.tests.support.signing import ACME, NOW, Key, Trust, make_package

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
OTHER_DIGEST = "sha256:" + "0" * 64
POWERFUL: dict[str, t.Any] = {
    "capabilities": ["host_command"],
    "commands": {"x": {"binary": "true", "argv": []}},
    "binary_dependencies": [{"name": "true"}],
}


@pytest.fixture
def key(tmp_path: pathlib.Path) -> Key:
    return Key(tmp_path)


@pytest.fixture
def files(tmp_path: pathlib.Path, key: Key) -> Trust:
    """A host that trusts the key with all names that begin with ``acme-``."""
    made = Trust(tmp_path / "root")
    made.trust(key.line())
    return made


def judge(files: Trust, package: Package, **changes: t.Any) -> trust.Verdict:
    arguments: dict[str, t.Any] = {"pin": None, "unsigned": False, "now": NOW, **changes}
    return trust.judge(package, files.layout, **arguments)


def refused(files: Trust, package: Package, **changes: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        judge(files, package, **changes)
    assert caught.value.remedy
    return caught.value


def test_a_signature(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    verdict = judge(files, make_package(tmp_path, key))
    assert (verdict.kind, verdict.principal, verdict.expires, verdict.trust) == ("signature", ACME, None, trust.digest(files.layout))
    assert verdict.key and verdict.key.startswith("SHA256:") and not verdict.must_be_audited
    files.trust(key.line(ACME, signing.PLUGIN, 'valid-before="20270116"'))
    assert judge(files, make_package(tmp_path, key)).expires == NOW + 16 * 3600


def test_a_certificate(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    authority = Key(tmp_path, "authority")
    signing.keygen("-q", "-s", str(authority.path), "-I", "id", "-n", f"{ACME},other", "-V", "20270101:20270201", f"{key.path}.pub")
    key.path.with_name("key.pub").unlink()
    plain, key.path = key.path, key.path.with_name("key-cert.pub")
    package = make_package(tmp_path, key)
    files.trust(authority.line(ACME, signing.PLUGIN, "cert-authority"))
    assert judge(files, package).principal == ACME
    files.publishers({"acme-*": ["somebody"]})
    assert refused(files, package).code == "E_TRUST"
    files.trust(authority.line())
    assert refused(files, package).code == "E_TRUST"
    assert plain.exists()


def test_the_key_of_an_authority_signs_nothing_itself(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    files.trust(key.line(ACME, signing.PLUGIN, "cert-authority"))
    assert refused(files, make_package(tmp_path, key)).code == "E_TRUST"


def test_one_of_several_principals(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    files.trust(key.line(f"somebody@else,{ACME}"))
    assert judge(files, make_package(tmp_path, key)).principal == ACME


@pytest.mark.parametrize("missing", ["allowed_signers", "publishers.json"])
def test_without_a_file_nobody_is_trusted(tmp_path: pathlib.Path, files: Trust, key: Key, missing: str) -> None:
    package = make_package(tmp_path, key)
    assert judge(files, package)
    (files.folder / missing).unlink()
    assert refused(files, package).code == "E_TRUST"


def test_a_wrong_line_makes_the_whole_file_worthless(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    files.trust(key.line(), Key(tmp_path, "other").line("*"))
    error = refused(files, make_package(tmp_path, key))
    assert error.code == "E_TRUST" and f"{files.folder}/allowed_signers, line 2" in error.message


def test_a_pin(tmp_path: pathlib.Path, files: Trust) -> None:
    package = make_package(tmp_path)
    assert judge(files, package, pin=package.digest) == trust.Verdict("pin")
    error = refused(files, package, pin=OTHER_DIGEST)
    assert (error.code, error.option, error.details["found"]) == ("E_INTEGRITY", "digest", package.digest)


@pytest.mark.parametrize("pin", ["", "sha256:", "0" * 64, "sha256:" + "A" * 64, OTHER_DIGEST + "0", "md5:" + "0" * 32])
def test_what_is_no_pin(tmp_path: pathlib.Path, files: Trust, pin: str) -> None:
    assert refused(files, make_package(tmp_path), pin=pin).code == "E_INVALID"


def test_a_pin_needs_no_tool_and_no_trust_files(tmp_path: pathlib.Path, files: Trust, monkeypatch: pytest.MonkeyPatch) -> None:
    package = make_package(tmp_path)
    monkeypatch.setattr(runtime, "FOLDERS", ())
    for name in os.listdir(files.folder):
        (files.folder / name).unlink()
    assert judge(files, package, pin=package.digest).kind == "pin"


def test_signatures_are_required(tmp_path: pathlib.Path, files: Trust) -> None:
    package = make_package(tmp_path)
    error = refused(files, package)
    assert error.code == "E_SIGNATURE" and package.digest in error.remedy
    assert refused(files, package, require_signatures=False).code == "E_SIGNATURE"  # only a task that says so does without
    assert refused(files, package, unsigned=True).code == "E_TRUST"


def test_knowingly_unsigned(tmp_path: pathlib.Path, files: Trust) -> None:
    verdict = judge(files, make_package(tmp_path), unsigned=True, require_signatures=False)
    assert verdict == trust.Verdict("unsigned") and verdict.must_be_audited


def test_never_unsigned_where_it_is_as_good_as_root(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    dangerous = make_package(tmp_path, **POWERFUL)
    error = refused(files, dangerous, unsigned=True, require_signatures=False)
    assert error.code == "E_TRUST" and "host_command" in error.message
    harmless = make_package(tmp_path, capabilities=["host_command"])  # nothing is declared that it could run
    assert judge(files, harmless, unsigned=True, require_signatures=False).kind == "unsigned"
    assert judge(files, make_package(tmp_path, key, **POWERFUL)).kind == "signature"


def test_a_pin_and_unsigned(tmp_path: pathlib.Path, files: Trust) -> None:
    package = make_package(tmp_path)
    assert refused(files, package, pin=package.digest, unsigned=True, require_signatures=False).code == "E_INVALID"


def foreign(path: pathlib.Path) -> None:
    os.chown(path, 65534, 65534)


def group_writable(path: pathlib.Path) -> None:
    path.chmod(path.stat().st_mode | 0o020)


def world_writable(path: pathlib.Path) -> None:
    path.chmod(path.stat().st_mode | 0o002)


@pytest.mark.requires("root")
@pytest.mark.parametrize("spoil", [foreign, group_writable, world_writable])
@pytest.mark.parametrize("place", ["allowed_signers", "revoked_keys", "publishers.json", ".", ".."])
def test_what_others_can_change_is_not_trusted(tmp_path: pathlib.Path, files: Trust, key: Key, spoil: t.Callable[[pathlib.Path], None], place: str) -> None:
    package = make_package(tmp_path, key)
    files.write("revoked_keys", "")
    assert judge(files, package) and trust.digest(files.layout)
    spoil(files.folder / place)
    assert refused(files, package).code == "E_INTEGRITY"
    with pytest.raises(NexcageError):
        trust.digest(files.layout)


def test_a_link_is_no_trust_file(tmp_path: pathlib.Path, files: Trust, key: Key) -> None:
    package = make_package(tmp_path, key)
    path = files.folder / "allowed_signers"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert refused(files, package).code == "E_INTEGRITY"


def test_the_digest_changes_with_every_file(files: Trust) -> None:
    seen = {trust.digest(files.layout)}
    for name in trust.FILES:
        for content in ("", "#\n"):
            files.write(name, content)
            seen.add(trust.digest(files.layout))
    assert len(seen) == 1 + 2 * len(trust.FILES)
    (files.folder / "revoked_keys").unlink()
    assert trust.digest(files.layout) not in seen
    files.write("notes", "no trust file")
    before = trust.digest(files.layout)
    files.write("notes", "changed")
    assert trust.digest(files.layout) == before


@pytest.mark.parametrize(
    ("version", "floor", "allowed"), [("1.0.0", "", False), ("1.0.0", "1.0.0", False), ("1.10.0", "1.9.0", False), ("1.0.0", "2.0.0", True)]
)
def test_versions_that_may_come(version: str, floor: str, allowed: bool) -> None:
    trust.refuse_downgrade("acme-x", version, floor, allowed)


@pytest.mark.parametrize(("version", "floor"), [("1.0.0", "1.0.1"), ("1.9.0", "1.10.0"), ("0.9.9", "1.0.0")])
def test_versions_that_may_not(version: str, floor: str) -> None:
    with pytest.raises(NexcageError) as caught:
        trust.refuse_downgrade("acme-x", version, floor, False)
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_TRUST", "version", version)
    assert "allow_downgrade" in caught.value.remedy


@pytest.fixture
def index_key(tmp_path: pathlib.Path, files: Trust) -> Key:
    made = Key(tmp_path, "index")
    files.write("index_signers", made.line("mirror@acme.example", signing.INDEX))
    return made


def check_index(files: Trust, armored: bytes, data: bytes = b"{}") -> str:
    return trust.check_index(data, armored, trust.load(files.layout), f"{files.layout.runtime}/verify", NOW)


def test_who_signs_an_index(tmp_path: pathlib.Path, files: Trust, key: Key, index_key: Key) -> None:
    assert check_index(files, index_key.sign(b"{}", signing.INDEX)) == "mirror@acme.example"
    wrong = [index_key.sign(b"{}", signing.PLUGIN), key.sign(b"{}", signing.INDEX), index_key.sign(b"{ }", signing.INDEX)]
    codes = []
    for armored in wrong:
        with pytest.raises(NexcageError) as caught:
            check_index(files, armored)
        codes.append(caught.value.code)
    assert codes == ["E_SIGNATURE", "E_TRUST", "E_SIGNATURE"]
    assert refused(files, make_package(tmp_path, index_key)).code == "E_TRUST"  # and it signs no plugin


def test_nobody_signs_an_index(files: Trust, index_key: Key) -> None:
    armored = index_key.sign(b"{}", signing.INDEX)
    files.write("revoked_keys", index_key.public)
    with pytest.raises(NexcageError, match="revoked"):
        check_index(files, armored)
    (files.folder / "index_signers").unlink()
    with pytest.raises(NexcageError, match="nobody may sign an index"):
        check_index(files, armored)


def test_the_remedy_is_the_role_only_where_the_role_works() -> None:
    own = trust.Files("/etc/nexcage/trust", {}).remedy("trust the publisher", trust.SIGNERS)
    assert own == "trust the publisher with the role nexcage.backends.plugins"
    other = trust.Files("/srv/root/etc/nexcage/trust", {}).remedy("trust the publisher", trust.SIGNERS)
    assert other.startswith("trust the publisher by hand in /srv/root/etc/nexcage/trust/allowed_signers (the role")
