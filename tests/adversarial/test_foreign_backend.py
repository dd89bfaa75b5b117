# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend without an OCI runtime that is hostile, in a real worker behind the real gate: what it says and what it tries.

Its containers are notes in its own store, so all that it could reach is what it was not given.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package, packing
from ansible_collections.nexcage.backends.tests.support import modules, packages

pytestmark = pytest.mark.requires("linux", "root")
NAME = "notes-backend"
SECRET = "swordfish-swordfish"
OPERATIONS = ("create", "start", "stop", "delete", "list", "info", "exec")
SOURCE = """
from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, PluginError


class Notes(BackendExtension):
    name = "notes-backend"

    def there(self, host):
        return host.state.get("there") or {}

    def keep(self, host, there):
        host.state.put("there", there)

    def trick(self, params):
        return params["spec"].get("env", {}).get("TRICK", "")

    def check(self, host, params):
        if self.trick(params) == "write":
            host.command.run("touch", {"name": params["name"]})

    def create(self, host, params):
        trick, there = self.trick(params), self.there(host)
        if trick == "fill":
            host.command.run("show", {"name": params["name"], "image": "mine"})
        if trick == "elsewhere":
            host.command.run("touch", {"name": "other"})
        if trick == "read":
            raise PluginError("it prints " + host.command.run("tell", {"name": params["name"]})["stdout"])
        if trick == "spec":
            raise PluginError("it holds " + str(params))
        if trick != "idle":
            there[params["name"]] = {"status": "created", "mark": params["mark"], "trick": trick}
        self.keep(host, there)

    def start(self, host, params):
        there = self.there(host)
        if there[params["name"]]["trick"] != "lazy":
            there[params["name"]]["status"] = "running"
        self.keep(host, there)

    def stop(self, host, params):
        there = self.there(host)
        if params["name"] in there:
            there[params["name"]]["status"] = "stopped"
        self.keep(host, there)

    def delete(self, host, params):
        there = self.there(host)
        there.pop(params["name"], None)
        self.keep(host, there)

    def list(self, host, params):
        found = []
        for name, note in self.there(host).items():
            record = {"name": name, "status": note["status"], "mark": note["mark"]}
            trick = note["trick"]
            if trick == "escapes":
                record["id"] = "\\x1b[2J"
            if trick == "facts":
                record.update(ansible_facts={"a": 1}, spec={"privileged": True}, backend="crun-backend", name=name, details={"ansible_facts": "x"})
            if trick == "nameless":
                del record["mark"]
            if trick == "flood":
                return [{**record, "name": "x" * 100 + str(number), "details": {"a": "b" * 500}} for number in range(5000)]
            if trick == "observed":
                record["observed"] = {"secret_env": {"TOKEN": "x"}}
            found += [record] * (2 if trick == "twice" else 1)
        return found

    def info(self, host, params):
        return self.list(host, {})[0]

    def exec(self, host, params):
        return {"rc": 0, "stdout": str(params), "stderr": ""}


def backend():
    return Notes()
"""


