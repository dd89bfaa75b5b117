# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime's config.json."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import bundle, privileges, seccomp_profile
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

PLAN = bundle.Plan("web", "0123456789abcdef", "/state/web/0123456789abcdef", "/nexcage/0123456789abcdef", "seal")


@pytest.fixture(autouse=True)
def own_profile(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seccomp.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}))
    monkeypatch.setattr(seccomp_profile, "DEFAULT_PATHS", (str(path),))


@pytest.fixture
def image(tmp_path: pathlib.Path) -> dict[str, t.Any]:
    (tmp_path / "rootfs").mkdir()
    return {
        "digest": "sha256:1",
        "path": str(tmp_path / "rootfs"),
        "config": {"config": {"Entrypoint": ["/entry"], "Cmd": ["serve"], "Env": ["A=1", "B=2"], "WorkingDir": "/srv", "User": "5"}},
    }


def render(image: dict[str, t.Any] | None, secrets: dict[str, str] | None = None, **values: t.Any) -> dict[str, t.Any]:
    spec = ContainerSpec(values)
    return bundle.render(PLAN, spec, secrets or {}, bundle.source(spec, image))


def test_what_the_image_says_and_the_task_does_not(image: dict[str, t.Any]) -> None:
    config = render(image)
    process = config["process"]
    assert (process["args"], process["cwd"], process["user"]["uid"], process["terminal"]) == (["/entry", "serve"], "/srv", 5, False)
    assert {"A=1", "B=2", bundle.PATH} <= set(process["env"]) and config["root"] == {"path": PLAN.folder + "/rootfs", "readonly": False}
    assert config["hostname"] == "web" and config["linux"]["cgroupsPath"] == PLAN.cgroup and config["linux"]["resources"]["pids"] == {"limit": 2048}
    assert {entry["type"] for entry in config["linux"]["namespaces"]} == {"pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert config["linux"]["maskedPaths"] and config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert config["annotations"] == {"org.nexcage.owner": "web", "org.nexcage.schema": "1", "org.nexcage.spec": "seal"}
    assert process["capabilities"]["effective"] == [] and "CAP_CHOWN" in process["capabilities"]["bounding"]  # user 5 is not root


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"command": ["x"]}, ["/entry", "x"]),
        ({"entrypoint": ["/other"]}, ["/other"]),  # a new entry point drops the image's command
        ({"entrypoint": [], "command": ["x", "y"]}, ["x", "y"]),
        ({"entrypoint": ["/other"], "command": ["x"]}, ["/other", "x"]),
    ],
)
def test_entry_point_and_command(image: dict[str, t.Any], values: dict[str, t.Any], line: list[str]) -> None:
    assert render(image, **values)["process"]["args"] == line


def test_the_task_wins(image: dict[str, t.Any]) -> None:
    config = render(
        image,
        {"S": "s"},
        env={"A": "x"},
        working_dir="/w",
        user="0",
        hostname="h",
        network_mode="host",
        read_only=True,
        seccomp_profile="unconfined",
        privileged=True,
        annotations={"k": "v"},
        cpus=5,
    )
    assert {"A=x", "B=2", "S=s"} <= set(config["process"]["env"]) and config["process"]["cwd"] == "/w" and config["hostname"] == "h"
    assert "network" not in {entry["type"] for entry in config["linux"]["namespaces"]} and config["root"]["readonly"] is True
    assert "seccomp" not in config["linux"] and "maskedPaths" not in config["linux"] and config["annotations"]["k"] == "v"
    assert config["process"]["capabilities"]["bounding"] == sorted("CAP_" + name for name in privileges.bounding())
    assert config["linux"]["devices"] and config["linux"]["resources"]["cpu"] == {"quota": 5, "period": 100000}


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"entrypoint": [], "command": []}, "command"),
        ({"annotations": {"org.nexcage.owner": "me"}}, "annotations"),
        ({"annotations": {"org.systemd.property.Slice": "x"}}, "annotations"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "x\0y"}}, "env"),
    ],
)
def test_refusals(image: dict[str, t.Any], values: dict[str, t.Any], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        render(image, **values)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", option)


@pytest.mark.parametrize(("name", "expected"), [("web", "web"), ("web_1", PLAN.id), ("w" * 64, PLAN.id)])
def test_the_host_name_is_the_name_where_it_can_be_one(name: str, expected: str) -> None:
    assert bundle.hostname(ContainerSpec({}), PLAN._replace(name=name)) == expected
    assert bundle.hostname(ContainerSpec({"network_mode": "host"}), PLAN) == os.uname().nodename


def test_own_files() -> None:
    files = bundle.own_files(ContainerSpec({}), PLAN)
    assert files["hostname"] == "web\n" and "127.0.1.1\tweb\n" in files["hosts"] and files["resolv.conf"] == ""
    assert "localhost" in bundle.own_files(ContainerSpec({"network_mode": "host"}), PLAN)["hosts"]


def test_neither_image_nor_bundle() -> None:
    with pytest.raises(NexcageError) as caught:
        bundle.source(ContainerSpec({}), None)
    assert caught.value.option == "image"
    assert bundle.source(ContainerSpec({}), {"digest": "d", "path": "/p", "config": {"Cmd": ["x"]}}).image == {"Cmd": ["x"]}


@pytest.fixture
def own(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "bundle"
    (folder / "rootfs").mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(
            {"process": {"args": ["a"], "env": ["X=1"], "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": None}}, "linux": {}, "hostname": "theirs"}
        )
    )
    for path in (folder, folder / "config.json"):
        path.chmod(path.stat().st_mode & ~0o022)
    return folder


