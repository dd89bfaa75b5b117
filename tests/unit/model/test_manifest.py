# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The strict parser of plugin.json: what it takes, what it refuses and how it says so."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import OPERATIONS
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import (
    check_compatibility,
    check_manifest,
    parse_manifest,
)
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest_fields import HOOK_EVENTS, RULES

SMALLEST: dict[str, t.Any] = {
    "name": "a",
    "version": "1.0.0",
    "description": "d",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "capabilities": [],
    "resource_requirements": {},
}
DEFAULTS: dict[str, t.Any] = {
    "author": "",
    "homepage": "",
    "license": "",
    "resource_requirements": {
        "max_memory_mb": 64,
        "max_cpu_percent": 5,
        "max_file_descriptors": 100,
        "max_threads": 10,
        "timeout_seconds": 30,
        "max_network_connections": 50,
        "max_disk_usage_mb": 100,
    },
    "provides_backend": False,
    "provides_cli_commands": False,
    "provides_integrations": False,
    "provides_monitoring": False,
    "binary_dependencies": [],
    "system_requirements": {"os": [], "architecture": [], "kernel_version": ">=0", "virtualization": []},
    "configuration": {},
    "operations": [],
    "options": [],
    "live": [],
    "oci": {},
    "commands": {},
    "filesystem": {"read": [], "write": []},
    "network": [],
    "secrets": [],
    "hooks": [],
}
SEVEN = ["create", "start", "stop", "delete", "list", "info", "exec"]
ELEVEN = [*(f"container_{operation}" for operation in SEVEN), "host_command", "filesystem_read", "filesystem_write", "logging"]

# Every optional field in use at once.
RICH: dict[str, t.Any] = {
    **SMALLEST,
    "name": "proxmox-lxc-backend",
    "provides_backend": True,
    "capabilities": [*ELEVEN, "network_client"],
    "dependencies": ["base", {"name": "other", "version": ">=1,<2"}],
    "operations": list(OPERATIONS),
    "oci": {"runtime": "crun"},
    "binary_dependencies": [{"name": "pct", "version": ">=6.0.0", "description": "d", "check_command": "pct --version"}, {"name": "crun"}],
    "system_requirements": {"os": ["linux"], "architecture": ["x86_64"], "kernel_version": ">=4.15", "virtualization": ["kvm", "qemu"]},
    "configuration": {
        "host": {"type": "string", "required": True, "default": "localhost"},
        "port": {"type": "number", "default": 8006, "choices": [8006, 443]},
        "token": {"type": "string", "required": True, "sensitive": True},
        "folder": {"type": "path", "default": "/srv"},
        "retries": {"type": "integer", "default": 3},
        "verify": {"type": "boolean", "default": True},
    },
    "commands": {
        "status": {
            "binary": "pct",
            "argv": ["status", "{vmid}", "--x", "--x", "{mode}"],
            "parameters": {"vmid": {"type": "uint"}, "mode": {"type": "choice", "choices": ["a", "b"]}},
            "timeout_seconds": 60,
        }
    },
    "filesystem": {"read": ["templates"], "write": ["cache"]},
    "network": [
        {
            "id": "pve",
            "hosts": ["{host}", "pve.example.org", "192.0.2.1"],
            "port": "{port}",
            "requests": [{"method": "GET", "path": "/api2/json/nodes/{node}/lxc", "parameters": {"node": {"type": "node"}}}],
        },
        {"id": "mirror", "hosts": ["mirror.example.org"], "tls": False, "port": 80, "requests": [{"method": "HEAD", "path": "/a/b"}]},
    ],
    "secrets": [{"configuration": "token", "network": "pve"}],
    "hooks": [{"event": "container.pre_start"}, {"event": "api.authorization", "priority": "critical", "timeout_ms": 100, "strategy": "abort"}],
}


def changed(path: str, value: t.Any, document: dict[str, t.Any] = RICH) -> dict[str, t.Any]:
    """A copy of a document with one place, such as ``network.0.id``, set to something else."""
    made = copy.deepcopy(document)
    *parents, last = path.split(".")
    at: t.Any = made
    for part in parents:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if isinstance(at, list):
        at[int(last)] = value
    else:
        at[last] = value
    return made


