# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small real packages of a plugin, and the record of an installed one."""

from __future__ import annotations

import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager import package, packing
from ansible_collections.nexcage.backends.plugins.module_utils.manager.records import Release

from . import packages

# examples of nexcage_plugin, by whether they change something; tests/runtime/test_plugin_examples.py runs them
NEED_A_PACKAGE = {
    "Install a backend of somebody else, and say what it may do": True,
    "Go back to the version before": True,
    "Remove it": True,
}
# the same for tests/runtime/test_plugin_sources.py
NEED_AN_INDEX = ("Install the newest version below 2 that the lock file beside the playbook names",)
SOURCE = """
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    name = "{name}"

    def health(self, host, params):
        return {{"status": "healthy", "problems": [], "version": "{version}"}}


def backend():
    return Backend()
"""


def data(name: str = "demo-backend", version: str = "1.0.0", source: str = SOURCE, **fields: t.Any) -> bytes:
    """The bytes of an unsigned package."""
    document = packages.manifest(name, version, **{"provides_backend": True, "operations": ["health"], **fields})
    text = source.format(name=name, version=version) if source is SOURCE else source
    return packing.pack({**packages.files(document), "plugin.py": text.encode()})


def release(content: bytes, name: str = "demo-backend", version: str = "1.0.0", trust: str = "unsigned") -> Release:
    """How a package is recorded."""
    file = f"{name}-{version}.nexcage-plugin"
    return Release(version, package.from_bytes(content, file).digest, file, trust)
