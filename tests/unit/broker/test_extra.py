# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls a plugin is offered beyond containers: those that its manifest has templates for, and no write where nothing may change."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import extra
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import Audit
from ansible_collections.nexcage.backends.plugins.module_utils.broker.gate import Gate
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import WRITE
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle
from ansible_collections.nexcage.backends.tests.support import web

DOCUMENT: dict[str, t.Any] = {
    "name": "all-backend",
    "version": "1.0.0",
    "description": "d",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "resource_requirements": {"max_disk_usage_mb": 1, "max_network_connections": 2},
    "capabilities": ["filesystem_read", "filesystem_write", "host_command", "network_client"],
    "binary_dependencies": [{"name": "touch"}, {"name": "echo"}],
}
SECTIONS: dict[str, t.Any] = {
    "configuration": {"port": {"type": "integer"}, "host": {"type": "string"}, "token": {"type": "string", "sensitive": True}},
    "filesystem": {"read": ["srv"], "write": ["srv"]},
    "commands": {
        "make": {"binary": "touch", "argv": ["--", "/made-by-a-template/{name}"], "parameters": {"name": {"type": "container_name"}}},
        "say": {"binary": "echo", "argv": ["said"], "kind": "read"},
    },
    "network": [
        {
            "id": "api",
            "hosts": ["{host}"],
            "port": "{port}",
            "tls": False,
            "requests": [{"method": "POST", "path": "/v1"}, {"method": "GET", "path": "/v1"}],
        }
    ],
    "secrets": [{"configuration": "token", "network": "api"}],
}
# One valid call of each write, and what it would change below the root or say to the server.
WRITES: dict[str, dict[str, t.Any]] = {
    "fs.write": {"root": "srv", "path": "new", "content": "x"},
    "fs.mkdir": {"root": "srv", "path": "folder"},
    "fs.remove": {"root": "srv", "path": "old"},
    "command.run": {"command": "make", "parameters": {"name": "web"}},
    "http.request": {"network": "api", "method": "POST", "path": "/v1"},
}


class Host:
    """A host folder, a server, and a gate as a session builds it."""

    def __init__(self, folder: pathlib.Path, server: web.Server) -> None:
        self.root = folder / "srv"
        self.root.mkdir()
        (self.root / "old").write_text("old")
        self.server = server
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "host")})
        self.made = folder / "made"
        self.made.mkdir()
        sections = json.loads(json.dumps(SECTIONS).replace("/made-by-a-template", str(self.made)))
        self.manifest = check_manifest({**DOCUMENT, **sections})
        self.config = {"srv": str(self.root), "port": server.port, "host": "127.0.0.1", "token": "s3cret-token"}

    def gate(self, writing: bool, targets: t.Collection[str] | None = None) -> Gate:
        reads: dict[str, t.Any] = {}
        writes: dict[str, t.Any] | None = {} if writing else None
        extra.Extra(self.layout, self.manifest, self.config).offer(reads, writes, 20.0)
        self.tables = reads, writes
        return Gate(self.manifest, reads, writes, Audit(None), targets=targets)

    def state(self) -> t.Any:
        files = sorted(str(path) for folder in (self.root, self.made) for path in folder.rglob("*"))
        return files, [seen["method"] for seen in self.server.seen]


@pytest.fixture
def host(tmp_path: pathlib.Path) -> t.Iterator[Host]:
    with web.serving() as server:
        yield Host(tmp_path, server)


def test_one_call_of_each_write_is_tested() -> None:
    assert set(WRITES) == {name for name, effect in EXTRA.items() if effect.kind == WRITE}


@pytest.mark.parametrize("call", sorted(WRITES))
def test_a_write_where_something_may_change(host: Host, call: str) -> None:
    before = host.state()
    host.gate(True, ["web"]).call(call, WRITES[call])
    assert host.state() != before