def refused(document: t.Any, code: str = "E_MANIFEST") -> NexcageError:
    with pytest.raises(NexcageError) as error:
        check_manifest(document)
    assert error.value.code == code
    json.dumps(error.value.as_dict())
    return error.value


def test_defaults_are_those_of_existing_nexcage() -> None:
    assert check_manifest(SMALLEST).as_dict() == {**SMALLEST, **DEFAULTS}


def test_every_field_at_once_and_back() -> None:
    manifest = parse_manifest(json.dumps(RICH).encode())
    assert parse_manifest(json.dumps(manifest.as_dict())) == manifest
    assert check_manifest(manifest.as_dict()).as_dict() == manifest.as_dict()
    assert set(RICH) | set(DEFAULTS) == set(RULES.fields)
    for field, value in RICH.items():
        if field in ("name", "capabilities", "operations", "filesystem", "dependencies", "system_requirements"):
            assert manifest.as_dict()[field] == value
    assert (manifest["secrets"][0]["header"], manifest["network"][1]["port"]) == ("Authorization", 80)


def test_a_root_is_a_setting_that_only_the_operator_fills() -> None:
    configuration = check_manifest(RICH)["configuration"]
    assert set(configuration) == {*RICH["configuration"], "templates", "cache"}
    assert (configuration["templates"]["type"], "default" in configuration["templates"]) == ("path", False)
    declared = changed("configuration.templates", {"type": "path", "required": True, "description": "where they are"})
    assert check_manifest(declared)["configuration"]["templates"]["required"] is True
    full = changed("configuration", {**RICH["configuration"], **{f"s{number}": {"type": "string"} for number in range(56)}})
    assert len(check_manifest(check_manifest(full).as_dict())["configuration"]) == 64


def test_what_a_command_a_network_and_a_secret_may_say() -> None:
    assert check_manifest(RICH)["commands"]["status"]["kind"] == "write"
    assert check_manifest(changed("commands.status.kind", "read"))["commands"]["status"]["kind"] == "read"
    assert check_manifest(changed("network.0.ca_file", "folder"))["network"][0]["ca_file"] == "folder"
    assert check_manifest(RICH)["secrets"][0]["prefix"] == ""
    for prefix in ("Bearer ", "PVEAPIToken="):
        assert check_manifest(changed("secrets.0.prefix", prefix))["secrets"][0]["prefix"] == prefix


EXISTING = [
    ("crun-backend", ELEVEN, (128, 10, 200, 5, 60, 10, 100), ["crun"], {}),
    ("runc-backend", ELEVEN, (128, 10, 200, 5, 60, 10, 100), ["runc"], {}),
    ("proxmox-lxc-backend", [*ELEVEN, "network_client", "network_server", "system_info"], (256, 15, 300, 8, 120, 50, 200), ["pct", "curl"], {}),
    (
        "proxmox-vm-backend",
        [*ELEVEN, "network_client", "network_server", "system_info", "system_metrics"],
        (512, 25, 400, 10, 180, 100, 500),
        ["qm", "curl"],
        {"virtualization": ["kvm", "qemu"]},
    ),
]


