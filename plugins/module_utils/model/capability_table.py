# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""docs/capabilities.md, generated from the tables of ``capability``; nothing imports this on a host.

``python -m ansible_collections.nexcage.backends.plugins.module_utils.model.capability_table`` prints the page.
"""

from __future__ import annotations

import sys

from .capability import CAPABILITIES, EFFECTS, OPERATIONS, Effect

MEANINGS: dict[str, str] = {
    "filesystem_read": "read files below roots that the operator granted by name",
    "filesystem_write": "write files below roots that the operator granted by name",
    "filesystem_execute": "execute files; `host_command` has templates for that",
    "network_client": "requests that match the manifest's templates of method, host, port and path",
    "network_server": "listen on a port; a worker lives for one task only",
    "network_raw": "raw sockets",
    "process_spawn": "start processes",
    "process_signal": "signal processes that are no containers",
    "process_ptrace": "trace processes",
    "system_info": "facts about the host; Ansible gathers them",
    "system_metrics": "figures about the host",
    "container_create": "create containers of this backend from the task's spec, fetch the task's images",
    "container_start": "start, pause, resume containers of this backend, apply the limits the task changes, clear away what a killed run left of them",
    "container_stop": "stop and signal containers of this backend",
    "container_delete": "delete containers of this backend; with `container_create`, replace them",
    "container_exec": "run the task's command in a container of this backend",
    "container_list": "list the containers of this backend",
    "container_info": "records and logs of containers of this backend",
    "host_command": "run the command templates that the manifest names under `commands`",
    "host_mount": "mount on the host",
    "host_device": "open devices of the host",
    "config_read": "read NexCage's configuration; a plugin gets its own with every start",
    "config_write": "write NexCage's configuration",
    "logging": "messages to the operator",
    "metrics": "publish figures",
    "tracing": "publish traces",
    "api_server": "serve an API",
    "api_client": "use NexCage's API; there is no daemon that has one",
}

_HEAD = """\
<!-- Generated from plugins/module_utils/model/capability.py by model/capability_table.py: change it there. -->

# Capabilities

A plugin can do nothing by itself. It asks the broker, and the broker decides on each call:
*declared* in the manifest, *granted* by the operator (a built-in plugin has what it declares), *not denied* by policy,
and *valid*. A capability is an upper bound: while the manifest's field in the last column is empty, it opens nothing.

Classes: **contained** stays with what belongs to the plugin or to nobody; **scoped** acts on named things, such as this
backend's containers or granted roots; **root-equivalent** can become root on the host and is granted only with
`accept_root_equivalent: true`.

## The 28 names

Names that no broker call stands behind are accepted in a manifest and never granted.

| capability | class | can be granted | means | opens | only with |
|---|---|---|---|---|---|
"""

_CALLS = """
## The broker calls

A read is counted. A write is announced in the audit log, carried out, and its outcome written. In check mode and inside the
operations `list`, `info`, `logs` and `health` no write exists: asking for one is `E_READ_ONLY`.
Spec, secrets and the process of an `exec` come from the task; a plugin only names the container.
Roots, commands and requests come from the manifest's templates: [files, commands and requests](plugin-calls.md).

| call | kind | needs | parameters |
|---|---|---|---|
"""

_BY_TEMPLATE = {"command.run": "write, or read where its template says so", "http.request": "read for GET and HEAD, else write"}

_OPERATIONS = """
## The operations of a plugin

| operation | kind | needs |
|---|---|---|
"""


def page() -> str:
    """The whole of docs/capabilities.md."""
    return "".join(
        (
            _HEAD,
            *(_capability(name) for name in CAPABILITIES),
            _CALLS,
            *(_row(f"`{name}`", _kind(name, row), _needs(row), _listed(list(row.parameters))) for name, row in EFFECTS.items()),
            _OPERATIONS,
            *(_row(name, row.kind, _needs(row)) for name, row in OPERATIONS.items()),
            "\nCalls marked *later* are reserved: the name is fixed, no broker offers it yet.\n",
        )
    )


def _capability(name: str) -> str:
    row = CAPABILITIES[name]
    calls = ", ".join(f"`{call}`" + ("" if call in EFFECTS else " *later*") for call in row.calls)
    section = f"`{row.section}`" if row.section else ""
    return _row(f"`{name}`", row.level, "yes" if row.grantable else "never", MEANINGS[name], calls, section)


def _kind(name: str, row: Effect) -> str:
    return _BY_TEMPLATE.get(name, row.kind)


def _needs(row: Effect) -> str:
    return " or ".join(" and ".join(f"`{name}`" for name in names) for names in row.needs if names) or "nothing"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
