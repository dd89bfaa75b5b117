# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's seccomp profile, its conditions decided."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import seccomp_profile
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


class Host(t.NamedTuple):
    machine: str = "x86_64"
    release: str = "5.10.0-28-cloud"


def rule(name: str, **conditions: t.Any) -> dict[str, t.Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", **conditions}


PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}, {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": None}],
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls": [
        rule("always", args=[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}], errnoRet=1, includes={}, excludes={}),
        {"name": "old", "action": "SCMP_ACT_ALLOW"},
        rule("with-admin", includes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("without-admin", excludes={"caps": ["CAP_SYS_ADMIN"]}),
        rule("arm", includes={"arches": ["arm64", "arm"]}),
        rule("not-arm", excludes={"arches": ["arm64"]}),
        rule("new-kernel", includes={"minKernel": "5.12"}),
        rule("old-kernel", excludes={"minKernel": "5.12"}),
        rule("ancient", includes={"minKernel": "x"}),
    ],
}


def names(capabilities: list[str], host: Host) -> list[str]:
    return [name for entry in seccomp_profile.convert(PROFILE, capabilities, host)["syscalls"] for name in entry["names"]]


def test_conditions() -> None:
    assert names([], Host()) == ["always", "old", "without-admin", "not-arm", "old-kernel", "ancient"]
    assert names(["SYS_ADMIN"], Host("aarch64", "6.1.0")) == ["always", "old", "with-admin", "arm", "new-kernel", "ancient"]


def test_the_runtimes_own_form_passes() -> None:
    converted = seccomp_profile.convert(PROFILE, [], Host())
    assert converted["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"] and converted["defaultErrnoRet"] == 38 and converted["flags"]
    assert converted["syscalls"][0] == {"names": ["always"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}], "errnoRet": 1}
    assert seccomp_profile.convert(PROFILE, [], Host("aarch64"))["architectures"] == ["SCMP_ARCH_AARCH64"]
    assert "architectures" not in seccomp_profile.convert({"defaultAction": "SCMP_ACT_LOG"}, [], Host("strange"))
    assert seccomp_profile.convert({"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86"]}, [], Host())["architectures"] == ["SCMP_ARCH_X86"]


def test_choices(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(PROFILE))
    monkeypatch.setattr(seccomp_profile, "DEFAULT_PATHS", ("/no/such", str(path)))
    assert seccomp_profile.load("unconfined", []) is None
    assert seccomp_profile.load("default", []) is seccomp_profile.load(str(path), [])
    for content in ("{", "[]", "{}", '{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{}]}'):
        path.write_text(content + " " * len(content))
        with pytest.raises(NexcageError) as caught:
            seccomp_profile.load(str(path), [])
        assert (caught.value.code, caught.value.option) == ("E_INVALID", "seccomp_profile")
    for choice in ("relative", "/no/such/profile"):
        with pytest.raises(NexcageError) as caught:
            seccomp_profile.load(choice, [])
        assert caught.value.code == "E_INVALID"
    path.unlink()
    with pytest.raises(NexcageError) as caught:
        seccomp_profile.load("default", [])
    assert caught.value.code == "E_SYSTEM"