@pytest.mark.parametrize(("name", "capabilities", "limits", "binaries", "system"), EXISTING)
def test_existing_manifests_stay_valid(name: str, capabilities: list[str], limits: tuple[int, ...], binaries: list[str], system: dict[str, t.Any]) -> None:
    fields = list(DEFAULTS["resource_requirements"])
    document = {
        **SMALLEST,
        "name": name,
        "author": "NexCage Team",
        "homepage": "https://github.com/cageforge/nexcage",
        "license": "Apache-2.0",
        "capabilities": capabilities,
        "resource_requirements": dict(zip(fields, limits)),
        "provides_backend": True,
        "provides_cli_commands": False,
        "binary_dependencies": [
            {"name": binary, "version": ">=1.0.0", "description": "d", "check_command": "qm help" if binary == "qm" else f"{binary} --version"}
            for binary in binaries
        ],
        "system_requirements": {"os": ["linux"], "architecture": ["x86_64"], "kernel_version": ">=3.10", **system},
        "configuration": {
            "proxmox_host": {"type": "string", "required": True, "description": "d", "default": "localhost"},
            "proxmox_port": {"type": "number", "required": False, "description": "d", "default": 8006},
            "proxmox_token": {"type": "string", "required": True, "description": "d", "sensitive": True},
            "verify_ssl": {"type": "boolean", "required": False, "description": "d", "default": False},
        },
    }
    manifest = check_manifest(document)
    assert list(manifest["operations"]) == SEVEN
    assert manifest.as_dict()["resource_requirements"] == document["resource_requirements"]
    assert all(manifest.as_dict()[field] == document[field] for field in ("name", "capabilities", "binary_dependencies", "author"))


def test_a_backend_without_operations_has_those_of_the_seven_that_it_declares() -> None:
    document = {**SMALLEST, "provides_backend": True, "capabilities": ["container_start", "container_list"]}
    assert check_manifest(document)["operations"] == ("start", "list")
    assert check_manifest({**document, "provides_backend": False})["operations"] == ()
    assert check_manifest({**document, "operations": []})["operations"] == ()


def test_a_manifest_is_a_value_that_cannot_change() -> None:
    manifest = check_manifest(RICH)
    assert repr(manifest) == "Manifest(proxmox-lxc-backend 1.0.0)"
    assert (len(manifest), list(manifest)) == (len(RULES.fields), list(RULES.fields))
    assert {manifest, check_manifest(RICH)} == {manifest}
    assert manifest != check_manifest(SMALLEST)
    assert manifest != RICH
    with pytest.raises(TypeError):
        manifest["resource_requirements"]["max_memory_mb"] = 9999
    with pytest.raises(TypeError):
        manifest["name"] = "b"  # type: ignore[index]
    manifest.as_dict()["capabilities"].append("host_mount")
    assert "host_mount" not in manifest["capabilities"]


def test_notes_say_what_has_no_effect() -> None:
    assert check_manifest(SMALLEST).notes == ()
    document = {**SMALLEST, "capabilities": ["host_command", "process_ptrace", "logging"], "resource_requirements": {"max_threads": 7}}
    threads, command, trace = check_manifest(document).notes
    assert threads == "resource_requirements.max_threads=7 is without effect: a worker has one thread"
    assert command == "capabilities: host_command opens nothing here"
    assert trace == "capabilities: process_ptrace opens nothing here: no broker call stands behind it"


@pytest.mark.parametrize("api", [0, 2])
def test_the_api_version_is_compared(api: int) -> None:
    error = refused({**SMALLEST, "api_version": api}, "E_VERSION")
    assert (error.option, error.value) == ("api_version", api)
    assert check_manifest({**SMALLEST, "api_version": api}, compare=False)["api_version"] == api


@pytest.mark.parametrize(("text", "fits"), [("0.7.5", True), ("0.1.0", True), ("0.7.6", False), ("1.0.0", False), (">=0.7,<1", True), (">0.7.5", False)])
def test_the_nexcage_version_is_compared(text: str, fits: bool) -> None:
    document = {**SMALLEST, "nexcage_version": text}
    if fits:
        check_manifest(document)
    else:
        error = refused(document, "E_VERSION")
        assert (error.option, error.value, "0.7.5" in error.message) == ("nexcage_version", text, True)
    check_compatibility(check_manifest({**SMALLEST, "nexcage_version": ">=1"}, compare=False), "1.2.3")


@pytest.mark.parametrize("field", SMALLEST)
def test_a_required_field(field: str) -> None:
    error = refused({name: value for name, value in SMALLEST.items() if name != field})
    assert error.option == field
    assert "missing; it must be" in error.message


