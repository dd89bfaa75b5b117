# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules for allowed_signers and publishers.json."""

from __future__ import annotations

import base64
import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import publishers, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import signing

PATH = "/etc/nexcage/trust/allowed_signers"
BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(32)).decode()
OTHER = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + bytes(31) + b"\1").decode()
KEY = f"ssh-ed25519 {BLOB}"
SPACE = 'namespaces="nexcage-plugin"'


def parse(*lines: str) -> list[publishers.Signer]:
    return publishers.signers("\n".join(lines).encode(), PATH, "nexcage-plugin")


@pytest.mark.parametrize(
    "line",
    [
        f"a@b {SPACE} {KEY}",
        f"  a@b\t{SPACE}  {KEY} with a comment: \u00e4\r",
        f'a@b,c,d-e.f_g+h {SPACE},valid-before="20270101" {KEY}',
        f'a@b cert-authority,{SPACE},valid-after="20260101120000Z",valid-before="202701011200" {KEY}',
    ],
)
def test_right_lines(line: str) -> None:
    [signer] = parse("# a comment", "", line, "\t")
    assert signer.line == 3 and signer.key == base64.b64decode(BLOB) and signer.principals[0].startswith("a@b")
    assert signer.authority == ("cert-authority" in line)


def test_values_of_a_line() -> None:
    [signer] = parse(f'a,b {SPACE},valid-after="20270115080000",valid-before="20270116" {KEY}')
    assert (signer.principals, signer.valid_after, signer.valid_before) == (("a", "b"), signing.NOW, signing.NOW + 16 * 3600)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"* {SPACE} {KEY}", "stands for anybody"),
        (f"a@b,* {SPACE} {KEY}", "stands for anybody"),
        (f"*@b {SPACE} {KEY}", "stands for anybody"),
        (f"a?b {SPACE} {KEY}", "stands for anybody"),
        (f"*,!a@b {SPACE} {KEY}", "stands for anybody"),
        (f"a@b, {SPACE} {KEY}", "no plain name"),
        (f'"a@b" {SPACE} {KEY}', "no plain name"),
        (f"-a {SPACE} {KEY}", "no plain name"),
        (f"a@b {KEY}", 'no namespaces="nexcage-plugin"'),
        (f'a@b valid-before="20270101" {KEY}', "no namespaces"),
        (f'a@b namespaces="git" {KEY}', "'git'"),
        (f'a@b namespaces="nexcage-*" {KEY}', "nexcage-*"),
        (f'a@b namespaces="nexcage-plugin,git" {KEY}', "nexcage-plugin,git"),
        (f'a@b namespaces="" {KEY}', "''"),
        (f"a@b {SPACE},{SPACE} {KEY}", "not understood"),
        (f"a@b {SPACE},restrict {KEY}", "not understood"),
        (f"a@b namespaces {KEY}", "not understood"),
        (f'a@b cert-authority="x",{SPACE} {KEY}', "not understood"),
        (f'a@b {SPACE};valid-before="20270101" {KEY}', "not separated"),
        (f"a@b {SPACE}, {KEY}", "not understood"),
        (f'a@b {SPACE},valid-before="tomorrow" {KEY}', "no time"),
        (f'a@b {SPACE},valid-after="20271301" {KEY}', "no time"),
        (f'a@b {SPACE},valid-after="2027 101" {KEY}', "no time"),
        (f"a@b {SPACE} ssh-ed25519", "not a line"),
        ("a@b", "not a line"),
        (f"a@b {SPACE} {KEY}A", "cut off"),
        (f"a@b {SPACE} ssh-rsa {BLOB}", "no key of type ssh-rsa"),
        (f"a@b {SPACE} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "no key of type"),
        (f"c@d {SPACE} {KEY}", "line 1 too"),
    ],
)
def test_wrong_lines_are_named_with_a_remedy(line: str, problem: str) -> None:
    first = f"a@b {SPACE} {KEY if 'line 1' in problem else KEY.replace(BLOB, OTHER)}"
    with pytest.raises(NexcageError) as caught:
        parse(first, line)
    error = caught.value
    assert error.code == "E_TRUST" and problem in error.message and error.message.startswith(f"{PATH}, line 2: ")
    assert error.remedy and error.details == {"file": PATH, "line": 2}


