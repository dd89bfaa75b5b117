# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""From NexCage's configuration files to variables of the roles, with a word on every key."""

from __future__ import annotations

import re
import typing as t

from . import configuration, routing
from .capability import CAPABILITIES
from .configuration_table import Key
from .errors import NexcageError

TAKEN = "taken over"
CHANGED = "changed"
NOTHING = "without effect"
ACTIONS = (TAKEN, CHANGED, NOTHING)
OCI = ("crun", "runc")
PLUGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
ENVIRONMENT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# of the sections of the unreleased branch, what the backends have
SETTINGS = ("binary_path", "proxmox_host", "proxmox_port", "proxmox_node", "proxmox_token", "verify_ssl", "timeout")
MACHINE = ("vm_cores", "vm_memory", "vm_disk")

Path = tuple[str, ...]


class Template(str):
    """A text with an expression of ours in it; every other text is only a text, whatever it looks like."""

    __slots__ = ()


class Entry(t.NamedTuple):
    """What became of one key.

    Args:
        key: With dots.
        source: The file.
        action: One of ``ACTIONS``.
        becomes: The variable, with dots; empty where it has no effect.
        note: What changed, or why it has no effect.
    """

    key: str
    source: str
    action: str
    becomes: str = ""
    note: str = ""


class Migration(t.NamedTuple):
    """The variables of the roles ``runtime`` and ``plugins``, and one entry for each key of each file."""

    variables: dict[str, t.Any]
    report: tuple[Entry, ...]


def migrate(files: t.Sequence[tuple[str, t.Mapping[str, t.Any]]]) -> Migration:
    """Variables and report for some configuration files.

    Args:
        files: Path and content; where two say something about one key, the first one counts.
    """
    work = _Work()
    for source, content in files:
        wrong = {str(problem.option).partition("[")[0]: problem.message for problem in _problems(content, source)}
        for path, value in configuration.leaves(content):
            work.entries.append(work.leaf(path, value, source, wrong))
    work.finish()
    return Migration(work.variables, tuple(work.entries))


def _problems(content: t.Mapping[str, t.Any], source: str) -> tuple[NexcageError, ...]:
    """What is wrong with a file. Where it does not say how patterns are read, they are read as NexCage does."""
    return configuration.parse({"routing_compat": routing.NEXCAGE, **content}, source).problems