WRONG: list[tuple[str, list[t.Any]]] = [
    ("name", ["", "-a", "a-", "a b", "a/b", "ä", "x" * 65, 1, None, "a\n", "../a", "."]),
    ("version", ["1", "1.0", "1.0.0-rc1", "v1.0.0", "01.0.0", "9999999999.0.0", 1.0, ["1.0.0"]]),
    ("description", ["", "x" * 513, None, "a\x1b[31m", "a\0", "\ud800"]),
    ("author", [None, 5, "x" * 513]),
    ("homepage", ["x" * 2049]),
    ("license", [[]]),
    ("api_version", ["1", 1.0, -1, 2**32, True, None]),
    ("nexcage_version", ["", "latest", "0.7", ">=", 0.7]),
    ("dependencies", [None, {}, [""], [1], ["a", "a"], ["a", {"name": "a", "version": ">=1"}], [{"name": "a"}], ["proxmox-lxc-backend"]]),
    ("dependencies", [[{"name": "proxmox-lxc-backend", "version": ">=1"}], [{"name": "a", "version": ">=1", "x": 1}], [f"p{n}" for n in range(65)]]),
    ("capabilities", [None, "all", ["all"], ["container_create", "container_create"], ["Logging"], [None]]),
    ("resource_requirements", [None, [], {"memory": 1}]),
    ("resource_requirements.max_memory_mb", [0, 2049, "64", 64.0, True]),
    ("resource_requirements.max_cpu_percent", [0, 101]),
    ("resource_requirements.max_file_descriptors", [0, 4097]),
    ("resource_requirements.max_threads", [0, 101]),
    ("resource_requirements.timeout_seconds", [0, 301]),
    ("resource_requirements.max_network_connections", [-1, 2**32]),
    ("resource_requirements.max_disk_usage_mb", [-1, 2**32]),
    *((f"provides_{what}", [0, "yes", None]) for what in ("backend", "cli_commands", "integrations", "monitoring")),
    ("binary_dependencies", [{}, [{"version": ">=1"}], [{"name": "/bin/sh"}], [{"name": "a"}, {"name": "a"}], [{"name": "a", "version": "1"}]]),
    (
        "binary_dependencies.0.check_command",
        ["pct", "pct -h", "pct; reboot", "pct  --version", "rm -rf /", "rm --version", "pct --version\n", "/usr/bin/pct --version"],
    ),
    ("system_requirements", [None, {"os": "linux"}, {"os": ["Linux!"]}, {"kernel_version": "4"}, {"cpu": []}]),
    ("configuration", [[], {"a b": {"type": "string"}}, {"a": {}}, {"a": {"type": "any"}}, {"a": {"type": "string", "pattern": "("}}]),
    ("configuration.host.default", [5, None, [], {}, "x" * 4097]),
    ("configuration.folder.default", ["srv", 5]),
    ("configuration.retries.default", [3.5, "3", True]),
    ("configuration.port.default", ["8006", 80, True, 10**30, float("inf"), float("nan")]),
    ("configuration.port.choices", [[], ["a"], [8006, 8006], 8006]),
    ("configuration.verify.default", [1, "yes"]),
    ("configuration.token.default", ["secret"]),
    ("operations", [["reboot"], ["create", "create"], "create", None]),
    ("oci", [{"runtime": "/usr/bin/crun"}, {"runtime": ""}, {"argv": []}, "crun"]),
    ("commands", [[], {"Status": {}}, {"status": {"binary": "pct"}}, {"status": {"binary": "sh", "argv": []}}]),
    ("commands.status.argv", [["{vmid}"], ["{vmid}", "{mode}", "{other}"], ["{vmid", "{mode}"], ["a\nb"], "status", [""]]),
    ("commands.status.parameters.vmid", [{"type": "text"}, {"type": "uint", "choices": ["a"]}, {"type": "choice"}, "uint"]),
    ("commands.status.parameters.mode", [{"type": "choice", "choices": []}, {"type": "choice", "choices": ["-x"]}]),
    ("commands.status.timeout_seconds", [0, 301]),
    ("commands.status.kind", ["exec", "", None, True]),
    ("filesystem", [{"execute": []}, {"read": ["/etc"]}, {"read": ["a", "a"]}, []]),
    ("configuration.templates", [{"type": "string"}, {"type": "path", "default": "/etc"}, {"type": "path", "sensitive": True}]),
    ("configuration", [{**RICH["configuration"], **{f"s{number}": {"type": "string"} for number in range(57)}}]),
    ("network.0.ca_file", ["missing", "host", "token", "", None]),
    ("secrets.0.prefix", ["Bearer", " Bearer ", "Bearer  ", "x\r\n ", None]),
    ("network.0.id", ["mirror", "", "a-b"]),
    ("network.0.hosts", [[], ["{missing}"], ["{token}"], ["http://a"], ["a/b"], ["user@host"], ["[::1]"]]),
    ("network.0.port", [0, 65536, "8006", "{missing}", "{token}", None, True]),
    ("network.0.requests", [[], [{"method": "CONNECT", "path": "/"}], [{"method": "GET", "path": "/{node}"}]]),
    ("network.1.requests.0.path", ["", "a", "/../a", "/a/./b", "/a//b", "/a?b", "/a%2fb", "/a/{b", "/{b}"]),
    ("secrets", [[{"configuration": "host", "network": "pve"}], [{"configuration": "none", "network": "pve"}], [{"configuration": "token", "network": "x"}]]),
    ("secrets.0.header", ["", "a b", "X-A\r\n", "Host", "Content-Length", "transfer-encoding"]),
    ("hooks", [[{"event": "container.pre_exec"}], [{"event": "system.startup"}, {"event": "system.startup"}], [{}]]),
    ("hooks.0.priority", ["urgent", 1]),
    ("hooks.0.timeout_ms", [0, 60_001]),
    ("hooks.0.strategy", ["ignore"]),
]


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in WRONG for value in values])
def test_what_a_field_refuses(path: str, value: t.Any) -> None:
    error = refused(changed(path, value))
    assert error.option is not None
    place, asked = (text.replace("[", ".").replace("]", "") for text in (error.option, path))
    related = {"provides_backend": "operations", "dependencies": "dependencies", "operations": "operations"}.get(path, path.split(".", maxsplit=1)[0])
    assert place.startswith((asked.rsplit(".", 1)[0], related))
    assert error.message


