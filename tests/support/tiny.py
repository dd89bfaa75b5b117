# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small backend of somebody else that drives crun, as a package."""

from __future__ import annotations

import pathlib
import typing as t

from . import packages, releases

NAME = "tiny-backend"
GRANT = [f"container_{operation}" for operation in ("create", "start", "stop", "delete", "list", "info", "exec")]
SOURCE = """
from ..sdk.backend import BackendExtension
from .steps import VERSION as STEPS
from .steps import placed


class Tiny(BackendExtension):
    name = "tiny-backend"

    def create(self, host, params):
        return host.oci.create(params["name"], placed(host, params))

    def start(self, host, params):
        host.oci.start(params["name"])

    def stop(self, host, params):
        host.oci.stop(params["name"], params.get("signal"), params.get("timeout"), params.get("force", False))

    def delete(self, host, params):
        host.oci.delete(params["name"])

    def list(self, host, params):
        return host.oci.list(params.get("names"))

    def info(self, host, params):
        return host.oci.info(params["name"])

    def exec(self, host, params):
        return host.oci.exec(params["name"])

    def update(self, host, params):
        host.oci.update(params["name"])

    def health(self, host, params):
        return {"status": "healthy", "problems": [], "code": "VERSION-OF-PACKAGE", "steps": STEPS}


def backend():
    return Tiny()
"""
STEPS = """
VERSION = "VERSION-OF-PACKAGE"


def placed(host, params):
    if params.get("image") is None:
        return None
    return host.image.ensure(params["image"], params.get("pull", "missing"))["digest"]
"""


def package(folder: pathlib.Path, version: str = "1.0.0", source: str = SOURCE, **fields: t.Any) -> str:
    """Make a package of it in a folder, and return its path; its health operation tells the version of each of its files."""
    operations = ["create", "start", "stop", "delete", "list", "info", "exec", "update", "health", "replace"]
    facts = {"capabilities": GRANT, "operations": operations, "oci": {"runtime": "crun"}, "provides_backend": True, **fields}
    code = {file: text.replace("VERSION-OF-PACKAGE", version).encode() for file, text in (("plugin.py", source), ("steps.py", STEPS))}
    files = {**packages.files(packages.manifest(NAME, version, **facts)), **code}
    path = folder / f"{NAME}-{version}.nexcage-plugin"
    path.write_bytes(releases.packing.pack(files))
    return str(path)
