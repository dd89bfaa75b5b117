# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A crun-compatible runtime of another name, at a place of its own, is a matter of one setting."""

from __future__ import annotations

import pathlib
import re
import shutil
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.containers import command_lines
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
RUNTIME = "crun"  # of the copy; what it is compatible with, it does not say by its name


@pytest.fixture
def mine(host: Host) -> t.Iterator[pathlib.Path]:
    """The runtime's own program under another name, set as the operator would."""
    found = shutil.which(RUNTIME)
    assert found
    path = host.root / "opt/mycrun"
    path.parent.mkdir(exist_ok=True)
    shutil.copy(found, path)
    path.chmod(0o755)
    modules.works("nexcage_plugin", name="crun-backend", config={"binary_path": str(path)})
    yield path
    modules.works("nexcage_plugin", name="crun-backend", config={})


def test_the_page_says_so(repository: pathlib.Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (repository / "docs/other-runtimes.md").read_text(), re.DOTALL)
    (task,) = yaml.safe_load(block)
    assert list(task["nexcage.backends.nexcage_plugin"]) == ["name", "config"]
    assert list(task["nexcage.backends.nexcage_plugin"]["config"]) == ["binary_path"]  # what the tests below set


def test_one_setting_is_enough(host: Host, mine: pathlib.Path) -> None:
    task = {"name": "m1", "backend": "crun", "image": host.image, "command": FOREVER, "memory": "32m"}
    made = modules.works("nexcage_container", **task)["container"]
    assert made["status"] == "running"
    supervisor = next(line for pid, line in command_lines() if pid == made["backend_details"]["conmon_pid"])
    assert f" {mine} " in supervisor
    assert modules.works("nexcage_container", **task)["changed"] is False
    assert modules.works("nexcage_container_exec", name="m1", argv=["/bin/true"])["rc"] == 0
    for path, changed in (("/bin/busybox", False), ("/not/there", True)):  # its files are the kernel's to show
        assert modules.works("nexcage_container_exec", name="m1", argv=["/bin/true"], creates=path)["changed"] is changed
    assert modules.works("nexcage_container", **{**task, "memory": "48m"}).actions == ["update"]
    for state in ("paused", "started", "restarted"):
        assert modules.works("nexcage_container", name="m1", state=state)["changed"]
    (plugin,) = modules.works("nexcage_plugin_info", name=["crun-backend"])["plugins"]
    assert str(mine) in str(plugin["health"]), plugin["health"]
    # The setting is gone, the program stays: what it has made is stopped by it, and by nothing else.
    modules.works("nexcage_plugin", name="crun-backend", config={})
    assert modules.works("nexcage_container", name="m1", state="stopped")["container"]["exit_code"] == 15
    modules.works("nexcage_container", name="m1", state="absent")


def test_both_at_once_with_a_backend_of_its_own(
    host: Host, repository: pathlib.Path, mine: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the playbook new_plugin makes, for a program in one of the system's folders."""
    modules.works("nexcage_plugin", name="crun-backend", config={})
    monkeypatch.setattr(runtime, "FOLDERS", (str(mine.parent), *runtime.FOLDERS))
    folder = tmp_path / "mycrun"
    folder.mkdir()
    for file in (repository / "docs/examples/acme-backend").iterdir():
        (folder / file.name).write_text(file.read_text().replace("acme-backend", "mycrun-backend").replace('"crun', '"mycrun'))
    made = modules.works("nexcage_plugin_package", src=str(folder), dest=str(tmp_path))["package"]
    grant = [f"container_{operation}" for operation in ("create", "start", "stop", "delete", "list", "info", "exec")]
    modules.works("nexcage_plugin", name="mycrun-backend", src=made["path"], digest=made["digest"], grant=grant)
    try:
        for backend in ("crun", "mycrun"):
            task = {"name": f"of-{backend}", "backend": backend, "image": host.image, "command": FOREVER}
            assert modules.works("nexcage_container", **task)["container"]["backend"] == backend
        lines = [line for _pid, line in command_lines() if "conmon" in line and str(host.root) in line]
        assert len(lines) == 2 and sum(f" {mine} " in line for line in lines) == 1
        assert len(modules.works("nexcage_container_info", status=["running"])["containers"]) == 2
    finally:
        host.clear()
        modules.works("nexcage_plugin", name="mycrun-backend", state="absent")


def test_one_that_is_gone_hinders_no_removal(host: Host, mine: pathlib.Path) -> None:
    modules.works("nexcage_container", name="m2", backend="crun", image=host.image, command=FOREVER)
    modules.works("nexcage_plugin", name="crun-backend", config={})
    mine.unlink()
    assert modules.works("nexcage_container", name="m2", state="absent").actions == ["stop", "delete"]


def test_what_is_no_runtime_is_refused_before_anything_changes(host: Host, mine: pathlib.Path) -> None:
    task = {"name": "m3", "backend": "crun", "image": host.image, "command": FOREVER}
    mine.write_text("#!/bin/sh\necho no version\n")
    refused = modules.fails("nexcage_container", **task)
    assert refused["error"]["code"] == "E_BINARY" and str(mine) in refused["msg"]
    mine.chmod(0o777)
    refused = modules.fails("nexcage_container", **task)
    assert refused["error"]["code"] == "E_BINARY" and "others than root" in refused["msg"]
    assert modules.works("nexcage_container_info", name=["m3"])["containers"] == []
