# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend of somebody else, installed from a package: the same tasks as on a built-in one, and no more than was granted."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host
from ansible_collections.nexcage.backends.tests.support.tiny import GRANT, NAME, SOURCE, package

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture
def installed(host: Host, tmp_path: pathlib.Path) -> t.Iterator[None]:
    """The plugin, and nothing of it afterwards."""
    modules.works("nexcage_plugin", name=NAME, src=package(tmp_path), trust="unsigned", grant=GRANT, allow_downgrade=True)
    yield
    for found in modules.works("nexcage_container_info")["containers"]:
        if found["backend"] == "tiny":
            modules.works("nexcage_container", name=found["name"], state="absent", force_kill=True)
    modules.works("nexcage_plugin", name=NAME, state="absent")


@pytest.mark.usefixtures("installed")
def test_the_same_tasks(host: Host) -> None:
    task = {"name": "tiny1", "backend": "tiny", "image": host.image, "command": FOREVER, "memory": "32m", "env": {"A": "b"}, "stop_signal": "KILL"}
    predicted = modules.works("nexcage_container", check=True, **task)
    made = modules.works("nexcage_container", **task)
    assert predicted["changed"] and made.actions == predicted.actions
    assert (made["container"]["backend"], made["container"]["status"]) == ("tiny", "running")
    assert made["sandbox"]["tier"] in ("standard", "strong")
    assert modules.works("nexcage_container", **task)["changed"] is False
    assert modules.works("nexcage_container", **{**task, "backend": "auto"})["changed"] is False  # it belongs to it
    changed = modules.works("nexcage_container", **{**task, "memory": "48m"})
    assert changed.actions == ["update"] and changed["container"]["resources"]["memory"] == 48 << 20
    output = modules.works("nexcage_container_exec", name="tiny1", argv=["/bin/busybox", "echo", "hello"])
    assert output["stdout"] == "hello"
    (found,) = modules.works("nexcage_container_info", backend="tiny")["containers"]
    assert found["name"] == "tiny1"
    refused = modules.fails("nexcage_plugin", name=NAME, state="absent")
    assert refused["error"]["code"] == "E_EXISTS" and "tiny1" in refused["msg"]
    assert modules.works("nexcage_container", name="tiny1", state="absent")["changed"]


@pytest.mark.usefixtures("installed")
def test_no_more_than_was_granted(host: Host) -> None:
    modules.works("nexcage_plugin", name=NAME, state="present", grant=[name for name in GRANT if name != "container_create"])
    refused = modules.fails("nexcage_container", name="tiny2", backend="tiny", image=host.image, command=FOREVER)
    assert refused["error"]["code"] == "E_GRANT" and "container_create" in refused["msg"], refused["msg"]
    assert modules.works("nexcage_container_info", name=["tiny2"])["containers"] == []


@pytest.mark.usefixtures("installed")
def test_hot_reload(host: Host, tmp_path: pathlib.Path) -> None:
    task = {"name": "tiny3", "backend": "tiny", "image": host.image, "command": FOREVER, "stop_signal": "KILL"}
    modules.works("nexcage_container", **task)
    broken = SOURCE.replace('return host.oci.list(params.get("names"))', 'raise RuntimeError("a defect of 1.1.0")')
    modules.works("nexcage_plugin", name=NAME, src=package(tmp_path, "1.1.0", broken), trust="unsigned")
    refused = modules.fails("nexcage_container", **task)
    assert refused["error"]["code"] == "E_PLUGIN" and "a defect of 1.1.0" in refused["msg"]
    assert modules.works("nexcage_plugin", name=NAME, state="rolled_back")["plugin"]["version"] == "1.0.0"
    assert modules.works("nexcage_container", **task)["changed"] is False


@pytest.mark.usefixtures("installed")
def test_a_name_that_is_no_backend(host: Host) -> None:
    refused = modules.fails("nexcage_container", name="tiny4", backend="nope", image=host.image)
    assert refused["error"]["option"] == "backend" and "tiny-backend" in refused["error"]["remedy"], refused["msg"]
    assert modules.fails("nexcage_container_info", backend="nope")["error"]["option"] == "backend"


@pytest.mark.usefixtures("installed")
def test_case_93_a_package_that_was_swapped(host: Host) -> None:
    path = host.root / f"etc/nexcage/plugins/{NAME}-1.0.0.nexcage-plugin"
    good = path.read_bytes()
    bad = pathlib.Path(package(host.files, source=SOURCE + "\n# swapped\n")).read_bytes()
    path.write_bytes(bad)
    refused = modules.fails("nexcage_container", name="tiny5", backend="tiny", image=host.image)
    assert refused["error"]["code"] == "E_INTEGRITY" and "another package" in refused["msg"]
    path.write_bytes(good)
    assert modules.works("nexcage_container", name="tiny5", backend="tiny", image=host.image, command=FOREVER, state="present")["changed"]


@pytest.mark.usefixtures("installed")
def test_what_a_removed_plugin_leaves(host: Host) -> None:
    modules.works("nexcage_plugin", name=NAME, state="absent")
    assert os.listdir(host.root / "etc/nexcage/plugins") == []
    assert [found["name"] for found in modules.works("nexcage_plugin_info")["plugins"]] == ["crun-backend", "runc-backend"]


@pytest.mark.usefixtures("installed")
def test_an_operation_that_was_not_granted(host: Host) -> None:
    modules.works("nexcage_container", name="tiny6", backend="tiny", image=host.image, command=FOREVER, stop_signal="KILL")
    modules.works("nexcage_plugin", name=NAME, state="present", grant=[name for name in GRANT if name != "container_exec"])
    refused = modules.fails("nexcage_container_exec", name="tiny6", argv=["/bin/true"])
    assert refused["error"]["code"] == "E_GRANT" and "exec needs container_exec" in refused["msg"]
    modules.works("nexcage_plugin", name=NAME, state="present", grant=GRANT)
    assert modules.works("nexcage_container_exec", name="tiny6", argv=["/bin/true"])["rc"] == 0
