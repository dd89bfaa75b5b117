# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of a stranger in a session of its own: real worker, real gate, real broker; only its package is made up here."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, registry
from ansible_collections.nexcage.backends.plugins.module_utils.manager.installed import Installed
from ansible_collections.nexcage.backends.plugins.module_utils.manager.records import Record, Release
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest

NAME = "stranger-backend"
# It does what its parameters say: a list of calls as (part, method, arguments), or one of a few tricks.
SOURCE = """
from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, PluginError


class Stranger(BackendExtension):
    name = "stranger-backend"

    def _do(self, host, params):
        answers = []
        for part, method, arguments in params["calls"]:
            try:
                answers.append({"value": getattr(getattr(host, part), method)(**arguments)})
            except HostError as error:
                answers.append({"code": error.code, "message": error.message})
        return {"answers": answers, "config": self.config}

    create = start = list = _do

    def stop(self, host, params):
        host.log("info", params["text"])
        raise PluginError(params["text"], remedy=params["text"])

    def delete(self, host, params):
        for number in range(params["count"]):
            host.fs.stat("data")

    def info(self, host, params):
        return {"text": params["text"], "answer": host.fs.read("data", params["path"])}

    def exec(self, host, params):
        getattr(getattr(host, params["part"]), params["method"])(**params["arguments"])


def backend():
    return Stranger()
"""
NAMED = {"name": {"type": "container_name"}}
MANIFEST: dict[str, t.Any] = {
    "name": NAME,
    "version": "1.2.3",
    "description": "d",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "provides_backend": True,
    "resource_requirements": {"max_network_connections": 20, "max_disk_usage_mb": 2, "max_memory_mb": 128, "max_cpu_percent": 50},
    "capabilities": [
        *(f"container_{operation}" for operation in ("create", "start", "stop", "delete", "list", "info", "exec")),
        *("filesystem_read", "filesystem_write", "host_command", "network_client", "logging"),
    ],
    "binary_dependencies": [{"name": name} for name in ("printf", "touch")],
    "configuration": {
        "api_host": {"type": "string"},
        "api_port": {"type": "integer"},
        "token": {"type": "string", "sensitive": True},
        "authorities": {"type": "path"},
    },
    "filesystem": {"read": ["data"], "write": ["data"]},
    "commands": {
        "show": {
            "binary": "printf",
            "argv": ["<%s>", "{name}", "--path=/srv/{path}", "{number}", "{node}", "{mode}"],
            "parameters": {
                **NAMED,
                "path": {"type": "relative_path"},
                "number": {"type": "uint"},
                "node": {"type": "node"},
                "mode": {"type": "choice", "choices": ["fast", "slow"]},
            },
            "kind": "read",
        },
        "touch": {"binary": "touch", "argv": ["--", "/nowhere/{name}"], "parameters": NAMED},
    },
    "network": [
        {
            "id": "api",
            "hosts": ["{api_host}"],
            "port": "{api_port}",
            "tls": False,
            "requests": [
                {"method": "GET", "path": "/v1/boxes"},
                {"method": "GET", "path": "/v1/boxes/{path}", "parameters": {"path": {"type": "relative_path"}}},
                {"method": "POST", "path": "/v1/boxes/{name}", "parameters": NAMED},
            ],
        },
        {"id": "cloud", "hosts": ["169.254.169.254", "cloud.invalid"], "port": 80, "tls": False, "requests": [{"method": "GET", "path": "/latest"}]},
    ],
    "secrets": [{"configuration": "token", "network": "api", "prefix": "Bearer "}],
}


class Stranger:
    """The plugin on a host below a folder.

    Args:
        folder: Where the host's folders and the plugin's root lie.
        patch: Puts the plugin's source in the place of a package's.
        **config: The operator's settings beyond the root.
    """

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch, **config: t.Any) -> None:
        self.tier = ""  # of the last worker
        self.root = folder / "data"
        self.root.mkdir()
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "host")})
        document = json.loads(json.dumps(MANIFEST).replace("/nowhere", str(self.root)))
        self.manifest = check_manifest(document)
        release = Release("1.2.3", "sha256:" + "0" * 64, "stranger-backend-1.2.3.nexcage-plugin", "pin")
        installed = Installed(Record(NAME, release), release, t.cast("t.Any", None), frozenset(self.manifest["capabilities"]))
        self.plugin = registry.Plugin(NAME, self.manifest, True, 100, {"data": str(self.root), **config}, installed)
        patch.setattr(registry, "sources", lambda plugin: {"plugin.py": SOURCE})

    def operate(self, operation: str, check_mode: bool = False, **params: t.Any) -> t.Any:
        """One operation in a session of its own."""
        with dispatch.Session(self.layout, check_mode, 20.0) as session:
            try:
                return session.operate(self.plugin, operation, {"name": "web", **params})
            finally:
                self.tier = session.sandbox_of(self.plugin).get("tier")

    def calls(self, *calls: tuple[str, str, dict[str, t.Any]], operation: str = "create", check_mode: bool = False) -> list[dict[str, t.Any]]:
        """Let it make some calls; each answer holds ``value``, or ``code`` and ``message``."""
        return t.cast("list[dict[str, t.Any]]", self.operate(operation, check_mode, calls=calls)["answers"])

    def refused(self, operation: str, **params: t.Any) -> NexcageError:
        """The error that an operation ends with."""
        with pytest.raises(NexcageError) as refused:
            self.operate(operation, **params)
        json.dumps(refused.value.as_dict())
        return refused.value

    def audit(self) -> list[dict[str, t.Any]]:
        """The lines of the audit log."""
        file = pathlib.Path(self.layout.audit)
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