@pytest.mark.parametrize("call", sorted(WRITES))
def test_no_write_where_nothing_may_change(host: Host, call: str) -> None:
    """By construction: not even the table of reads can do it, whatever a gate would let through."""
    before = host.state()
    gate = host.gate(False)
    with pytest.raises(NexcageError) as refused:
        gate.call(call, WRITES[call])
    assert refused.value.code == "E_READ_ONLY"
    reads, writes = host.tables
    assert writes is None
    if call in reads:
        arguments = {key: check(key, WRITES[call].get(key)) for key, check in EXTRA[call].parameters.items()}
        with pytest.raises(NexcageError) as refused:
            reads[call](arguments)
        assert refused.value.code == "E_CAPABILITY"
    assert host.state() == before


def test_what_reads_works_where_nothing_may_change(host: Host) -> None:
    gate = host.gate(False)
    assert gate.call("fs.read", {"root": "srv", "path": "old"}) == "old"
    assert [entry["name"] for entry in gate.call("fs.list", {"root": "srv"})] == ["old"]
    assert gate.call("fs.stat", {"root": "srv", "path": "old"})["type"] == "file"
    assert gate.call("command.run", {"command": "say"})["stdout"] == "said\n"
    assert gate.call("http.request", {"network": "api", "method": "GET", "path": "/v1"})["status"] == 200


def test_connections_are_counted_for_each_operation(host: Host) -> None:
    for _operation in range(2):
        gate = host.gate(True)
        gate.call("http.request", {"network": "api", "method": "GET", "path": "/v1"})
        gate.call("http.request", WRITES["http.request"])
        with pytest.raises(NexcageError, match="more than 2 connections"):
            gate.call("http.request", WRITES["http.request"])


def test_a_worker_never_gets_a_secret(host: Host) -> None:
    found = extra.Extra(host.layout, host.manifest, host.config)
    assert found.config == {key: value for key, value in host.config.items() if key != "token"}
    assert found.secrets is found.secrets


@pytest.mark.parametrize(
    ("sections", "reads", "writes"),
    [
        ({}, set(), set()),
        ({"commands": {}, "filesystem": {"read": [], "write": []}, "network": []}, set(), set()),
        ({"filesystem": {"read": ["srv"]}}, {"fs.read", "fs.list", "fs.stat"}, set()),
        ({"filesystem": {"write": ["srv"]}}, set(), {"fs.write", "fs.mkdir", "fs.remove"}),
        ({"commands": SECTIONS["commands"]}, {"command.run"}, {"command.run"}),
        ({"network": [{**SECTIONS["network"][0], "hosts": ["a.example.org"], "port": 1}]}, {"http.request"}, {"http.request"}),
    ],
)
def test_only_what_is_declared_is_offered(tmp_path: pathlib.Path, sections: dict[str, t.Any], reads: set[str], writes: set[str]) -> None:
    made = extra.Extra(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), check_manifest({**DOCUMENT, **sections}), {})
    readable: dict[str, t.Any] = {}
    writable: dict[str, t.Any] = {}
    made.offer(readable, writable, 5.0)
    assert (set(readable), set(writable)) == (reads, writes)
    assert made.program == (bundle.extra() if reads or writes else {})


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("none", set()),
        ("filesystem", {"filesystem", "beneath", "quota"}),
        ("commands", {"command"}),
        ("network", {"network", "connection", "secret"}),
    ],
)
def test_only_what_is_declared_is_imported(tmp_path: pathlib.Path, section: str, expected: set[str]) -> None:
    document = {**DOCUMENT, "configuration": SECTIONS["configuration"], **({section: SECTIONS[section]} if section in SECTIONS else {})}
    program = f"""
import json, sys
from {extra.__name__} import Extra
from {Layout.__module__} import Layout
from {check_manifest.__module__} import check_manifest
Extra(Layout.for_user(0, {{"NEXCAGE_ROOT": {str(tmp_path)!r}}}), check_manifest({document!r}), {{}}).offer({{}}, {{}}, 5.0)
print(json.dumps([name.rpartition(".broker.")[2] for name in sys.modules if ".module_utils.broker." in name]))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(json.loads(ended.stdout)) - {"extra", "store", "oci", "oci.runtime"} == expected
