# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers for hostile plugins: locked ones, and for the control run ones with the lock-down off."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle, launch, strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import NAMESPACES, PRELOADABLE, Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

PLUGIN = pathlib.Path(__file__).parent.joinpath("hostile_plugin.py").read_text(encoding="utf-8").replace("nexcage-machine", os.uname().machine)
TOKEN = "token-of-the-proxmox-api"
LIMITS = Limits(memory=128 << 20, cpu=1, descriptors=200, timeout=10.0)

FILTER_OFF = """

def filter_calls(system):
    return "control run"
"""
# What the control run puts in the place of each step. No filter, no limits, no other user, nothing closed.
LOCKDOWN_OFF = """

def take_pipes(system):
    return system.os.dup(0), system.os.dup(1)

def limit(system, limits):
    return "control run"

def drop_identity(system, uid, gid):
    return "control run"

def follow_parent(system, parent):
    return "control run"

def renounce(system):
    return "control run"

def filter_calls(system):
    return "control run"
"""


TIERS = [pytest.param("strong", marks=pytest.mark.requires("root", "bwrap")), "standard"]


def start_locked(tier: str) -> Worker:
    if tier == "strong":
        worker = strong.start(LIMITS, tier, PRELOADABLE)
    else:
        worker = Worker(LIMITS, required=tier)
        worker.start(preload=PRELOADABLE)
    assert worker.sandbox.tier == tier
    worker.load("hostile", {"plugin.py": PLUGIN})
    return worker


def start_unfiltered(patch: pytest.MonkeyPatch, confined: bool) -> Worker:
    """A worker in which the filter is not loaded, and all other steps are taken; in namespaces or not."""
    original = bundle.source
    patch.setattr(bundle, "source", lambda name: original(name) + (FILTER_OFF if name == "worker.lockdown" else ""))
    worker = Worker(LIMITS, required="process", process=strong.Confined() if confined else None)
    sandbox = worker.start(preload=PRELOADABLE)
    assert sandbox.tier == "process"
    assert set(NAMESPACES) <= set(sandbox.layers) if confined else not set(NAMESPACES) & set(sandbox.layers)
    worker.load("hostile", {"plugin.py": PLUGIN})
    return worker


def switch_off(patch: pytest.MonkeyPatch) -> None:
    """Let every later worker be one without a lock-down, that inherits environment and descriptors."""
    original, popen = bundle.source, subprocess.Popen

    def source(name: str) -> str:
        return original(name) + (LOCKDOWN_OFF if name == "worker.lockdown" else "")

    def leaky(arguments: list[str], **options: t.Any) -> subprocess.Popen[bytes]:
        return popen(arguments, **{**options, "env": dict(os.environ), "close_fds": False})

    patch.setattr(bundle, "source", source)
    patch.setattr(launch.subprocess, "Popen", leaky)


def start_control(patch: pytest.MonkeyPatch) -> Worker:
    switch_off(patch)
    worker = Worker(LIMITS, required="process")
    worker.start(preload=PRELOADABLE)
    assert (worker.sandbox.tier, worker.sandbox.layers) == ("process", ())
    worker.load("hostile", {"plugin.py": PLUGIN})
    return worker


@pytest.fixture(params=TIERS)
def locked(request: pytest.FixtureRequest) -> t.Iterator[Worker]:
    """One of each tier that can be had here."""
    worker = start_locked(request.param)
    yield worker
    worker.close()


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Worker]:
    worker = start_control(monkeypatch)
    yield worker
    worker.close()


@pytest.fixture(params=[*TIERS, "control"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Worker]:
    """The same, and one with the lock-down off."""
    worker = start_control(monkeypatch) if request.param == "control" else start_locked(request.param)
    yield worker
    worker.close()


@pytest.fixture
def params(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, t.Any]]:
    """What the probes look for. Made before the worker starts, so that it could be inherited."""
    secret, readable = tmp_path / "secret", tmp_path / "readable"
    secret.write_text("secret", encoding="utf-8")
    readable.write_text("readable", encoding="utf-8")
    secret.chmod(0o600)
    readable.chmod(0o644)
    monkeypatch.setenv("NEXCAGE_PROBE_TOKEN", TOKEN)
    leaked = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leaked, True)
    yield {
        "secret": str(secret),
        "readable": str(readable),
        "parent": os.getpid(),
        "token": TOKEN,
        "leaked": leaked,
        "seconds": 1.2,
        "path": sys.path,
    }
    os.close(leaked)
