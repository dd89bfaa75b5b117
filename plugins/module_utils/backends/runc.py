# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend for runc: its manifest, and what it has in common with the other OCI runtimes."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..sdk.backend import BackendExtension

FILES = ("runc", "oci")  # what is sent to the worker

MANIFEST: dict[str, Any] = {
    "name": "runc-backend",
    "version": "1.0.0",
    "description": "Runc OCI container runtime backend plugin for NexCage",
    "author": "NexCage contributors",
    "homepage": "https://github.com/cageforge/nexcage",
    "license": "GPL-3.0-or-later",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "capabilities": [
        "container_create",
        "container_start",
        "container_stop",
        "container_delete",
        "container_exec",
        "container_list",
        "container_info",
        "host_command",
        "filesystem_read",
        "filesystem_write",
        "logging",
    ],
    "resource_requirements": {
        "max_memory_mb": 128,
        "max_cpu_percent": 10,
        "max_file_descriptors": 200,
        "max_threads": 5,
        "timeout_seconds": 60,
        "max_network_connections": 10,
        "max_disk_usage_mb": 100,
    },
    "provides_backend": True,
    "provides_cli_commands": False,
    "provides_integrations": False,
    "provides_monitoring": False,
    "binary_dependencies": [
        {
            "name": "runc",
            "version": ">=1.0.0",
            "description": "OCI container runtime",
            "check_command": "runc --version",
        }
    ],
    "system_requirements": {
        "os": ["linux"],
        "architecture": ["x86_64", "aarch64"],
        "kernel_version": ">=3.10",
    },
    "configuration": {
        "binary_path": {"type": "path", "description": "Absolute path of the runtime's program, in place of the first one found."},
        "bundle_path": {"type": "path", "description": "Accepted for existing configurations; bundles lie in the state folder."},
    },
    "operations": [
        "create",
        "start",
        "stop",
        "delete",
        "list",
        "info",
        "exec",
        "pause",
        "resume",
        "update",
        "replace",
        "kill",
        "logs",
        "health",
    ],
    "oci": {"runtime": "runc"},
}


def backend() -> BackendExtension:
    """The worker asks here; imported inside, for the module only reads the manifest."""
    from .oci import OciBackend

    return OciBackend(MANIFEST["name"], MANIFEST["oci"]["runtime"])