@pytest.mark.parametrize(
    ("field", "capability"),
    [("commands", "host_command"), ("filesystem.read", "filesystem_read"), ("filesystem.write", "filesystem_write"), ("network", "network_client")],
)
def test_a_section_needs_its_capability(field: str, capability: str) -> None:
    error = refused({**RICH, "capabilities": [name for name in RICH["capabilities"] if name != capability]})
    assert (error.option, capability in error.message) == (field, True)


@pytest.mark.parametrize("operation", [name for name, row in OPERATIONS.items() if row.needs != ((),)])
def test_an_operation_needs_its_capability(operation: str) -> None:
    needed = [name for names in OPERATIONS[operation].needs for name in names]
    document = {**SMALLEST, "provides_backend": True, "operations": [operation]}
    assert check_manifest({**document, "capabilities": needed})["operations"] == (operation,)
    error = refused({**document, "capabilities": needed[1:]})
    assert (error.option, needed[0] in error.message) == ("operations[0]", True)
    assert "provides_backend" in refused({**document, "capabilities": needed, "provides_backend": False}).message


def test_health_needs_nothing() -> None:
    assert check_manifest({**SMALLEST, "operations": ["health"]})["operations"] == ("health",)


def test_an_unknown_field_is_refused_at_every_level() -> None:
    paths = ["", "resource_requirements", "dependencies.1", "binary_dependencies.0", "system_requirements", "configuration.host", "oci"]
    paths += ["commands.status", "commands.status.parameters.vmid", "filesystem", "network.0", "network.0.requests.0", "secrets.0", "hooks.0"]
    for path in paths:
        error = refused(changed(f"{path}.surprise".lstrip("."), 1))
        assert str(error.option).endswith("surprise")
        assert "there is no such field; the fields here are" in error.message


def test_the_25_events() -> None:
    assert len(set(HOOK_EVENTS)) == len(HOOK_EVENTS) == 25
