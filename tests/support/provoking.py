# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with something wrong on it: what tests need that provoke errors through modules."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing
from ansible_collections.nexcage.backends.tests.support import modules, packages, signing
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

NAME = "probe-backend"
OPERATIONS = ("create", "list", "info")
GRANT = [f"container_{operation}" for operation in OPERATIONS] + ["filesystem_read", "logging"]
# What it does depends on the name of the container that it is asked for.
SOURCE = """
import os
import sys
import time
from ..sdk.backend import BackendExtension

TRICKS = {
    "crash": lambda host: os._exit(7),
    "garbage": lambda host: os.write(host._log.__self__._channel._outgoing, b"garbage" * 100),
    "print": lambda host: print("printed by the plugin"),
    "flood": lambda host: [host.log("info", "flood") for _turn in range(1000)],
    "noise": lambda host: [os.write(2, b"n" * 1000) for _turn in range(1000)],
    "raise": lambda host: 1 / 0,
    "exit": lambda host: sys.exit(0),
    "sleep": lambda host: time.sleep(60),
    "spin": lambda host: sum(iter(int, 1)),
    "calls": lambda host: [host.fs.stat("data") for _turn in range(1001)],
    "memory": lambda host: bytearray(1 << 40),
    "undeclared": lambda host: host.image.ensure("docker://example.org/x:1", "always") and host.oci.exec("undeclared"),
    "executes": lambda host: host.oci.exec("executes"),
    "starts": lambda host: host.oci.create("starts", None),
    "folder": lambda host: host.fs.read("data", "folder"),
    "elsewhere": lambda host: host.fs.read("data", "../etc/shadow"),
    "unknown": lambda host: host._call("oci.explode", {}) if hasattr(host, "_call") else host.oci._call("oci.explode", {}),
}
LIES = {
    "facts": lambda: {"ansible_facts": {"discovered_interpreter_python": "/tmp/evil"}, "_ansible_no_log": True},
    "text": lambda: "nothing to list",
    "number": lambda: 7,
    "nothing": lambda: None,
    "words": lambda: ["facts"],
    "nameless": lambda: [{"status": "running"}],
}


class Probe(BackendExtension):
    name = "probe-backend"

    def list(self, host, params):
        name = (params.get("names") or ["none"])[0]
        if name in LIES:
            return LIES[name]()
        if name.startswith("item-"):
            return [{**self.item(name), **ITEMS[name[5:]]}]
        if name in TRICKS:
            TRICKS[name](host)
        return []

    def item(self, name):
        return {"name": name, "id": "1", "status": "stopped", "backend": self.name, "spec": {}, "observed": {}}

    def info(self, host, params):
        return {}

    def create(self, host, params):
        return {}


ITEMS = {
    "facts": {"ansible_facts": {"discovered_interpreter_python": "/tmp/evil"}, "_ansible_no_log": True, "changed": True, "failed": False},
    "status": {"status": "on fire"},
    "other": {"name": "another"},
}


def backend():
    return Probe()
"""


def manifest(**fields: t.Any) -> dict[str, t.Any]:
    """That of the plugin above, with other fields."""
    facts = {
        "capabilities": GRANT,
        "operations": list(OPERATIONS),
        "oci": {"runtime": "crun"},
        "provides_backend": True,
        "resource_requirements": {"timeout_seconds": 10, "max_cpu_percent": 10},
        "configuration": {"data": {"type": "path"}},
        "filesystem": {"read": ["data"], "write": []},
    }
    return packages.manifest(fields.pop("name", NAME), fields.pop("version", "1.0.0"), **{**facts, **fields})


class Scene:
    """One host, one folder for what is wrong, and the plugin that plays tricks.

    Args:
        host: Where the modules run.
        folder: For packages and the like.
        patch: Injects faults.
    """

    def __init__(self, host: Host, folder: pathlib.Path, patch: pytest.MonkeyPatch) -> None:
        self.host, self.folder, self.patch = host, folder, patch
        self.etc = pathlib.Path(host.layout.configuration)

    def package(self, key: signing.Key | None = None, source: str = SOURCE, **fields: t.Any) -> pathlib.Path:
        """A package of the plugin, signed where a key is given."""
        document = manifest(**fields)
        files = {**packages.files(document), "plugin.py": source.encode()}
        path = self.folder / f"{document['name']}-{document['version']}.nexcage-plugin"
        path.write_bytes(packing.pack(files, key.sign(packing.sums(files)) if key else None))
        return path

    def source(self, **fields: t.Any) -> dict[str, t.Any]:
        """The parameters that install an unsigned package of the plugin."""
        path = self.package(**fields)
        data = self.folder / "data"
        (data / "folder").mkdir(parents=True, exist_ok=True)
        grant = [name for name in fields.get("capabilities", GRANT) if name != "host_command"]
        return {"name": fields.get("name", NAME), "src": str(path), "trust": "unsigned", "grant": grant, "config": {"data": str(data)}, "allow_downgrade": True}

    def install(self, **fields: t.Any) -> None:
        """Install the plugin."""
        modules.works("nexcage_plugin", **self.source(**fields))

    def task(self, name: str = "probed", **parameters: t.Any) -> dict[str, t.Any]:
        """The parameters of a container on crun that is not started."""
        return {"name": name, "backend": "crun", "image": self.host.image, "command": FOREVER, "state": "present", **parameters}

    def trick(self, name: str, **parameters: t.Any) -> dict[str, t.Any]:
        """The parameters of a task that lets the plugin play a trick."""
        return {"name": name, "backend": "probe", "state": "absent", **parameters}

    def write(self, name: str, content: t.Any, mode: int = 0o600) -> pathlib.Path:
        """A file of the host's configuration."""
        path = self.etc / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(mode)
        return path

    def trust(self, *lines: str) -> None:
        """Trust these signers, the first one with the plugin."""
        self.write("trust/allowed_signers", "".join(lines), 0o644)
        self.write("trust/publishers.json", {"schema_version": 1, "publishers": {NAME: [signing.ACME]}}, 0o644)
