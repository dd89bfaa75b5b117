# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task sends to a host and imports there: limits that are no matter of time. The times are in docs/benchmarks.md."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery
from ansible_collections.nexcage.backends.tests.support import payload

KIB = 1024
PAYLOAD = 10 * KIB  # the design allows 60
DELIVERED = 224 * KIB  # once to a host, and again with each new version; this holds what there is, so that it grows on purpose only
READ_PATH = 46  # modules, packages included; one of them only where the host has no key yet
CONTAINERS = 3
# Runs the module as Ansible would, and tells what it imported and which programs it started.
PROGRAM = """
import contextlib, io, json, sys
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args
started = []
def hear(event, details):
    if event == "subprocess.Popen":
        started.append([str(word) for word in details[1]])
sys.addaudithook(hear)
before = set(sys.modules)
from ansible_collections.nexcage.backends.plugins.modules import nexcage_container
output = io.StringIO()
with patch_module_args(json.loads(sys.argv[1])), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
    nexcage_container.main()
print(json.dumps({"result": json.loads(output.getvalue()), "started": started, "modules": sorted(set(sys.modules) - before)}))
"""


def record(root: pathlib.Path, number: int) -> None:
    """A container of an earlier boot, as the engine keeps it."""
    identifier = f"{number:016x}"
    folder = root / f"var/lib/nexcage/containers/web{number}"
    (folder / identifier).mkdir(parents=True)
    (folder / "current").write_text(identifier)
    (folder / identifier / "config.json").write_text("{}")
    facts = {"schema_version": 1, "name": f"web{number}", "id": identifier, "backend": "crun-backend", "runtime": "crun", "cgroup": f"/nexcage/{identifier}"}
    ending = {"stop_signal": 15, "stop_timeout": 10, "rootfs": {}}
    (folder / identifier / "record.json").write_text(json.dumps({**facts, **ending, "image": "oci:/image:1", "spec": {"memory": 64 << 20}}))


@pytest.fixture
def converged(tmp_path: pathlib.Path) -> t.Callable[[], dict[str, t.Any]]:
    """A run of the module that finds a stopped container as it shall be."""
    for number in range(CONTAINERS):
        record(tmp_path, number)

    def run() -> dict[str, t.Any]:
        parameters = json.dumps({"name": "web1", "state": "stopped", "memory": "64m"})
        environment = {"NEXCAGE_ROOT": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        ended = subprocess.run([sys.executable, "-B", "-c", PROGRAM, parameters], env=environment, capture_output=True, text=True, check=True)
        answer: dict[str, t.Any] = json.loads(ended.stdout)
        assert answer["result"].get("changed") is False, answer["result"]
        assert answer["result"]["container"]["status"] == "stopped"
        return answer

    return run


@pytest.mark.requires("root", "linux")
def test_a_run_without_a_change_imports_what_it_needs(converged: t.Callable[[], dict[str, t.Any]]) -> None:
    names = list(payload.own(dict.fromkeys(converged()["modules"], 0)))
    assert payload.unneeded(names) == []
    assert "module_utils.broker.oci.observe" in names
    assert len(names) <= READ_PATH, names


@pytest.mark.requires("root", "linux")
def test_a_run_without_a_change_starts_nothing_but_its_worker(converged: t.Callable[[], dict[str, t.Any]]) -> None:
    assert len(converged()["started"]) == 1


@pytest.mark.requires("root", "linux", "crun")
def test_a_change_that_nobody_listens_to_imports_nothing_for_it(tmp_path: pathlib.Path) -> None:
    environment = {"NEXCAGE_ROOT": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    listening = {"module_utils.manager.hooks", "module_utils.manager.listeners", "module_utils.model.hook"}
    for content, wanted in ((None, set()), ('{"schema_version": 1, "plugins": {}}', listening)):
        record(tmp_path, 1)
        if content is not None:
            (tmp_path / "var/lib/nexcage/hooks.json").write_text(content)
        words = [sys.executable, "-B", "-c", PROGRAM, json.dumps({"name": "web1", "state": "absent"})]
        answer = json.loads(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)
        assert answer["result"].get("changed") is True, answer["result"]
        assert set(payload.own(dict.fromkeys(answer["modules"], 0))) & listening == wanted


@pytest.mark.requires("root", "linux", "crun")
def test_a_task_asks_the_runtime_for_its_own_container(converged: t.Callable[[], dict[str, t.Any]], tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "run/nexcage/oci/crun-backend"
    (folder / "another").mkdir(parents=True)
    assert len(converged()["started"]) == 1  # the worker: the runtime never had this one
    (folder / f"{1:016x}").mkdir()
    asked = [word for line in converged()["started"] for word in line if word in ("state", "list")]
    assert asked == ["state", "list"]  # the list is for what it cannot tell of one: here there is nothing but a folder


def test_the_list_of_needless_modules_catches_them() -> None:
    names = ["module_utils.broker.oci.lifecycle", "module_utils.model.version", "module_utils.broker.image_pull", "module_utils.broker.oci.observe"]
    assert payload.unneeded(names) == sorted(names[:3])


@pytest.mark.parametrize("module", sorted(path.stem for path in (payload.FOLDER / "modules").glob("nexcage_*.py")))
def test_the_payload_stays_small(module: str) -> None:
    sizes = payload.closure(module)
    assert set(sizes) == {f"modules.{module}", "module_utils.worker.delivered"}
    assert sum(sizes.values()) <= PAYLOAD, sizes


def test_what_is_delivered_stays_small(tmp_path: pathlib.Path) -> None:
    digest, data = delivery.code(str(tmp_path))
    assert len(data) <= DELIVERED and digest == hashlib.sha256(data).hexdigest()
