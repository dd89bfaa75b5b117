# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no recording has: several nodes, races, statistics that are late, images, agents, high availability."""

from __future__ import annotations

import concurrent.futures
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.simulator import process

ALPINE = "local:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz"
CLOUD = "local:import/debian-12-genericcloud-amd64.qcow2"


def guest(simulator: process.Simulator, vmid: int) -> dict[str, t.Any]:
    return dict(simulator.do("look")["guests"][str(vmid)])


def test_parallel_creations_take_an_id_once(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.free()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _n: simulator.call("POST", "/nodes/pve1/lxc", {"vmid": vmid, "ostemplate": ALPINE}), range(8)))
    assert sorted(one.status for one in answers) == [200] + [500] * 7
    assert {one.reason for one in answers if one.status == 500} == {f"CT {vmid} already exists on node 'pve1'"}
    assert simulator.call("POST", "/nodes/pve2/qemu", {"vmid": vmid}).reason == f"unable to create VM {vmid} - CT {vmid} already exists on node 'pve1'"


def test_many_at_once_lose_and_double_nothing(simulator: process.Simulator) -> None:
    def create(number: int) -> int:
        while True:
            vmid = simulator.call("GET", "/cluster/nextid").data
            answer = simulator.call("POST", f"/nodes/pve{number % 3 + 1}/lxc", {"vmid": vmid, "ostemplate": ALPINE, "hostname": f"many{number}"})
            if answer.status == 200:
                return int(vmid)
            assert "already exists on node" in answer.reason

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(40)))
    simulator.do("finish")
    found = simulator.do("look")
    assert len(set(made)) == 40
    assert {found["guests"][str(vmid)]["config"]["hostname"] for vmid in made} == {f"many{number}" for number in range(40)}
    assert all(sum(one["vmid"] == vmid for one in found["volumes"]) == 1 for vmid in made)
    for vmid in made:
        simulator.do("forget", vmid=vmid)


def test_machines_cloned_to_one_id_race_inside_their_tasks(simulator: process.Simulator, make: t.Any) -> None:
    source, vmid = make.machine(), make.free()
    upids = [simulator.call("POST", f"/nodes/pve1/qemu/{source}/clone", {"newid": vmid, "full": 1}).data for _turn in range(2)]
    assert sorted(simulator.wait(one) for one in upids) == ["OK", f"unable to create VM {vmid}: config file already exists"]
    assert simulator.call("POST", f"/nodes/pve1/qemu/{source}/clone", {"newid": vmid}).status == 500