def test_a_bundle_keeps_what_the_task_does_not_say(own: pathlib.Path) -> None:
    config = render(None, bundle=str(own))
    assert config["process"]["args"] == ["a"] and config["hostname"] == "theirs" and "seccomp" not in config["linux"]
    assert "pids" not in config["linux"]["resources"] and config["process"]["capabilities"]["bounding"] == ["CAP_CHOWN"]
    config = render(
        None, bundle=str(own), command=["b"], hostname="h", user="7", ulimits={}, cap_drop=["ALL"], seccomp_profile="default", env={"Y": "2"}, pids_limit=-1
    )
    assert (
        config["process"]["args"] == ["b"]
        and config["hostname"] == "h"
        and config["process"]["user"]["uid"] == 7
        and config["process"]["capabilities"]["bounding"] == []
    )
    assert config["process"]["rlimits"] and "seccomp" in config["linux"] and {"X=1", "Y=2"} <= set(config["process"]["env"])


@pytest.mark.requires("root")
def test_a_bundle_that_others_could_exchange(own: pathlib.Path) -> None:
    render(None, bundle=str(own))
    os.chown(own.parent, 4711, 0)
    with pytest.raises(NexcageError) as caught:
        render(None, bundle=str(own))
    assert (caught.value.code, caught.value.option) == ("E_INVALID", "bundle") and str(own.parent) in str(caught.value.remedy)
    os.chown(own.parent, 0, 0)
    render(None, bundle=str(own))


def test_a_bundle_cannot_ask_for_what_the_caller_lacks(own: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "bounding", lambda: ["KILL"])
    with pytest.raises(NexcageError) as caught:
        render(None, bundle=str(own))
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_PRIVILEGE", "bundle", "CHOWN")


@pytest.mark.parametrize("damage", ["missing", "no json", "no process", "no rootfs", "link", "writable"])
def test_a_bundle_that_is_none(own: pathlib.Path, damage: str) -> None:
    config = own / "config.json"
    if damage == "missing":
        config.unlink()
    elif damage == "no json":
        config.write_text("{")
    elif damage == "no process":
        config.write_text("{}")
    elif damage == "no rootfs":
        (own / "rootfs").rmdir()
    elif damage == "link":
        config.rename(own / "real")
        config.symlink_to("real")
    else:
        own.chmod(0o777)
    with pytest.raises(NexcageError) as caught:
        render(None, bundle=str(own))
    assert (caught.value.code, caught.value.option) == ("E_INVALID", "bundle")
    if damage in ("link", "writable"):  # one cause in the message, and what helps against it
        said = {"link": ("is a link", "may be a link"), "writable": ("can be changed by others", "chmod go-w")}[damage]
        assert caught.value.message.endswith(said[0]) and said[1] in str(caught.value.remedy)
