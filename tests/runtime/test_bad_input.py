# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input names option, value and remedy, in check mode too, and nothing has changed after it."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import images, modules
from ansible_collections.nexcage.backends.tests.support.host import Host, bundle_config, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "docker-registry")

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture(autouse=True, scope="module")
def warm(host: Host) -> None:
    """The folders that a first run makes, and the image, are there."""
    host.start("warm", "crun", state="present")
    host.converge("warm", state="absent")


@contextlib.contextmanager
def unchanged(host: Host) -> t.Iterator[None]:
    """Files, mounts, processes; the audit log may say that something was tried."""
    before = host.situation()
    yield
    after = host.situation()
    for key in {*before, *after}:
        if key != host.layout.audit:
            assert before.get(key) == after.get(key), key


def refused(host: Host, option: str | None, value: object, code: str = "E_INVALID", **parameters: t.Any) -> str:
    """The same error in check mode and in a real run; its message."""
    given = {"name": "bad", "backend": "crun", "image": host.image, **parameters}
    given = {key: entry for key, entry in given.items() if entry is not None}
    told = []
    for check in (True, False):
        with unchanged(host):
            told.append(modules.fails("nexcage_container", check=check, **given))
    for result in told:
        error = result["error"]
        assert (error["code"], error["option"]) == (code, option), result
        assert value is None or error["value"] == value, error
        for text in (option, value, error["remedy"]):
            assert text is None or str(text) in result["msg"] or repr(text) in result["msg"], (text, result["msg"])
    assert told[0]["msg"] == told[1]["msg"] and told[0]["error"] == told[1]["error"]
    return str(told[0]["msg"])


