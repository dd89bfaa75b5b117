# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulator of each version for all tests of a file: they use ids of their own and heal what they break."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.simulator import process


@pytest.fixture(scope="module")
def started() -> t.Iterator[process.Simulator]:
    with process.running("9.2") as simulator:
        yield simulator


@pytest.fixture
def simulator(started: process.Simulator) -> t.Iterator[process.Simulator]:
    """A simulator of 9.2 over plain HTTP, whose clock moves when something waits."""
    yield started
    started.do("heal")
    started.do("front", set={"reasons": True, "message": True, "cookie": ""})
    started.do("finish")


class Maker:
    """Makes guests with ids that no other test has."""

    def __init__(self, simulator: process.Simulator) -> None:
        self.simulator = simulator
        self.ids: list[int] = []

    def free(self) -> int:
        vmid = int(self.simulator.call("GET", "/cluster/nextid").data)
        self.ids.append(vmid)
        return vmid

    def container(self, node: str = "pve1", **params: t.Any) -> int:
        vmid = self.free()
        given = {"vmid": vmid, "ostemplate": "local:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz", "unprivileged": 1, **params}
        answer = self.simulator.call("POST", f"/nodes/{node}/lxc", given)
        assert answer.status == 200, answer
        assert self.simulator.wait(answer.data) == "OK"
        return vmid

    def machine(self, node: str = "pve1", **params: t.Any) -> int:
        vmid = self.free()
        answer = self.simulator.call("POST", f"/nodes/{node}/qemu", {"vmid": vmid, "name": f"vm{vmid}", "scsi0": "local:1", **params})
        assert answer.status == 200, answer
        assert self.simulator.wait(answer.data) == "OK"
        return vmid


@pytest.fixture
def make(simulator: process.Simulator) -> t.Iterator[Maker]:
    maker = Maker(simulator)
    yield maker
    for vmid in maker.ids:
        simulator.do("forget", vmid=vmid)
