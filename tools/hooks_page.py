# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/hooks.md, from the table of events."""

from __future__ import annotations

import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model import hook

HEAD = """
# Hooks

A plugin can listen to what happens on a host: tell a monitoring system of a container that starts, refuse one that breaks
a rule of the house. It is an ordinary plugin, with or without a backend: packaged, signed, granted and locked in as any
other. Where no plugin of a host listens, a task that changes something looks once whether a file is there, and one that
changes nothing does not even do that.

## Write one

`ansible-playbook nexcage.backends.new_plugin -e plugin_name=acme-guard` makes the folder of one that only listens, ready to
be [tested](writing-a-plugin.md#test-it) and [packaged](plugin-packages.md). The manifest, whole, of one that also makes requests; what
`nexcage_version` is, [the versions](writing-a-plugin.md#versions) say:

<!-- example: manifest -->
```json
{
  "name": "acme-guard",
  "version": "0.1.0",
  "description": "Containers have an owner, and the tracker knows of each start",
  "api_version": 1,
  "nexcage_version": ">=0.7,<1",
  "dependencies": [],
  "resource_requirements": {"max_memory_mb": 64, "max_cpu_percent": 10, "max_file_descriptors": 100, "timeout_seconds": 30},
  "capabilities": ["network_client"],
  "configuration": {"tracker": {"type": "string"}},
  "network": [{"id": "tracker", "hosts": ["{tracker}"], "requests": [{"method": "POST", "path": "/starts"}]}],
  "hooks": [
    {"event": "container.pre_create", "priority": "high", "strategy": "abort"},
    {"event": "container.post_start", "timeout_ms": 2000}
  ]
}
```

```python
from ..sdk.backend import BackendExtension


class Guard(BackendExtension):
    name = "acme-guard"

    def hook(self, host, event, payload):
        if event == "container.pre_create":
            if not (payload["spec"].get("labels") or {}).get("owner"):
                return "a container needs the label owner"
            return None
        host.http.request("tracker", "POST", "/starts", body={"name": payload["name"]})
        return None


def backend():
    return Guard()
```

What `hook` returns is nothing, or a text: why what `container.pre_*` tells of shall not happen. Of any other event a text
becomes a warning of the task. To try it without a host:
`run(backend(), FakeHost(), "hook", {"event": event, "payload": payload(event)})`, all of `sdk.testing`. The
[conformance suite](writing-a-plugin.md#test-it) tells it of every event that it listens to, in a real worker.

What it asks for is granted as to [any plugin](policy.md). One that asks for no capability is granted so, too: `grant: []`, for what it
listens to is part of the grant.

## Who may refuse

Nobody by default: a refusal, and a hook that fails, is a warning. A hook of `container.pre_*` refuses where its strategy is
`abort`, and that is the operator's to say:

- the strategy in the manifest is part of what the operator grants, and the block to paste shows it;
- the operator's own word counts before the manifest's, in `/etc/nexcage/config.json`:

<!-- example: settings -->
```json
{"plugins": {"acme-guard": {"hooks": {"container.pre_create": "skip"}}}}
```

No option of a module and no variable of the role sets this yet (`nexcage_plugin` and the role keep it when they write the file), and
`nexcage_plugin_info` shows the manifest's strategies, not these. These two tasks do it on a host that has the file, and change nothing the next time:

<!-- example: tasks -->
```yaml
- name: Read the configuration
  ansible.builtin.slurp:
    src: /etc/nexcage/config.json
  register: configuration

- name: Set the strategy of a hook
  ansible.builtin.copy:
    dest: /etc/nexcage/config.json
    content: "{{ configuration.content | b64decode | from_json | combine(strategies, recursive=true) | to_nice_json(indent=2, sort_keys=false) }}\\n"
  no_log: true  # settings of plugins may hold secrets
  vars:
    strategies: {"plugins": {"acme-guard": {"hooks": {"container.pre_create": "skip"}}}}
```

| strategy | a hook that fails or runs out of time | one that refuses |
|---|---|---|
| `skip`, the default | a warning | a warning |
| `retry` | is asked once more, then a warning | a warning |
| `abort` on `container.pre_*` | stops the task with `E_VETO` | stops the task with `E_VETO` |
| `abort` on any other event | a warning: what has happened has happened | a warning |

So a guard with `abort` stops its containers too when it crashes, or when its package is damaged or in quarantine. `E_VETO` names plugin,
hook, reason and the setting that takes the right away. The first one that refuses counts, and no other is asked after it.
Each hook is asked right before its step: one that refuses a start leaves the container created, and the error says what was
done (`error.details.done`). In check mode all `container.pre_*` of the plan are asked before it ends, so that it predicts the
refusal; other events of a run are not fired then.

## What a hook can do

- The calls that it was granted, with every limit, as [an operation](plugin-calls.md); a call about a container only for the
  one of the event. Calls that change containers or images (`host.oci`, `host.image`) are not there: a hook changes no outcome
  and sets off no other hook.
- In check mode, and in an event of which the table says that it only reads, nothing that changes something: such a call is
  refused with `E_READ_ONLY`. `payload["check_mode"]` tells; a hook that fails by that alone refuses nothing.
- It has a worker of its own, one for all hooks of a plugin in a run, which starts with the first event; a crash ends that worker
  and nothing else. `timeout_ms` is for the hook's own time: neither the start of the worker nor the broker's work counts.
- [The policy](policy.md) is asked whether the plugin may be told, and again for each call. With `default: deny` a rule has to allow it.

Each event is told to one plugin after the other, by priority (`critical`, `high`, `normal`, `low`, `background`) and name; in a
teardown the last one comes first. Results have `hooks`, one entry for each plugin and event: `executions`, `failures`,
`timeouts`, `vetoes`, `total_ms`, `avg_ms`, `min_ms`, `max_ms`; these times include the start of the worker.

## Hooks that keep failing

Hooks that crash, hang until their timeout or go over a limit count as operations that do: five within ten minutes put the plugin
[in quarantine](plugins-health.md#quarantine), with its backend, if it is one. Its hooks are not asked then, which each task says once in a warning;
but where a hook with `abort` would be asked, what it guards is refused, as if it had crashed again. A quarter of an hour later one hook or
operation is let through. Check mode counts nothing.

What became of all its hooks on a host, by event, stands in `statistics.hooks` of [nexcage_plugin_info](plugins-health.md#figures-for-prometheus),
and in the figures for Prometheus. An event that only reads is noted where its hook fails.

## The events

"""
TAIL = """
Every payload has `check_mode` too. `spec` is what the task wants of the container, in the form of `container.spec` in results;
of one that is only stopped or removed it is what is recorded. Secrets are never in it. `action` is the step of the plan.
"""


def page(table: t.Callable[..., str], code: t.Callable[[object], str]) -> str:
    """The page without its note.

    Args:
        table: From head and rows to a table.
        code: From a name to the same in Markdown.
    """
    rows = [(code(name), event.fired, ", ".join(map(code, event.payload)), "yes" if event.veto else "", _mind(event)) for name, event in hook.EVENTS.items()]
    return HEAD + table(["event", "fired by", "payload", "may be refused", "mind"], rows) + TAIL


def _mind(event: hook.Event) -> str:
    notes = [text for given, text in ((event.reversed, "reversed order"), (event.reads, "only reads")) if given]
    return ", ".join(notes)