def test_statistics_come_late_and_go_back_and_forth(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container(hostname="late")

    def rows() -> list[dict[str, t.Any]]:
        return [next(one for one in simulator.call("GET", "/cluster/resources", {"type": "vm"}).data if one["vmid"] == vmid) for _turn in range(3)]

    assert all(one["status"] == "unknown" and "name" not in one for one in rows())
    simulator.call("PUT", f"/nodes/pve1/lxc/{vmid}/config", {"tags": "seen"})
    assert all(one["tags"] == "seen" for one in rows())
    seen = set()
    for _second in range(25):
        simulator.do("advance", seconds=1)
        seen.add(tuple(one.get("name") for one in rows()))
    assert (("late",) * 3) in seen
    simulator.call("PUT", f"/nodes/pve1/lxc/{vmid}/config", {"hostname": "renamed"})
    assert simulator.call("GET", f"/nodes/pve1/lxc/{vmid}/status/current").data["name"] == "renamed"
    assert {one["name"] for one in rows()} == {"late"}
    for _second in range(25):
        simulator.do("advance", seconds=1)
        seen.add(tuple(one.get("name") for one in rows()))
    assert any("late" in one and "renamed" in one for one in seen), "caches of several workers differ for a while"


def test_migration_carries_local_disks(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    assert simulator.call("GET", f"/nodes/pve1/lxc/{vmid}/migrate").data["allowed-nodes"] == ["pve2", "pve3"]
    upid = simulator.call("POST", f"/nodes/pve1/lxc/{vmid}/migrate", {"target": "pve2"}).data
    assert simulator.wait(upid) == "OK"
    assert guest(simulator, vmid)["node"] == "pve2"
    assert simulator.call("GET", f"/nodes/pve1/lxc/{vmid}/config").status == 500
    assert simulator.call("GET", "/nodes/pve2/storage/local/content", {"vmid": vmid, "content": "rootdir"}).data != []
    simulator.call("POST", f"/nodes/pve2/lxc/{vmid}/status/start")
    simulator.do("finish")
    assert simulator.call("POST", f"/nodes/pve2/lxc/{vmid}/migrate", {"target": "pve1"}).status == 500
    assert simulator.wait(simulator.call("POST", f"/nodes/pve2/lxc/{vmid}/migrate", {"target": "pve1", "restart": 1}).data) == "OK"


def test_clones_go_to_another_node_on_shared_storage_only(simulator: process.Simulator, make: t.Any) -> None:
    local, shared, newid = make.machine(), make.machine(scsi0="shared:1"), make.free()
    refused = simulator.call("POST", f"/nodes/pve1/qemu/{local}/clone", {"newid": newid, "target": "pve2"})
    assert refused.reason == "can't clone VM to node 'pve2' (VM uses local storage)"
    upid = simulator.call("POST", f"/nodes/pve1/qemu/{shared}/clone", {"newid": newid, "target": "pve2"}).data
    assert upid.startswith("UPID:pve1:") and simulator.wait(upid) == "OK"
    assert guest(simulator, newid)["node"] == "pve2"


def test_an_image_from_a_registry_wins_over_what_was_asked_for(simulator: process.Simulator, make: t.Any) -> None:
    pull = "/nodes/pve3/storage/local/oci-registry-pull"
    assert simulator.wait(simulator.call("POST", pull, {"reference": "docker.io/library/nginx:1.27"}).data) == "OK"
    assert simulator.call("POST", pull, {"reference": "docker.io/library/nginx:1.27"}).reason == "refusing to override existing file 'nginx_1.27.tar'"
    assert "exit code 1" in simulator.wait(simulator.call("POST", pull, {"reference": "docker.io/library/none:1"}).data)
    assert simulator.call("GET", "/nodes/pve3/query-oci-repo-tags", {"reference": "docker.io/library/nginx"}).data == ["1.27"]
    vmid = make.container("pve3", ostemplate="local:vztmpl/nginx_1.27.tar", env="A=b", entrypoint="/bin/true", net0="name=eth0,bridge=vmbr0")
    config = simulator.call("GET", f"/nodes/pve3/lxc/{vmid}/config").data
    assert config["env"].split("\0")[1] == "NGINX_VERSION=1.27.0" and config["entrypoint"].startswith("/docker-entrypoint.sh")
    assert (config["cmode"], "host-managed=1" in config["net0"]) == ("console", True)
    assert simulator.call("PUT", f"/nodes/pve3/lxc/{vmid}/config", {"env": "PATH=/bin\0A=b"}).status == 200
    assert simulator.call("GET", f"/nodes/pve3/lxc/{vmid}/config").data["env"] == "PATH=/bin\0A=b"


def test_a_machine_from_a_cloud_image(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.machine(scsi0=f"local:0,import-from={CLOUD}", ide2="local:cloudinit", ciuser="me", cipassword="secret", ipconfig0="ip=dhcp")
    config = simulator.call("GET", f"/nodes/pve1/qemu/{vmid}/config").data
    assert config["scsi0"] == f"local:{vmid}/vm-{vmid}-disk-0.qcow2,size=2G" and config["cipassword"] == "**********"
    assert "user: me" in simulator.call("GET", f"/nodes/pve1/qemu/{vmid}/cloudinit/dump", {"type": "user"}).data
    assert {one["key"] for one in simulator.call("GET", f"/nodes/pve1/qemu/{vmid}/cloudinit").data} >= {"ciuser", "ipconfig0"}
    plain = make.machine()
    assert simulator.call("PUT", f"/nodes/pve1/qemu/{plain}/cloudinit").status == 400


def test_the_agent_runs_what_the_test_says(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.machine(agent="1")
    path = f"/nodes/pve1/qemu/{vmid}/agent"
    assert simulator.call("POST", f"{path}/ping").reason == f"VM {vmid} is not running"
    simulator.call("POST", f"/nodes/pve1/qemu/{vmid}/status/start")
    simulator.do("finish")
    assert simulator.call("POST", f"{path}/ping").reason == "QEMU guest agent is not running"
    simulator.do(
        "guest", vmid=vmid, set={"agent": {"commands": {"cat -": {"echo": True}, "false": {"exitcode": 1, "err-data": "no"}}, "interfaces": [{"name": "eth0"}]}}
    )
    assert simulator.call("POST", f"{path}/ping").status == 200
    assert simulator.call("GET", f"{path}/network-get-interfaces").data == {"result": [{"name": "eth0"}]}
    pid = simulator.call("POST", f"{path}/exec", [("command", "cat"), ("command", "-"), ("input-data", "in")]).data["pid"]
    assert simulator.call("GET", f"{path}/exec-status", {"pid": pid}).data == {"exited": 0}
    simulator.do("advance", seconds=1)
    assert simulator.call("GET", f"{path}/exec-status", {"pid": pid}).data == {"exited": 1, "exitcode": 0, "out-data": "in"}
    pid = simulator.call("POST", f"{path}/exec", {"command": "nothing"}).data["pid"]
    simulator.do("advance", seconds=1)
    assert simulator.call("GET", f"{path}/exec-status", {"pid": pid}).data["exitcode"] == 127
    assert simulator.call("POST", f"{path}/file-write", {"file": "/a", "content": "x"}).status == 200
    assert simulator.call("GET", f"{path}/file-read", {"file": "/a"}).data["content"] == "x"
    assert simulator.call("GET", f"{path}/file-read", {"file": "/b"}).status == 500


def test_what_high_availability_manages_follows_later(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    assert simulator.call("POST", "/cluster/ha/resources", {"sid": f"ct:{vmid}", "state": "stopped"}).status == 200
    upid = simulator.call("POST", f"/nodes/pve1/lxc/{vmid}/status/start").data
    assert ":hastart:" in upid and simulator.wait(upid) == "OK"
    assert not guest(simulator, vmid)["running"]
    simulator.do("advance", seconds=20)
    assert guest(simulator, vmid)["running"]
    assert ":hastop:" in simulator.call("POST", f"/nodes/pve1/lxc/{vmid}/status/stop").data
    simulator.do("advance", seconds=20)
    assert not guest(simulator, vmid)["running"]
    assert simulator.call("DELETE", f"/nodes/pve1/lxc/{vmid}").status == 500
    assert simulator.wait(simulator.call("DELETE", f"/nodes/pve1/lxc/{vmid}", {"purge": 1}).data) == "OK"


def test_a_change_waits_for_a_file_that_is_locked(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    simulator.call("POST", f"/nodes/pve1/lxc/{vmid}/status/start")
    simulator.do("finish")
    simulator.do("guest", vmid=vmid, set={"deaf": True})
    path = f"/nodes/pve1/lxc/{vmid}"
    slow = simulator.call("POST", f"{path}/status/shutdown", {"timeout": 60}).data
    simulator.do("advance", seconds=1)
    refused = simulator.call("PUT", f"{path}/config", {"memory": 64})
    assert refused.reason == f"can't lock file '/run/lock/lxc/pve-config-{vmid}.lock' - got timeout"
    assert simulator.wait(slow) == "container did not stop"
    quick = simulator.call("POST", f"{path}/status/shutdown", {"timeout": 2}).data
    simulator.do("advance", seconds=1)
    assert simulator.call("PUT", f"{path}/config", {"memory": 64}).status == 200, "it ends within the ten seconds that a change waits"
    assert simulator.wait(quick) == "container did not stop"


def test_what_waits_for_a_guest_that_goes_is_told_so(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    path = f"/nodes/pve1/lxc/{vmid}"
    deletes = [simulator.call("DELETE", path).data for _turn in range(2)]
    simulator.do("advance", seconds=0.1)
    start = simulator.call("POST", f"{path}/status/start").data
    answer = simulator.call("PUT", f"{path}/config", {"memory": 64})
    gone = f"Configuration file 'nodes/pve1/lxc/{vmid}.conf' does not exist"
    assert (answer.status, answer.reason) == (500, gone)
    assert [simulator.wait(one) for one in [*deletes, start]] == ["OK", gone, gone]


def test_backup_and_restore(simulator: process.Simulator, make: t.Any) -> None:
    vmid, copy = make.container(hostname="kept", mp0="local:2,mp=/data", rootfs="local:1"), make.free()
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/vzdump", {"vmid": vmid, "storage": "backups"}).data) == "OK"
    volid = simulator.call("GET", "/nodes/pve1/storage/backups/content", {"content": "backup"}).data[-1]["volid"]
    given = {"vmid": copy, "ostemplate": volid, "restore": 1, "storage": "local", "unprivileged": 1}
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/lxc", given).data) == "OK"
    config = simulator.call("GET", f"/nodes/pve1/lxc/{copy}/config").data
    assert (config["hostname"], config["mp0"]) == ("kept", f"local:{copy}/vm-{copy}-disk-1.raw,mp=/data,size=2G")
    machine, other = make.machine(), make.free()
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/vzdump", {"vmid": machine, "storage": "backups"}).data) == "OK"
    volid = next(one["volid"] for one in simulator.call("GET", "/nodes/pve1/storage/backups/content").data if "-qemu-" in one["volid"])
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/qemu", {"vmid": other, "archive": volid}).data) == "OK"
    assert simulator.call("GET", f"/nodes/pve1/qemu/{other}/config").data["name"] == f"vm{machine}"


def test_disks_change_hands(simulator: process.Simulator, make: t.Any) -> None:
    one, two = make.container(rootfs="local:1", mp0="local:1,mp=/a"), make.container()
    upid = simulator.call("POST", f"/nodes/pve1/lxc/{one}/move_volume", {"volume": "mp0", "target-vmid": two, "target-volume": "mp3"}).data
    assert simulator.wait(upid) == "OK"
    assert simulator.call("GET", f"/nodes/pve1/lxc/{two}/config").data["mp3"].startswith(f"local:{two}/vm-{two}-disk-1.raw,mp=/a")
    assert "mp0" not in simulator.call("GET", f"/nodes/pve1/lxc/{one}/config").data


def test_snapshots_of_a_machine_with_its_memory(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.machine(scsi0="local:1,format=qcow2")
    path = f"/nodes/pve1/qemu/{vmid}"
    simulator.call("POST", f"{path}/status/start")
    simulator.do("finish")
    assert simulator.wait(simulator.call("POST", f"{path}/snapshot", {"snapname": "ab", "vmstate": 1}).data) == "OK"
    assert simulator.wait(simulator.call("POST", f"{path}/snapshot/ab/rollback").data) == "OK"
    simulator.do("finish")
    assert guest(simulator, vmid)["running"]
    assert simulator.wait(simulator.call("POST", f"{path}/status/suspend", {"todisk": 1}).data) == "OK"
    assert simulator.call("GET", f"{path}/config").data["lock"] == "suspended"
    assert simulator.wait(simulator.call("POST", f"{path}/status/resume").data) == "OK"
    assert guest(simulator, vmid)["running"]


def test_appliances_and_downloads(simulator: process.Simulator) -> None:
    name = "alpine-3.21-default_20241217_amd64.tar.xz"
    assert [one["template"] for one in simulator.call("GET", "/nodes/pve1/aplinfo").data] == [name]
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/aplinfo", {"storage": "local", "template": name}).data) == "OK"
    url = {"url": "https://images.example/alpine.tar.xz", "content": "vztmpl", "filename": "a.tar.xz"}
    right = {"checksum": "ab" * 32, "checksum-algorithm": "sha256"}
    assert simulator.wait(simulator.call("POST", "/nodes/pve1/storage/local/download-url", {**url, **right}).data) == "OK"
    assert simulator.call("GET", "/nodes/pve1/query-url-metadata", {"url": url["url"]}).data["size"] == 1 << 20
    with process.running("8.4") as old:
        assert old.call("POST", "/nodes/pve1/storage/local/oci-registry-pull", {"reference": "a:1"}).status == 501
        assert old.call("POST", "/nodes/pve1/storage/local/download-url", {**url, "filename": "a.tar"}).body["errors"] == {"filename": "wrong file extension"}


def test_lists_learn_late_of_the_start_that_a_creation_made(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container(start=1)
    simulator.do("finish")

    def types(source: str) -> list[tuple[str, str]]:
        rows = simulator.call("GET", "/nodes/pve1/tasks", {"vmid": vmid, "source": source}).data
        return [(one["type"], one["status"]) for one in rows][:2]  # earlier guests may have had the id

    assert guest(simulator, vmid)["running"]
    assert types("archive")[0] == ("vzcreate", "OK")
    assert types("all") == [("vzstart", "RUNNING"), ("vzcreate", "OK")]
    simulator.do("advance", seconds=10)
    assert types("archive") == [("vzstart", "OK"), ("vzcreate", "OK")]


@pytest.mark.parametrize("speed", [50.0])
def test_time_that_runs_by_itself(speed: float) -> None:
    with process.running("9.2", speed=speed) as simulator:
        upid = simulator.call("POST", "/nodes/pve1/lxc", {"vmid": 100, "ostemplate": ALPINE}).data
        assert simulator.call("GET", f"/nodes/pve1/tasks/{upid}/status").data["status"] == "running"
        assert simulator.wait(upid) == "OK"
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            simulator.do("guest", vmid=100, set={"running": True, "deaf": True})
            simulator.call("POST", "/nodes/pve1/lxc/100/status/shutdown", {"timeout": 600})
            waiting = pool.submit(simulator.call, "PUT", "/nodes/pve1/lxc/100/config", {"memory": 64})
            assert simulator.call("GET", "/version").status == 200, "others are served while one waits"
            assert waiting.result().status == 500