@pytest.fixture
def installed(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    named = {"name": {"type": "container_name"}}
    capabilities = [*(f"container_{operation}" for operation in OPERATIONS), "host_command"]
    commands = {
        "show": {"binary": "echo", "argv": ["{name}", "{image}"], "parameters": {**named, "image": {"type": "option"}}},
        "touch": {"binary": "touch", "argv": [str(tmp_path / "{name}")], "parameters": named},
        "tell": {"binary": "sh", "argv": ["-c", "cat", "{name}"], "parameters": named, "stdin": "secret_env"},
    }
    manifest = packages.manifest(
        NAME,
        capabilities=capabilities,
        operations=[*OPERATIONS, "check"],
        options=["image", "env", "secret_env"],
        provides_backend=True,
        commands=commands,
        binary_dependencies=[{"name": name} for name in ("echo", "touch", "sh")],
    )
    data = packing.pack({**packages.files(manifest), "plugin.py": SOURCE.encode()})
    path = tmp_path / f"{NAME}-1.0.0.nexcage-plugin"
    path.write_bytes(data)
    with modules.nexcage_root(tmp_path / "root"):
        digest = package.from_bytes(data, str(path)).digest
        modules.works("nexcage_plugin", name=NAME, src=str(path), digest=digest, grant=capabilities, accept_root_equivalent=True)
        yield tmp_path


def asked(trick: str = "", **more: t.Any) -> dict[str, t.Any]:
    return {"name": "web", "backend": "notes", "image": "oci:/image:1", "env": {"TRICK": trick}, **more}


def record(folder: pathlib.Path) -> pathlib.Path:
    return folder / f"root/var/lib/nexcage/foreign/{NAME}/web.json"


def test_without_a_trick_it_works(installed: pathlib.Path) -> None:
    predicted = modules.works("nexcage_container", check=True, **asked())
    made = modules.works("nexcage_container", **asked())
    assert predicted.actions == made.actions == ["create", "start"] and made["container"]["status"] == "running"
    assert modules.works("nexcage_container", **asked())["changed"] is False
    told = modules.works("nexcage_container_exec", name="web", argv=["a"], secret_env={"TOKEN": SECRET}, stdin="x")["stdout"]
    assert "TOKEN" in told and SECRET not in told
    assert modules.works("nexcage_container", name="web", state="absent").actions == ["stop", "delete"] and not record(installed).exists()


@pytest.mark.parametrize(
    ("trick", "code"),
    [
        ("fill", "E_INVALID"),  # what the task says, it cannot
        ("elsewhere", "E_CAPABILITY"),  # a container that the task is not about
        ("idle", "E_PROTOCOL"),  # says that it created it
        ("lazy", "E_PROTOCOL"),  # says that it started it
        ("nameless", "E_OWNER"),  # keeps no mark
        ("escapes", "E_PROTOCOL"),
        ("observed", "E_PROTOCOL"),
        ("twice", "E_PROTOCOL"),
    ],
)
def test_what_it_tries_is_a_typed_error(installed: pathlib.Path, trick: str, code: str) -> None:
    refused = modules.fails("nexcage_container", **asked(trick, state="present" if trick == "idle" else "started"))
    assert refused["error"]["code"] == code, refused["msg"]
    assert "notes" in refused["msg"] and "\x1b" not in json.dumps(refused) and not (installed / "other").exists()
    assert set(refused) <= {"failed", "msg", "error", "plan", "changed", "container", "invocation", "hooks", "warnings"}


def test_check_mode_is_that_for_its_check_too(installed: pathlib.Path) -> None:
    for check in (True, False):  # the operation reads, whoever asks
        assert modules.fails("nexcage_container", check=check, **asked("write"))["error"]["code"] == "E_READ_ONLY"
    assert not (installed / "web").exists() and not record(installed).exists()


@pytest.mark.parametrize("trick", ["read", "spec"])
def test_it_learns_no_secret(installed: pathlib.Path, trick: str) -> None:
    refused = modules.fails("nexcage_container", **asked(trick, secret_env={"TOKEN": SECRET}))
    del refused["invocation"]
    assert "TOKEN" in refused["msg"] and SECRET not in json.dumps(refused)
    kept = [path for path in installed.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []


def test_it_says_nothing_at_the_top_of_a_result(installed: pathlib.Path) -> None:
    made = modules.works("nexcage_container", **asked("facts"))
    assert "ansible_facts" not in made and made["container"]["backend"] == "notes" and "privileged" not in made["container"]["spec"]
    assert made["container"]["backend_details"]["ansible_facts"] == "x"
    (found,) = modules.works("nexcage_container_info")["containers"]
    assert "ansible_facts" not in found


def test_a_flood_drowns_nobody(installed: pathlib.Path) -> None:
    refused = modules.fails("nexcage_container", **asked("flood"))
    assert refused["error"]["code"] in ("E_PROTOCOL", "E_LIMIT"), refused["msg"]
    listed = modules.works("nexcage_container_info")
    assert listed["containers"] == [] and "web" in str(listed["warnings"])
