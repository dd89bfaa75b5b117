# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listing containers: filters, one question to each runtime, and nothing that changes."""

from __future__ import annotations

import datetime as dt
import json
import pathlib
import subprocess
import typing as t
from unittest import mock

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import RUNTIMES, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture(autouse=True)
def tidy() -> None:
    """The containers stay for all tests here."""


@pytest.fixture(scope="module", autouse=True)
def several(host: Host) -> None:
    """On each runtime one that runs, one that was only made, one that is stopped, one that is paused."""
    for backend in RUNTIMES:
        for state in ("started", "present", "paused"):
            host.start(f"{backend}-{state}", backend, state=state, labels={"runtime": backend, "state": state}, secret_env={"S": "hush-8d1f"})
        host.start(f"{backend}-stopped", backend, command=["sh", "-c", "exit 9"], wait="exited")


def names(**filters: t.Any) -> list[str]:
    result = modules.works("nexcage_container_info", **filters)
    assert not result["changed"] and "warnings" not in result
    return [entry["name"] for entry in result["containers"]]


def seconds(timestamp: str) -> float:
    return dt.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def test_all_sorted_by_name() -> None:
    assert names() == sorted(f"{backend}-{state}" for backend in RUNTIMES for state in ("paused", "present", "started", "stopped"))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"name": ["crun-started"]}, ["crun-started"]),
        ({"name": ["runc-paused", "nobody", "crun-present"]}, ["crun-present", "runc-paused"]),
        ({"name": ["nobody"]}, []),
        ({"name": []}, []),
        ({"status": ["running"]}, ["crun-started", "runc-started"]),
        ({"status": ["created", "stopped"], "backend": "crun"}, ["crun-present", "crun-stopped"]),
        ({"backend": "runc", "labels": {"state": "paused"}}, ["runc-paused"]),
        ({"label": {"state": "paused", "runtime": "crun"}}, ["crun-paused"]),
        ({"labels": {"state": "Paused"}}, []),
        ({"labels": {"missing": ""}}, []),
        ({"name": ["crun-started"], "status": ["paused"]}, []),
    ],
)
def test_filters(filters: dict[str, t.Any], expected: list[str]) -> None:
    assert names(**filters) == expected
    assert names(check=True, **filters) == expected


def test_the_records(host: Host) -> None:
    result = modules.works("nexcage_container_info")
    assert result["sandbox"]["tier"] == "standard" and "hush-8d1f" not in json.dumps(result)
    found = {entry["name"]: entry for entry in result["containers"]}
    for backend in RUNTIMES:
        running, stopped = found[f"{backend}-started"], found[f"{backend}-stopped"]
        assert running["backend"] == backend and running["status"] == "running" and running["started"] >= running["created"]
        assert pathlib.Path(f"/proc/{running['pid']}").exists() and running["exit_code"] is None and running["finished"] is None
        assert running["labels"] == {"runtime": backend, "state": "started"} and running["image"] == host.image
        assert running["image_digest"].startswith("sha256:") and running["resources"]["pids_limit"] == 2048
        assert (stopped["status"], stopped["exit_code"], stopped["pid"]) == ("stopped", 9, None)
        assert seconds(stopped["finished"]) > seconds(stopped["started"]) - 0.05  # a file's time is that of the kernel's last tick
        assert found[f"{backend}-present"]["started"] is None
    same = modules.works("nexcage_container", name="crun-started", check=True)["container"]
    assert same == found["crun-started"]  # the same record as the module of one container gives


def test_each_runtime_is_asked_once() -> None:
    calls: list[list[str]] = []
    original = runtime.call

    def counted(argv: list[str], timeout: float = 60.0) -> runtime.Answer:
        calls.append(argv)
        return original(argv, timeout)

    with mock.patch.object(runtime, "call", counted), mock.patch.object(subprocess, "run", side_effect=AssertionError("another program")):
        names()
        assert sorted(argv[0].rpartition("/")[2] for argv in calls) == ["crun", "runc"] and all("list" in argv for argv in calls)
        calls.clear()
        names(backend="crun", name=["crun-started", "crun-paused"])
        assert len(calls) == 1
        calls.clear()
        names(name=["nobody"], backend="crun")
        assert len(calls) <= 1


def test_nothing_is_written(host: Host) -> None:
    before = host.situation()
    names()
    assert host.situation() == before


def test_a_host_that_has_never_had_any(tmp_path: pathlib.Path) -> None:
    with modules.nexcage_root(tmp_path):
        result = modules.works("nexcage_container_info")
        assert result["containers"] == [] and result["sandbox"] == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("filters", "option"), [({"name": ["../x"]}, "name"), ({"name": ["-a"]}, "name")])
def test_filters_that_make_no_sense(filters: dict[str, t.Any], option: str) -> None:
    assert modules.fails("nexcage_container_info", **filters)["error"]["option"] == option