VALUES: list[tuple[str, dict[str, t.Any], str, object]] = [
    ("traversal", {"name": "../etc"}, "name", "../etc"),
    ("a hidden traversal", {"name": "a/../../etc"}, "name", "a/../../etc"),
    ("NUL in the name", {"name": "a\0b"}, "name", "a\0b"),
    ("an option as name", {"name": "--root"}, "name", "--root"),
    ("no name", {"name": ""}, "name", ""),
    ("a long name", {"name": "n" * 129}, "name", "n" * 129),
    ("a line break in the name", {"name": "web\n"}, "name", "web\n"),
    ("potatoes", {"memory": "12potatoes"}, "memory", "12potatoes"),
    ("negative memory", {"memory": "-5m"}, "memory", "-5m"),
    ("little memory", {"memory": "1k"}, "memory", "1k"),
    ("swap below memory", {"memory": "64m", "memory_swap": "32m"}, "memory_swap", "32 MiB"),
    ("swap alone", {"memory_swap": "32m"}, "memory_swap", "32 MiB"),
    ("no CPU", {"cpus": "0"}, "cpus", "0"),
    ("words for CPUs", {"cpus": "many"}, "cpus", "many"),
    ("CPUs that do not exist", {"cpuset_cpus": "0,900"}, "cpuset_cpus", "0,900"),
    ("a memory node that does not exist", {"cpuset_mems": "63"}, "cpuset_mems", "63"),
    ("a backward range", {"cpuset_cpus": "1-0"}, "cpuset_cpus", "1-0"),
    ("few shares", {"cpu_shares": 1}, "cpu_shares", 1),
    ("negative pids", {"pids_limit": -2}, "pids_limit", -2),
    ("an unknown limit", {"ulimits": ["speed=1"]}, "ulimits", "speed=1"),
    ("soft above hard", {"ulimits": ["nofile=2:1"]}, "ulimits", "nofile=2:1"),
    ("more descriptors than the kernel has", {"ulimits": ["nofile=99999999999"]}, "ulimits", "nofile=99999999999:99999999999"),
    ("a boolean in env", {"env": {"DEBUG": True}}, "env.DEBUG", True),
    ("a fraction in env", {"env": {"RATIO": 1.5}}, "env.RATIO", 1.5),
    ("an empty variable", {"env": {"NAME": None}}, "env.NAME", None),
    ("a variable without name", {"env": {"": "x"}}, "env", ""),
    ("a name with =", {"env": {"A=B": "x"}}, "env", "A=B"),
    ("NUL in env", {"env": {"A": "x\0y"}}, "env.A", "x\0y"),
    ("bytes that are no text", {"env": {"A": "\udcff"}}, "env.A", None),
    ("a boolean label", {"labels": {"front": True}}, "labels.front", True),
    ("open and secret", {"env": {"A": "1"}, "secret_env": {"A": "2"}}, "secret_env", "A"),
    ("a missing env file", {"env_file": ["/does/not/exist"]}, "env_file", "/does/not/exist"),
    ("a folder as env file", {"env_file": ["/etc"]}, "env_file", "/etc"),
    ("a mount of nothing", {"mounts": [{"source": "/does/not/exist", "target": "/a"}]}, "mounts", "/does/not/exist"),
    ("a volume of nothing", {"volumes": ["/does/not/exist:/a"]}, "volumes", "/does/not/exist"),
    ("a named volume", {"volumes": ["data:/a"]}, "volumes", "data:/a"),
    ("a mount over everything", {"volumes": ["/etc:/"]}, "volumes.target", "/"),
    ("a mount out of it", {"mounts": [{"source": "/etc", "target": "/a/../.."}]}, "mounts.target", "/a/../.."),
    ("two mounts on one target", {"volumes": ["/etc:/a"], "tmpfs": ["/a"]}, "tmpfs", "/a"),
    ("an unknown mount option", {"volumes": ["/etc:/a:rx"]}, "volumes.options", "rx"),
    ("a tmpfs with a source", {"mounts": [{"type": "tmpfs", "source": "/etc", "target": "/a"}]}, "mounts.source", "/etc"),
    ("an open quotation", {"command": "sh -c 'x"}, "command", "sh -c 'x"),
    ("a number among the words", {"command": ["sleep", 1.5]}, "command", 1.5),
    ("a relative folder", {"working_dir": "data"}, "working_dir", "data"),
    ("an unknown user", {"user": "alice"}, "user", "alice"),
    ("an unknown group", {"groups": ["staff"]}, "groups", "staff"),
    ("a host name with a blank", {"hostname": "my host"}, "hostname", "my host"),
    ("an unknown capability", {"cap_add": ["FLY"]}, "cap_add", "FLY"),
    ("an unknown signal", {"stop_signal": "SIGNIFICANT"}, "stop_signal", "SIGNIFICANT"),
    ("an unknown kill signal", {"kill_signal": "0"}, "kill_signal", "0"),
    ("a long stop time-out", {"stop_timeout": 999999}, "stop_timeout", 999999),
    ("no time", {"timeout": 0}, "timeout", 0),
    ("a missing seccomp profile", {"seccomp_profile": "/does/not/exist"}, "seccomp_profile", "/does/not/exist"),
    ("a reserved annotation", {"annotations": {"run.oci.hooks": "x"}}, "annotations", "run.oci.hooks"),
    ("an unknown wait condition", {"wait": "ready"}, "wait", "ready"),
    ("a port that is none", {"wait": "port:99999"}, "wait", "port:99999"),
    ("a port without network", {"wait": "port:80"}, "wait", "port:80"),
    ("waiting for a stopped one to run", {"wait": "running", "state": "stopped"}, "wait", "running"),
    ("waiting for an absent one", {"wait": "exited", "state": "absent"}, "wait", "exited"),
    ("image and bundle", {"bundle": "/srv/bundle"}, "bundle", "/srv/bundle"),
    ("neither image nor bundle", {"image": None}, "image", None),
    ("a missing bundle", {"image": None, "bundle": "/does/not/exist"}, "bundle", "/does/not/exist"),
    ("a program that is not in the image", {"command": ["/no/such/program"]}, "command", "/no/such/program"),
]


@pytest.mark.parametrize(("parameters", "option", "value"), [entry[1:] for entry in VALUES], ids=[entry[0] for entry in VALUES])
def test_a_value_that_is_wrong(host: Host, parameters: dict[str, t.Any], option: str, value: object) -> None:
    refused(host, option, value, **parameters)
