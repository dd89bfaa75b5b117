# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest that asks for something in every section, and one change of it for each way to ask for more."""

from __future__ import annotations

import copy
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model import manifest as manifests

Change = t.Callable[[dict[str, t.Any]], object]

DOCUMENT: dict[str, t.Any] = {
    "name": "acme-backend",
    "version": "1.0.0",
    "description": "A backend that asks for something everywhere",
    "api_version": 1,
    "nexcage_version": ">=0.7.0",
    "dependencies": [],
    "resource_requirements": {},
    "provides_backend": True,
    "capabilities": ["container_start", "container_list", "container_info", "filesystem_read", "network_client", "host_command", "logging", "metrics"],
    "operations": ["start", "list", "info"],
    "binary_dependencies": [{"name": "acmectl"}, {"name": "acme-admin"}],
    "configuration": {
        "api_host": {"type": "string", "default": "api.acme.example"},
        "token": {"type": "string", "sensitive": True},
        "other_token": {"type": "string", "sensitive": True},
        "unrelated": {"type": "integer", "default": 1},
    },
    "oci": {"runtime": "acme-run"},
    "commands": {"status": {"binary": "acmectl", "argv": ["status", "{name}"], "parameters": {"name": {"type": "container_name"}}, "timeout_seconds": 20}},
    "filesystem": {"read": ["bundles"], "write": []},
    "network": [
        {
            "id": "api",
            "hosts": ["{api_host}", "b.acme.example"],
            "port": 8443,
            "requests": [
                {"method": "GET", "path": "/v1/nodes/{node}", "parameters": {"node": {"type": "choice", "choices": ["one", "two"]}}},
                {"method": "POST", "path": "/v1/nodes"},
            ],
        }
    ],
    "secrets": [{"configuration": "token", "network": "api"}],
    "hooks": [{"event": "container.post_start"}],
}


def manifest(*changes: Change) -> manifests.Manifest:
    """The checked manifest of the document with these changes."""
    document = copy.deepcopy(DOCUMENT)
    for change in changes:
        change(document)
    return manifests.check_manifest(document)


def plain(name: str = "acme-backend", *capabilities: str) -> manifests.Manifest:
    """A manifest with these capabilities and nothing else."""

    def strip(document: dict[str, t.Any]) -> None:
        for section in ("oci", "commands", "filesystem", "network", "secrets", "hooks", "operations", "configuration", "binary_dependencies"):
            document.pop(section)
        document.update(name=name, capabilities=list(capabilities), provides_backend=False)

    return manifest(strip)


# Each lets the plugin do something that it could not before.
WIDENINGS: dict[str, Change] = {
    "one more capability": lambda d: d["capabilities"].append("container_stop"),
    "a capability with a section": lambda d: (d["capabilities"].append("filesystem_write"), d["filesystem"]["write"].append("bundles")),
    "a capability that opens nothing": lambda d: d["capabilities"].append("tracing"),
    "another runtime": lambda d: d["oci"].update(runtime="sh"),
    "another command": lambda d: d["commands"].update(list={"binary": "acmectl", "argv": ["list"]}),
    "another program": lambda d: d["commands"]["status"].update(binary="acme-admin"),
    "another argument": lambda d: d["commands"]["status"]["argv"].append("--force"),
    "arguments in another order": lambda d: d["commands"]["status"]["argv"].reverse(),
    "one argument that reads like two": lambda d: d["commands"]["status"].update(argv=["status {name}"]),
    "a freer parameter": lambda d: d["commands"]["status"]["parameters"]["name"].update(type="relative_path"),
    "a longer time": lambda d: d["commands"]["status"].update(timeout_seconds=300),
    "another root": lambda d: d["filesystem"]["read"].append("keys"),
    "another host": lambda d: d["network"][0]["hosts"].append("evil.example"),
    "another port": lambda d: d["network"][0].update(port=443),
    "no encryption": lambda d: d["network"][0].update(tls=False),
    "another default of the setting that is a host": lambda d: d["configuration"]["api_host"].update(default="evil.example"),
    "another method": lambda d: d["network"][0]["requests"][1].update(method="DELETE"),
    "another path": lambda d: d["network"][0]["requests"].append({"method": "GET", "path": "/v1/secrets"}),
    "another choice": lambda d: d["network"][0]["requests"][0]["parameters"]["node"]["choices"].append("three"),
    "another network": lambda d: d["network"].append({**copy.deepcopy(d["network"][0]), "id": "more"}),
    "another secret": lambda d: d["secrets"].append({"configuration": "other_token", "network": "api"}),
    "a secret that is none any more": lambda d: (d["secrets"].clear(), d["configuration"]["token"].update(sensitive=False)),
    "the secret in another header": lambda d: d["secrets"][0].update(header="X-Token"),
    "another event": lambda d: d["hooks"].append({"event": "container.pre_delete"}),
    "another strategy": lambda d: d["hooks"][0].update(strategy="abort"),
    "an earlier turn": lambda d: d["hooks"][0].update(priority="critical"),
}
# None of these is anything to grant.
UNRELATED: dict[str, Change] = {
    "nothing": lambda d: None,
    "version": lambda d: d.update(version="1.0.1"),
    "description": lambda d: d.update(description="Better words"),
    "limits": lambda d: d["resource_requirements"].update(max_memory_mb=256),
    "a setting that is no host": lambda d: d["configuration"]["unrelated"].update(default=2),
    "order of capabilities": lambda d: d["capabilities"].reverse(),
    "order of hosts": lambda d: d["network"][0]["hosts"].reverse(),
    "order of requests": lambda d: d["network"][0]["requests"].reverse(),
    "order of choices": lambda d: d["network"][0]["requests"][0]["parameters"]["node"]["choices"].reverse(),
    "order of programs": lambda d: d["binary_dependencies"].reverse(),
    "a default written out": lambda d: d["network"][0].update(tls=True),
}
# Each takes something away.
NARROWINGS: dict[str, Change] = {
    "a capability less": lambda d: d["capabilities"].remove("logging"),
    "a host less": lambda d: d["network"][0]["hosts"].remove("b.acme.example"),
    "a request less": lambda d: d["network"][0]["requests"].pop(),
    "no secret": lambda d: d["secrets"].clear(),
    "no hook": lambda d: d["hooks"].clear(),
}
