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
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.manager import publishers
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
    "a create that is done twice": (
        "plugin.py",
        '        return host.oci.create(params["name"], digest)',
        '        try:\n            return host.oci.create(params["name"], digest)\n        except HostError as error:\n'
        '            if error.code != "E_EXISTS":\n                raise\n            return {}',
        "test_twice_is_refused",
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


def make(place: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook in an empty folder."""
    command = playbook_command("nexcage.backends.new_plugin", *words)
    made = environment(place / "home", PWD=str(place))
    return subprocess.run(command, env=made, cwd=place, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def test_one_that_only_listens(host: Host, tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    made = make(tmp_path, "-e", "plugin_name=tiny-guard")
    assert made.returncode == 0, made.stdout + made.stderr
    folder = tmp_path / "tiny-guard"
    code, output = conformance(repository, folder)
    assert code == 0 and not re.search(r"failed|error|warning", output), output
    made_package = modules.works("nexcage_plugin_package", src=str(folder), dest=str(tmp_path))["package"]
    modules.works("nexcage_plugin", name="tiny-guard", src=made_package["path"], digest=made_package["digest"], grant=["logging"])
    try:
        task: dict[str, t.Any] = {"name": "owned", "backend": "crun", "image": host.image, "command": FOREVER, "stop_signal": "KILL"}
        assert modules.fails("nexcage_container", **task)["error"]["code"] == "E_VETO"
        started = modules.works("nexcage_container", **task, labels={"owner": "ops"})
        (said,) = started["plugin_log"]
        assert (said["plugin"], said["operation"], said["level"], said["message"]) == ("tiny-guard", "container.post_start", "info", "owned was started")
    finally:
        modules.works("nexcage_container", name="owned", state="absent", force_kill=True)
        modules.works("nexcage_plugin", name="tiny-guard", state="absent")


@pytest.mark.parametrize("name", ["crun-backend", "Run.C_backend", "nexcage.anything", "proxmox-vm-backend", "tiny backend"])
def test_a_name_that_nobody_could_install(tmp_path: pathlib.Path, name: str) -> None:
    refused = make(tmp_path, "-e", json.dumps({"plugin_name": name}))
    known = name != "Run.C_backend"  # looks like nobody's
    assert (refused.returncode != 0) is known, refused.stdout
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ([] if known else [name])


def test_the_reserved_names_are_those_of_the_host(repository: pathlib.Path) -> None:
    (play,) = yaml.safe_load((repository / "playbooks/new_plugin.yml").read_text())
    assert tuple(play["vars"]["plugin_reserved"]) == publishers.RESERVED


def test_the_example_is_what_the_playbook_makes(made: pathlib.Path, repository: pathlib.Path) -> None:
    for file in made.iterdir():
        example = (repository / "docs/examples/acme-backend" / file.name).read_text()
        assert example == file.read_text().replace(NAME, "acme-backend").replace("backend tiny", "backend acme"), file.name


def test_the_suite_warns_of_a_backend_that_cannot_replace(folder: pathlib.Path, repository: pathlib.Path) -> None:
    text = (folder / "plugin.json").read_text()
    (folder / "plugin.json").write_text(text.replace('"replace", ', ""))
    code, output = conformance(repository, folder, "-k", "test_it_loads_in_a_locked_worker")
    assert code == 0 and "replace is not declared" in output, output


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
