# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits, the worker's user and the tier."""

from __future__ import annotations

import builtins
import io
import os
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import sandbox
from ansible_collections.nexcage.backends.tests.support.worker import LAYERS, READY, STRONG


def test_limits_of_a_manifest() -> None:
    given = {"max_memory_mb": 128, "max_cpu_percent": 10, "max_file_descriptors": 200, "timeout_seconds": 60}
    assert sandbox.limits_of(given) == sandbox.Limits(memory=128 << 20, cpu=6, descriptors=200, timeout=60.0)


def test_limits_have_the_manifests_defaults_and_a_floor() -> None:
    assert sandbox.limits_of({}) == sandbox.Limits(memory=64 << 20, cpu=1, descriptors=100, timeout=30.0)
    least = {"max_memory_mb": 1, "max_cpu_percent": 1, "max_file_descriptors": 1, "timeout_seconds": 1}
    assert sandbox.limits_of(least) == sandbox.Limits(memory=64 << 20, cpu=1, descriptors=16, timeout=1.0)


def test_text_of_a_stranger_is_one_line() -> None:
    assert sandbox.clean("a\x1b[31m\n\u202e\x9bb\u2028ä") == r"a\x1b[31m\n\u202e\x9bb\u2028ä"
    assert len(sandbox.clean("x" * 10_000)) == sandbox.MESSAGE
    assert sandbox.clean(["a"]) == "['a']"


ALL = f"Name:\tpython\nCapEff:\t{0x1FFFFFFFFFF:016x}\n"


@pytest.mark.parametrize(
    ("uid", "status", "users", "wanted"),
    [
        (1000, ALL, "", (-1, -1)),
        (0, ALL, "", (65534, 65534)),
        (0, ALL, "root:x:0:0::/:/bin/sh\nnexcage-worker:x:990:991::/:/bin/false\n", (990, 991)),
        (0, ALL, "nexcage-worker:x:0:0::/:/bin/false\n", (65534, 65534)),
        (0, ALL, "nexcage-worker:x:many:0::/:/bin/false\n", (65534, 65534)),
        (0, ALL, "nexcage-worker:x\n", (65534, 65534)),
        (0, ALL, None, (65534, 65534)),
        (0, f"CapEff:\t{0xC0:016x}\n", "", (-1, -1)),  # could not end it
        (0, "Name:\tpython\n", "", (-1, -1)),
        (0, None, "", (-1, -1)),
    ],
)
def test_the_workers_user(uid: int, status: str | None, users: str | None, wanted: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/self/status": status, "/etc/passwd": users}

    def opener(path: str, **_options: t.Any) -> io.StringIO:
        text = files[path]
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(builtins, "open", opener)
    assert sandbox.identity() == wanted


@pytest.mark.parametrize(
    ("change", "tier", "reason"),
    [
        ({}, "standard", ""),
        ({"layers": [name for name in LAYERS if name != "uid"], "missing": {"uid": "not root"}}, "standard", ""),
        ({"layers": ["rlimits", "no_new_privs"], "missing": {"seccomp": "EINVAL"}, "selftest": {}}, "process", ""),
        ({"layers": ["no_new_privs", "seccomp"]}, "process", ""),
        ({"selftest": {**READY["selftest"], "fork": "allowed"}}, "process", "fork answers allowed"),
        ({"selftest": {}}, "process", "open answers None, socket answers None, fork answers None, exec answers None"),
    ],
)
def test_the_tier_is_what_the_facts_amount_to(change: dict[str, t.Any], tier: str, reason: str) -> None:
    judged = sandbox.judge({**READY, **change})
    assert judged.tier == tier
    assert judged.missing.get("selftest", "") == reason
    assert judged.as_dict() == {"tier": tier, "layers": list(judged.layers), "missing": judged.missing}


def test_strong_is_the_filter_and_every_namespace() -> None:
    assert sandbox.judge(STRONG).tier == "strong"
    for name in STRONG["layers"]:
        tier = sandbox.judge({**STRONG, "layers": [layer for layer in STRONG["layers"] if layer != name]}).tier
        assert tier == ("process" if name in sandbox.NEEDED else "standard")
    assert sandbox.judge({**STRONG, "selftest": {**STRONG["selftest"], "exec": "allowed"}}).tier == "process"


def test_a_report_of_another_shape_is_no_proof_and_no_defect() -> None:
    odd = sandbox.judge({**READY, "layers": [["seccomp"], 1, None, "\x1b[2J"], "missing": {"\n": [1]}, "selftest": {"open": "\n"}})
    assert odd == sandbox.Sandbox("process", ("['seccomp']", "1", "None", "\\x1b[2J"), {"\\n": "[1]"})
    assert sandbox.judge({**READY, "selftest": {**READY["selftest"], "open": "\n"}}).missing["selftest"] == "open answers \\n"
