# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task for a container beside hundreds of installed plugins that it does not use: no package is opened, and no process started for them."""

from __future__ import annotations

import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package
from ansible_collections.nexcage.backends.plugins.module_utils.worker import launch
from ansible_collections.nexcage.backends.tests.support import crowd, modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
MANY = 200


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many packages were opened, and processes started."""
    numbers = {"opened": 0, "started": 0}

    def count(what: str, original: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def counting(*arguments: t.Any, **more: t.Any) -> t.Any:
            numbers[what] += 1
            return original(*arguments, **more)

        return counting

    monkeypatch.setattr(package, "from_bytes", count("opened", package.from_bytes))
    monkeypatch.setattr(subprocess.Popen, "__init__", count("started", subprocess.Popen.__init__))
    monkeypatch.setattr(launch.Process, "__init__", count("started", launch.Process.__init__))
    return numbers


def test_nothing_is_done_for_them(host: Host, counted: dict[str, int]) -> None:
    task = {"name": "lonely", "image": host.image, "command": FOREVER, "stop_signal": "KILL"}
    modules.works("nexcage_container", backend="crun", **task)
    seen = []
    for number in (0, MANY):
        crowd.settle(host.layout, number)
        for parameters in ({**task, "backend": "crun"}, task, {**task, "name": "another", "check": True}):
            counted.update(opened=0, started=0)
            modules.works("nexcage_container", **parameters)
            seen.append(dict(counted))
        counted.update(opened=0, started=0)
        assert [found["name"] for found in modules.works("nexcage_container_info")["containers"]] == ["lonely"]
        seen.append(dict(counted))
    assert seen[:4] == seen[4:] and all(one["opened"] == 0 < one["started"] for one in seen), seen
    modules.works("nexcage_plugin_info", health=False)
    assert counted["opened"] == MANY  # the count can see it
    shutil.rmtree(f"{host.layout.state}/plugins")
    shutil.rmtree(f"{host.layout.configuration}/plugins")
