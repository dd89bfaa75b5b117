# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way of an author: a plugin made by the playbook passes the suite, is packaged, installed and used; flaws are found."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.ansible_cli import environment, playbook_command
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
NAME = "tiny-backend"
# What an author may get wrong, and the test that finds it.
FLAWS: dict[str, tuple[str, str, str, str]] = {
    "a refusal is swallowed": ("plugin.py", "except NotFound", "except HostError", "test_a_refusal_is_not_hidden"),
    "delete twice fails": (
        "plugin.py",
        '            host.oci.delete(params["name"])\n        except NotFound:\n            pass',
        '            host.oci.delete(params["name"])\n        except ZeroDivisionError:\n            pass',
        "test_a_life",
    ),
    "more than declared": ("plugin.json", '"container_exec"', '"logging"', "test_no_more_than_it_declares"),
    "a read that writes": (
        "plugin.py",
        "        return host.oci.list(",
        '        host.state.put("seen", 1)\n        return host.oci.list(',
        "test_reading_changes_nothing",
    ),
    "info of nothing": ("plugin.py", 'return host.oci.info(params["name"])', 'return {"name": params["name"], "status": "running"}', "test_what_is_not_there"),
    "an operation that is not there": ("plugin.json", '"health"]', '"health", "logs"]', "test_it_loads_in_a_locked_worker"),
    "a call for each name": (
        "plugin.py",
        "        return host.oci.list(",
        "        [host.oci.features() for _turn in range(11)]\n        return host.oci.list(",
        "test_few_calls",
    ),
    "an import of more than there is": ("plugin.py", "from ..sdk.backend", "import socket\n\nfrom ..sdk.backend", "test_it_loads_in_a_locked_worker"),
    "no backend": ("plugin.json", '"provides_backend": true', '"provides_backend": false', "test_the_package"),
    "another call than ever": (
        "plugin.py",
        "        host.oci.start(",
        '        host.oci.info(params["name"])\n        host.oci.start(',
        "test_it_asks_for_what_it_always_did",
    ),
    "a death that it never gets over": (
        "plugin.py",
        '        host.oci.start(params["name"])',
        '        assert not host.state.get("busy")\n        host.state.put("busy", True)\n'
        '        host.oci.start(params["name"])\n        host.state.put("busy", False)',
        "test_a_death_at_each_frame",
    ),
    "health that is always well": ("plugin.py", '"unhealthy"', '"healthy"', "test_a_refusal_is_not_hidden"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A plugin as the playbook makes it."""
    place = tmp_path_factory.mktemp("author")
    words = ["-e", f"plugin_name={NAME}", "-e", "plugin_runtime=crun", "-e", f"plugin_folder={place}/tiny"]
    command = playbook_command("nexcage.backends.new_plugin", *words)
    first, again = (
        subprocess.run(command, env=environment(place / "home"), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL) for _turn in range(2)
    )
    assert first.returncode == 0, first.stdout + first.stderr
    assert again.returncode != 0 and "has a plugin already" in again.stdout + again.stderr
    return place / "tiny"


@pytest.fixture
def folder(made: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of it."""
    return pathlib.Path(shutil.copytree(made, tmp_path / "tiny"))


def conformance(repository: pathlib.Path, folder: pathlib.Path, *words: str) -> tuple[int, str]:
    """Exit code and output of the suite."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", "tests/conformance", "--nexcage-plugin", str(folder), *words]
    ended = subprocess.run(command, cwd=repository, env={**os.environ, "CI": ""}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return ended.returncode, ended.stdout + ended.stderr


def test_from_nothing_to_a_container(host: Host, folder: pathlib.Path, repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code, output = conformance(repository, folder)
    assert code == 0 and not re.search(r"failed|error|warning", output), output
    assert len((folder / "plugin.py").read_text().splitlines()) < 75
    made = modules.works("nexcage_plugin_package", src=str(folder), dest=str(tmp_path))["package"]
    asked = modules.fails("nexcage_plugin", name=NAME, src=made["path"], digest=made["digest"])
    assert asked["error"]["code"] == "E_GRANT"
    grant = re.findall(r"^  - (\w+)", asked["error"]["details"]["grant"], re.MULTILINE)  # as one would paste it
    modules.works("nexcage_plugin", name=NAME, src=made["path"], digest=made["digest"], grant=grant)
    task: dict[str, t.Any] = {"name": "first", "backend": "tiny", "image": host.image, "command": FOREVER, "stop_signal": "KILL"}
    assert modules.works("nexcage_container", **task)["container"]["status"] == "running"
    assert modules.works("nexcage_container", **task)["changed"] is False
    (found,) = modules.works("nexcage_plugin_info", name=[NAME])["plugins"]
    assert found["health"]["status"] in ("healthy", "degraded") and found["trust"] == "pin"
    modules.works("nexcage_container", name="first", state="absent")
    modules.works("nexcage_plugin", name=NAME, state="absent")


def test_the_example_is_what_the_playbook_makes(made: pathlib.Path, repository: pathlib.Path) -> None:
    for file in made.iterdir():
        example = (repository / "docs/examples/acme-backend" / file.name).read_text()
        assert example == file.read_text().replace(NAME, "acme-backend").replace("backend tiny", "backend acme"), file.name


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_suite_finds(folder: pathlib.Path, repository: pathlib.Path, flaw: str) -> None:
    file, old, new, finder = FLAWS[flaw]
    text = (folder / file).read_text()
    assert text.count(old) >= 1
    (folder / file).write_text(text.replace(old, new))
    if file == "plugin.json":
        json.loads((folder / file).read_text())
    code, output = conformance(repository, folder, "-k", finder)
    assert code == 1 and re.search(rf"^(?:FAILED|ERROR) .*::{finder}\b", output, re.MULTILINE), output[-3000:]
