# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test can let go wrong, and that the same without the fault goes right."""

from __future__ import annotations

import http.client
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.simulator import process

ALPINE = "local:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz"


def volumes(simulator: process.Simulator, vmid: int) -> list[str]:
    return [one["volid"] for one in simulator.do("look")["volumes"] if one["vmid"] == vmid]


def test_offline_node(simulator: process.Simulator) -> None:
    assert simulator.call("GET", "/nodes/pve2/lxc").status == 200
    simulator.do("node", name="pve2", set={"state": "offline"})
    answer = simulator.call("GET", "/nodes/pve2/lxc")
    assert (answer.status, answer.reason) == (595, "No route to host")
    assert {one["node"]: one["status"] for one in simulator.call("GET", "/nodes").data}["pve2"] == "offline"
    assert [one["online"] for one in simulator.call("GET", "/cluster/status").data if one["type"] == "node"] == [1, 0, 1]
    rows = {one["id"]: one for one in simulator.call("GET", "/cluster/resources").data}
    assert rows["storage/pve2/local"]["status"] == "unknown" and rows["storage/pve1/local"]["status"] == "available"
    assert "maxmem" not in rows["node/pve2"] and "maxmem" in rows["node/pve1"]
    assert simulator.call("GET", "/nodes/pve1/lxc").status == 200


def test_slow_node_does_its_work_and_does_not_answer(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.free()
    before = simulator.do("look")["now"]
    simulator.do("node", name="pve1", set={"state": "slow"})
    answer = simulator.call("POST", "/nodes/pve1/lxc", {"vmid": vmid, "ostemplate": ALPINE})
    assert answer.status == 596
    assert simulator.do("look")["now"] - before >= 30
    simulator.do("heal")
    assert simulator.call("GET", f"/nodes/pve1/lxc/{vmid}/config").data["hostname"] == f"CT{vmid}"


@pytest.mark.parametrize(("kind", "there"), [("drop", False), ("drop-after", True)])
def test_dropped_reply_before_and_after_the_work(simulator: process.Simulator, make: t.Any, kind: str, there: bool) -> None:
    vmid = make.free()
    simulator.do("fault", method="POST", path="/lxc$", kind=kind)
    with pytest.raises((http.client.HTTPException, OSError)):
        simulator.call("POST", "/nodes/pve1/lxc", {"vmid": vmid, "ostemplate": ALPINE})
    simulator.do("finish")
    assert (simulator.call("GET", "/cluster/nextid", {"vmid": vmid}).status == 400) is there
    if not there:
        assert simulator.call("POST", "/nodes/pve1/lxc", {"vmid": vmid, "ostemplate": ALPINE}).status == 200


def test_a_status_for_some_requests(simulator: process.Simulator) -> None:
    simulator.do("fault", method="GET", path="/version", kind="status", status=599, message="Too many redirections", count=2)
    assert [simulator.call("GET", "/version").status for _turn in range(3)] == [599, 599, 200]


def test_full_storage_leaves_nothing_behind(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.free()
    simulator.do("storage", name="local-btrfs", set={"used": 1 << 60})
    given = {"vmid": vmid, "ostemplate": ALPINE, "rootfs": "local:1", "mp0": "local-btrfs:1,mp=/data"}
    try:
        upid = simulator.call("POST", "/nodes/pve1/lxc", given).data
        assert "No space left on device" in simulator.wait(upid)
        assert volumes(simulator, vmid) == []
        assert simulator.call("GET", "/cluster/nextid", {"vmid": vmid}).status == 200
    finally:
        simulator.do("storage", name="local-btrfs", set={"used": 1 << 30})
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/lxc", given).data) == "OK"
    assert len(volumes(simulator, vmid)) == 2


def test_without_quorum_nothing_is_written(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    simulator.do("quorum", quorate=False)
    answer = simulator.call("PUT", f"/nodes/pve1/lxc/{vmid}/config", {"memory": 64})
    assert (answer.status, answer.reason) == (500, "cluster not ready - no quorum?")
    assert simulator.call("GET", "/cluster/status").data[0]["quorate"] == 0
    simulator.do("heal")
    assert simulator.call("PUT", f"/nodes/pve1/lxc/{vmid}/config", {"memory": 64}).status == 200


def test_a_task_that_dies_leaves_its_lock(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.free()
    simulator.do("die")
    upid = simulator.call("POST", "/nodes/pve1/lxc", {"vmid": vmid, "ostemplate": ALPINE}).data
    assert simulator.wait(upid) == "unexpected status"
    assert simulator.call("GET", f"/nodes/pve1/lxc/{vmid}/config").data["lock"] == "create"
    assert simulator.call("DELETE", f"/nodes/pve1/lxc/{vmid}").reason == "CT is locked (create)"


def test_a_lock_that_stays_until_somebody_takes_it_away(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.machine()
    simulator.do("guest", vmid=vmid, config={"lock": "backup"})
    assert simulator.call("PUT", f"/nodes/pve1/qemu/{vmid}/config", {"cores": 2}).reason == "VM is locked (backup)"
    simulator.do("advance", seconds=10_000)
    assert simulator.call("PUT", f"/nodes/pve1/qemu/{vmid}/config", {"cores": 2}).reason == "VM is locked (backup)"
    simulator.do("guest", vmid=vmid, config={"lock": None})
    assert simulator.call("PUT", f"/nodes/pve1/qemu/{vmid}/config", {"cores": 2}).status == 200


def test_delay_is_real_time(simulator: process.Simulator) -> None:
    simulator.do("fault", path="/version", kind="delay", seconds=0.2)
    connection = simulator.connect(timeout=0.05)
    connection.request("GET", "/api2/json/version", headers={"Authorization": "PVEAPIToken=" + simulator.token})
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    assert simulator.call("GET", "/version").status == 200
