# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/configuration.md, from the table of the configuration's keys."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model import configuration, configuration_table, routing

HEAD = """
# The configuration file

`/etc/nexcage/config.json` on a managed host, or `/etc/nexcage/nexcage.json` where the first one is not there. It may be the
file of an existing NexCage: every key of NexCage is known, and a key that has no effect says why. For whoever is not root
the folder is `$XDG_CONFIG_HOME/nexcage`.

- `nexcage_config_info` shows what holds, where it comes from, what has no effect, and where names are routed. With `defaults: false` of
  the keys only those that the file has.
- There a value of the wrong type or out of its range is an error that names key, value and what is allowed, and keys that
  nobody knows are told. A task for a container looks only at the keys that it needs. A key that stands twice is an error
  everywhere.
- `nexcage_plugin` writes the entry of one plugin under `plugins` and leaves all else as it is.
- NexCage also looks for `./config.json`, in the folder where it is started. That is not read: a task may run in anybody's
  folder, and OCI bundles have a file of that name. `nexcage_config_info` looks at any file with `path`.
- NexCage's environment variables (`NEXCAGE_LOG_LEVEL` and the like) concern its log only, and have no effect.
- The settings of the manager decide over trust: a file that has any must not be writable by others.

`ansible-playbook -i inventory nexcage.backends.migrate -e migrate_output=host_vars` turns the files of existing hosts into
role variables, as `host_vars/HOST/nexcage.yml`, and reports on every key: taken over, changed, or without effect.
It reads the files below `/etc/nexcage` whatever `NEXCAGE_ROOT` says; another file is given by
`-e '{"migrate_search": ["/srv/test/etc/nexcage/config.json"], "migrate_also": []}'`.

## How names are routed

With `backend: auto`, a container that nobody holds yet goes where its name is routed: the first rule whose pattern fits,
then `container_config.crun_name_patterns`, then `container_config.default_runtime`. Where the file has none of these, the
preferred usable backend is taken. A rule decides alone: if its backend cannot be used, the task fails and names the rule.

"""
MODES = (
    (
        "`standard`, the default",
        "a regular expression of Python, which is searched for, if it begins with `^` or `.*` or ends with `$`; else a glob of the whole name"
        " with `*`, `?` and `[...]`",
        "`default_runtime` where the file has it, else the preferred backend",
    ),
    (
        "`nexcage`",
        "as NexCage 0.7.5 has it: if it begins with `^` or ends with `$`, an expression of which `.`, `x*`, `.*` and one group `(a|b)` are"
        " known; else a glob whose `*` never looks back",
        "`default_runtime`, which is `lxc` where the file does not have it",
    ),
)
RUNTIMES = """
Runtimes are `crun`, `runc`, `lxc` (the backend `proxmox-lxc`) and `proxmox` (the backend `proxmox-vm`). With `nexcage` every
other name means `lxc`, even `vm` and `qemu`. With `standard` these two are `proxmox-vm`, and any other name is a backend's.

As long as the file does not set `routing_compat`, a task warns of a name that both ways send to different backends;
`nexcage_config_info` always tells. Some patterns and what they fit:

"""
EXAMPLES = (
    *((".*", "web"), ("*-db", "my-old-db"), ("^web", "web-1"), (".*-db$", "m-db"), ("^[a-z]+$", "abc"), ("^a|b$", "a"), ("web-?", "web-1")),
    *(("web-*", "web-1"), ("^web.*", "web-1"), ("-db$", "my-db"), ("^(kube-ovn-.*|cilium-.*)$", "kube-ovn-1")),
)
TAIL = """
In a key, `*` stands for one name and `**` for all that lies below. Secrets (`token` and the like) are never shown.
"""


def page(table: t.Callable[..., str], code: t.Callable[[object], str]) -> str:
    """The page without its head.

    Args:
        table: From head and rows to a table.
        code: From a name to the same in Markdown.
    """
    fits = [(code(p), code(name), _word(routing.fits_nexcage(p, name)), _word(routing.fits_standard(p, name))) for p, name in EXAMPLES]
    sections = (
        f"\n## {title}\n\n" + table(["key", "may be", "default", "what it does"], [_row(key, code) for key in keys])
        for title, keys in configuration_table.GROUPS.items()
    )
    modes = table(["`routing_compat`", "a pattern is", "what nothing fits goes to"], MODES)
    return HEAD + modes + RUNTIMES + table(["pattern", "name", "fits, `nexcage`", "fits, `standard`"], fits) + "".join(sections) + TAIL


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


def _row(key: configuration_table.Key, code: t.Callable[[object], str]) -> tuple[str, ...]:
    default = "" if key.default is None else code(json.dumps(key.default))
    return code(key.path), configuration.allowed(key), default, key.effect or f"nothing: {key.reason}"
