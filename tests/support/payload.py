# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What travels to a host for one module, and what of it is imported there."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import subprocess
import sys
import typing as t
import zipfile
import zlib
from pathlib import Path

COLLECTION = "ansible_collections.nexcage.backends.plugins."
FOLDER = Path(__file__).resolve().parents[2] / "plugins"
OURS = COLLECTION.replace(".", "/")
# Never needed by a run that finds a container as it shall be, so never compiled there.
UNNEEDED = (
    *("proxmox", "package", "manager.archive", "manager.packing", "schema", "trust", "version", "manifest", "image", "policy", "capability"),
    *("oci.lifecycle", "oci.staging", "oci.bundle", "oci.conmon", "oci.removal", "oci.rootfs", "oci.mounts", "oci.update", "oci.execution"),
    *("oci.privileges", "oci.accounts", "oci.seccomp_profile", "oci.cgroup_control", "oci.features", "oci.waiting", "manager.execute"),
    *("configuration", "routing", "migration", "manager.information", "manager.grants", "manager.hooks", "manager.health", "manager.metrics"),
    *("manager.breaker", "manager.verify", "model.scope", "manager.strict", "manager.listeners", "model.hook"),
    *("effects_extra", "model.template", "host_extra", "broker.extra", "broker.filesystem", "broker.command", "broker.network", "broker.secret"),
    *("manager.foreign", "model.foreign", "foreign_words"),
)


class Payload:
    """The program that Ansible makes of a module with its parameters.

    Args:
        path: An AnsiballZ file that was kept on the host.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        texts = re.findall(r"'([A-Za-z0-9+/=]{10000,})'", path.read_text())
        self.archive = base64.b64decode(max(texts, key=len))
        self.delivers = '"_code_data": ' in path.read_text()

    def sizes(self) -> dict[str, int]:
        """Compressed bytes of each of our files, by its path below ``plugins``."""
        with zipfile.ZipFile(io.BytesIO(self.archive)) as archive:
            return {entry.filename[len(OURS) :]: entry.compress_size for entry in archive.infolist() if entry.filename.startswith(OURS)}

    def imports(self, environment: t.Mapping[str, str]) -> dict[str, int]:
        """Run it; microseconds that each import took by itself, compiling included.

        Raises:
            RuntimeError: The module failed.
        """
        command = [sys.executable, "-X", "importtime", str(self.path)]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(ended.stdout + ended.stderr[-2000:])
        lines = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", ended.stderr, re.MULTILINE)
        return {name: int(own) for own, name in lines}

    def run(self, environment: t.Mapping[str, str]) -> dict[str, t.Any]:
        """Run it; its result."""
        ended = subprocess.run([sys.executable, str(self.path)], env=environment, capture_output=True, text=True, check=True)
        result: dict[str, t.Any] = json.loads(ended.stdout)
        return result


def make(folder: Path, module: str, environment: t.Mapping[str, str], **parameters: t.Any) -> Payload:
    """Let Ansible run a module once on this machine and keep what it made of it; ``folder`` must be new.

    Raises:
        RuntimeError: The module failed.
    """
    variables = {"ansible_remote_tmp": str(folder), "ansible_python_interpreter": sys.executable}
    command = ["ansible", "localhost", "-e", json.dumps(variables), "-m", module, "-a", json.dumps(parameters)]
    ended = subprocess.run(command, env={**os.environ, **environment, "ANSIBLE_KEEP_REMOTE_FILES": "1"}, capture_output=True, text=True, check=False)
    found = list(folder.glob("*/AnsiballZ_*.py"))
    if ended.returncode != 0 or len(found) != 1:
        raise RuntimeError(ended.stdout + ended.stderr)
    return Payload(found[0])


def closure(module: str) -> dict[str, int]:
    """Compressed bytes of each file of ours that travels with a module, found as Ansible finds it: every import counts."""
    found: dict[str, int] = {}
    waiting = [f"modules.{module}"]
    while waiting:
        name = waiting.pop()
        source = FOLDER.joinpath(*name.split(".")).with_suffix(".py")
        if name in found or not source.is_file():
            continue
        found[name] = len(zlib.compress(source.read_bytes()))
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom):
                base = ".".join(name.split(".")[: -node.level]) if node.level else ""
                start = ".".join(part for part in (base, (node.module or "").replace(COLLECTION, "")) if part)
                waiting += [start, *(f"{start}.{alias.name}" for alias in node.names)]
    return found


def own(imports: t.Mapping[str, int]) -> dict[str, int]:
    """Those of the imports that are ours, by the name below ``plugins``."""
    return {name[len(COLLECTION) :]: spent for name, spent in imports.items() if name.startswith(COLLECTION)}


def unneeded(names: t.Iterable[str]) -> list[str]:
    """Those of our modules that a run without a change must not import."""
    return sorted(name for name in names if any(re.search(rf"\b{re.escape(part)}", name) for part in UNNEEDED))