def test_lint_finds_everything() -> None:
    text = f"* {SPACE} {KEY}\na@b {KEY}\na@b {SPACE} {KEY}\nnonsense\n".encode()
    assert [error.details["line"] for error in publishers.lint(text, PATH, "nexcage-plugin")] == [1, 2, 4]
    with pytest.raises(NexcageError) as caught:
        publishers.signers(text, PATH, "nexcage-plugin")
    assert [", line 1: " in caught.value.message, *(f", line {line}: " in caught.value.details["more"][place] for place, line in enumerate((2, 4)))] == [
        True
    ] * 3
    assert publishers.lint(f"a@b {SPACE} {KEY}\n".encode(), PATH, "nexcage-plugin") == []
    assert publishers.lint(f"a@b {SPACE} {KEY}\n".encode(), PATH, "nexcage-index") != []


@pytest.mark.requires("ssh-keygen")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_lines_with_real_keys(tmp_path: pathlib.Path, kind: str) -> None:
    key = signing.Key(tmp_path, kind, kind)
    assert publishers.lint(key.line().encode(), PATH, "nexcage-plugin") == []


@pytest.mark.parametrize(
    "name",
    [
        *("crun-backend", "runc-backend", "crun", "CRUN-Backend", "crun_backend", "runc.backend", "crun--backend"),
        *("proxmox-lxc", "proxmox-vm-backend", "nexcage", "nexcage-backend", "nexcage.metrics", "NexCage_x"),
    ],
)
def test_reserved_names(name: str) -> None:
    with pytest.raises(NexcageError) as caught:
        publishers.refuse_reserved(name)
    assert (caught.value.code, caught.value.value) == ("E_TRUST", name)


@pytest.mark.parametrize("name", ["acme-backend", "crun2-backend", "my-crun-backend", "nexcages", "acme.nexcage", "lxc-backend"])
def test_free_names(name: str) -> None:
    publishers.refuse_reserved(name)


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_what_is_built_in_is_reserved(name: str) -> None:
    for form in (name, registry.short_name(name)):
        with pytest.raises(NexcageError):
            publishers.refuse_reserved(form)


def made(**entries: t.Any) -> publishers.Publishers:
    return publishers.Publishers(json.dumps({"schema_version": 1, "publishers": entries}).encode(), "p.json")


def test_the_nearest_entry_decides_alone() -> None:
    found = made(**{"*": ["all"], "acme-*": ["acme"], "*-acme": ["emca", "acme"], "acme-x": ["x"], "acme-closed": []})
    assert found.of("other") == ("all",)
    assert found.of("acme-y") == ("acme",)
    assert found.of("acme-x") == ("x",)
    assert found.of("acme-closed") == ()
    assert found.of("acme-acme") == ("acme", "emca")
    assert made(**{"acme-*": ["acme"]}).of("other") == ()


@pytest.mark.parametrize(
    ("pattern", "fits", "not_fits"),
    [
        ("a*", "a abc a-", "b xa"),
        ("*a", "a ba", "ab"),
        ("a*c", "ac abc", "a c abcd"),
        ("ab*ba", "abba abxba", "aba"),
        ("*a*b*", "ab xaxbx", "ba"),
        ("a*bb*c", "abbc axbbxc", "abc abxbc"),
        ("a", "a", "A b"),
    ],
)
def test_patterns(pattern: str, fits: str, not_fits: str) -> None:
    assert [name for name in fits.split() if made(**{pattern: ["p"]}).of(name) != ("p",)] == []
    assert [name for name in not_fits.split() if made(**{pattern: ["p"]}).of(name)] == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100000,
        b'{"schema_version": 2, "publishers": {}}',
        b'{"publishers": {}}',
        b'{"schema_version": 1, "publishers": {}, "more": 1}',
        b'{"schema_version": 1, "publishers": []}',
        b'{"schema_version": 1, "publishers": {"a": ["x"], "a": ["y"]}}',
        b'{"schema_version": 1, "publishers": {"a": "x"}}',
        b'{"schema_version": 1, "publishers": {"a": ["*"]}}',
        b'{"schema_version": 1, "publishers": {"a": [1]}}',
        b'{"schema_version": 1, "publishers": {"-a": ["x"]}}',
        b'{"schema_version": 1, "publishers": {"": ["x"]}}',
    ],
)
def test_wrong_publishers(content: bytes) -> None:
    with pytest.raises(NexcageError) as caught:
        publishers.Publishers(content, "p.json")
    assert caught.value.code == "E_TRUST" and caught.value.message.startswith("p.json: ") and "schema_version" in caught.value.remedy
    assert caught.value.details == {"file": "p.json"}