class _Work:
    """The variables so far, and who said what."""

    def __init__(self) -> None:
        self.variables: dict[str, t.Any] = {}
        self.entries: list[Entry] = []
        self._said: dict[Path, str] = {}

    def leaf(self, path: Path, value: t.Any, source: str, wrong: t.Mapping[str, str]) -> Entry:
        """One key of a file."""
        name = ".".join(path)
        earlier = self._said.get(path)
        if earlier is not None:
            return Entry(name, source, NOTHING, note=f"{earlier} says it")
        self._said[path] = source
        if name in wrong:
            return Entry(name, source, NOTHING, note=f"the value is wrong, so it is left out: {wrong[name]}")
        if value == {} and path[-1] != "config":
            return Entry(name, source, NOTHING, note="there is nothing in it")
        key = configuration.find(path)
        if key is None and not (path[0] == "plugins" and path[2:] == ("config",)):
            return Entry(name, source, NOTHING, note="nobody knows this key")
        return self._known(path, value, source, key)

    def _known(self, path: Path, value: t.Any, source: str, key: Key | None) -> Entry:
        name = ".".join(path)
        if path[:2] == ("plugins", "backend-config"):
            return self._section(path, value, source, key)
        if name == "security.denied_capabilities":
            return self._denied(name, value, source)
        if key is not None and not key.effect:
            return Entry(name, source, NOTHING, note=key.reason)
        if path[0] == "plugins":
            return self._plugin(path[1], path[2:], value, Entry(name, source, TAKEN))
        return self._whole(path, value, source)

    def _whole(self, path: Path, value: t.Any, source: str) -> Entry:
        """A key of routing or of the manager: it stays where it stands."""
        note = ""
        if path[-1] == "routing":
            unknown = sorted({rule["runtime"] for rule in value} - set(routing.NEXCAGE_RUNTIMES))
            note = f"NexCage takes {', '.join(unknown)} for lxc, and so it stays" if unknown else ""
        return self._put(("plugins_configuration", *path), value, Entry(".".join(path), source, TAKEN, note=note))

    def _plugin(self, plugin: str, rest: Path, value: t.Any, entry: Entry) -> Entry:
        """A setting of one plugin."""
        if not PLUGIN.fullmatch(plugin) or not all(NAME.fullmatch(name) for name in rest):
            return entry._replace(action=NOTHING, note="it is no name that a plugin or a setting can have")
        if configuration.SECRETS.search(rest[-1]) and value not in (None, "") and not isinstance(value, bool):
            variable = re.sub(r"[^a-z0-9]+", "_", f"vault_nexcage_{plugin}_{rest[-1]}".lower())
            value, entry = Template(f"{{{{ {variable} }}}}"), entry._replace(action=CHANGED, note=f"a secret: put it into a vault as {variable}")
        elif isinstance(value, str) and ENVIRONMENT.search(value):
            value, entry = _expanded(value, entry)
        return self._put(("plugins", plugin, *rest), value, entry)

    def _section(self, path: Path, value: t.Any, source: str, key: Key | None) -> Entry:
        """A setting of one backend as the unreleased branch had it."""
        backend, setting = path[2], path[-1]
        entry = Entry(".".join(path), source, CHANGED, note="moved to where plugins have it")
        if setting in ("enabled", "priority"):
            return self._plugin(f"{backend}-backend", (setting,), value, entry)
        if setting in SETTINGS or setting in MACHINE:
            return self._plugin(f"{backend}-backend", ("config", setting), value, entry)
        return entry._replace(action=NOTHING, note="no backend has such a setting" if key else "nobody knows this key")

    def _denied(self, name: str, value: list[str], source: str) -> Entry:
        """Capabilities that nobody shall use become rules of the policy."""
        rules = [
            {"id": f"no-{one}", "effect": "deny", "when": {"call": sorted(CAPABILITIES[one].calls)}, "message": f"{one} is denied"}
            for one in dict.fromkeys(value)
            if one in CAPABILITIES and CAPABILITIES[one].grantable and CAPABILITIES[one].calls
        ]
        others = sorted(set(value) - {str(rule["id"])[len("no-") :] for rule in rules})
        note = f"nobody can be granted {', '.join(others)} anyway" if others else ""
        if not rules:
            return Entry(name, source, NOTHING, note=note or "there is nothing in it")
        entry = Entry(name, source, CHANGED, note="; ".join(part for part in ("a rule for each", note) if part))
        return self._put(("plugins_policy",), {"version": 1, "rules": rules}, entry)

    def _put(self, path: Path, value: t.Any, entry: Entry) -> Entry:
        """Set a variable, where nothing else has."""
        place = self.variables
        for name in path[:-1]:
            place = place.setdefault(name, {})
        if place.get(path[-1]) not in (None, {}):
            return entry._replace(action=NOTHING, becomes="", note=f"{'.'.join(path)} is said elsewhere")
        place[path[-1]] = value
        return entry._replace(becomes=".".join(path))

    def finish(self) -> None:
        """What follows from all of it together."""
        content = self.variables.get("plugins_configuration", {})
        if isinstance(content.get("container_config"), dict) and "routing" in content["container_config"] and "routing" in content.get("runtime", {}):
            del content["runtime"]
            self._replace("runtime.routing", "container_config.routing replaces it")
        if any(name in content for name in ("runtime", "container_config")):
            content.setdefault("routing_compat", routing.NEXCAGE)  # names go where they went
        runtimes = [name for name in OCI if name in self._wanted(content)]
        if runtimes:
            self.variables = {"runtime_runtimes": runtimes, **self.variables}

    def _replace(self, key: str, note: str) -> None:
        self.entries = [entry._replace(action=NOTHING, becomes="", note=note) if entry.key == key and entry.becomes else entry for entry in self.entries]

    def _wanted(self, content: t.Mapping[str, t.Any]) -> set[str]:
        """The runtimes that rules lead to or whose plugin is set and not switched off."""
        found = {name for name in OCI for entry in [self.variables.get("plugins", {}).get(f"{name}-backend")] if entry and entry.get("enabled") is not False}
        rules = routing.parse(content)
        if rules is not None:
            found |= {routing.backend_of(rule.runtime, rules.mode) for rule in rules.rules}
            found |= {"crun"} if rules.legacy else set()
            found |= {routing.backend_of(rules.default, rules.mode)} if rules.default else set()
        return found


def _expanded(value: str, entry: Entry) -> tuple[str, Entry]:
    """A text with ``${NAME}`` in it, as an expression that asks the controller's environment."""
    if "{{" in value or "{%" in value or "{#" in value or "'" in value or "\\" in value:
        return value, entry._replace(note="${...} stays as it is: nothing replaces it here")
    text = ENVIRONMENT.sub(lambda match: f"{{{{ lookup('ansible.builtin.env', '{match[1]}') }}}}", value)
    return Template(text), entry._replace(action=CHANGED, note="${...} is read from the environment of the controller")
