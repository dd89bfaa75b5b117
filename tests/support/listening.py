# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that listens to events and does what its operator's settings say, in real packages."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, packing
from ansible_collections.nexcage.backends.plugins.module_utils.manager import hooks as events
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import modules, packages

NAME, PRE = "alpha-hooks", "container.pre_create"
VERBS = ("create", "start", "stop", "delete")
AROUND = tuple(f"container.{when}_{verb}" for verb in VERBS for when in ("pre", "post"))
EVENTS = (*AROUND, "container.status_changed")
SYSTEM = tuple(f"system.{name}" for name in ("startup", "shutdown", "config_reload", "health_check", "plugin_loaded", "plugin_unloaded", "error_occurred"))
# It writes down what it hears where it may, and then does what its settings say of that event.
SOURCE = """
import json
from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError


class Listener(BackendExtension):
    def hook(self, host, event, payload):
        if self.config.get("at") in (event, "everything"):
            todo = self.config.get("todo", "")
            if todo == "refuse":
                return "not on a " + self.config.get("day", "Friday")
            if todo == "crash":
                self.crash()
            if todo == "die":
                import os

                os._exit(4)
            if todo == "hang":
                while True:
                    pass
            if todo == "raise":
                raise RuntimeError("a defect")
            if todo == "answer":
                return {"an": "object"}
            if todo == "meddle":
                return self.meddle(host, payload)
            if todo == "tell":
                return "secret " + json.dumps(payload)
            if todo == "once" and host.state.get("tried") is None:
                host.state.put("tried", 1)
                raise RuntimeError("a defect that goes")
        if payload["check_mode"] and self.config.get("todo") != "write":
            return None
        if event != "system.health_check":
            heard = json.loads(host.fs.read("journal", "heard")) if self.config.get("journal") else []
            told = {key: value for key, value in payload.items() if key != "spec"}
            host.fs.write("journal", "heard", json.dumps([*heard, [self.name, event, told]]))
        return None

    def crash(self):
        return self.crash()

    def meddle(self, host, payload):
        name, found = payload["name"], []
        for call in (lambda: host.oci.delete(name), lambda: host.oci.start(name), lambda: host.oci.create("another", None), lambda: host.oci.exec(name)):
            try:
                call()
                found.append("worked")
            except HostError as error:
                found.append(error.code)
        return "meddled: " + " ".join(found)


def backend():
    made = Listener()
    made.name = "NAME"
    return made
"""
SETTINGS = {name: {"type": "string"} for name in ("at", "todo", "day")}
FILES = ["filesystem_read", "filesystem_write"]
CONTAINERS = [f"container_{verb}" for verb in (*VERBS, "exec")]


def hooks(*events: str, **fields: t.Any) -> list[dict[str, t.Any]]:
    """Rows of a manifest."""
    return [{"event": event, **fields} for event in events]


def package(folder: pathlib.Path, name: str, rows: list[dict[str, t.Any]], version: str = "1.0.0", source: str = SOURCE, **fields: t.Any) -> str:
    """The path of a package of a plugin that listens."""
    facts = {"configuration": SETTINGS, "capabilities": [*FILES, *CONTAINERS], "filesystem": {"read": ["journal"], "write": ["journal"]}, **fields}
    document = packages.manifest(name, version, hooks=rows, **facts)
    path = folder / f"{name}-{version}.nexcage-plugin"
    path.write_bytes(packing.pack({**packages.files(document), "plugin.py": source.replace("NAME", name).encode()}))
    return str(path)


class Journal:
    """What plugins heard, in order.

    Args:
        folder: The root that they write to.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.file = folder / "heard"
        self.clear()

    def clear(self) -> None:
        self.file.write_text("[]")

    def lines(self) -> list[tuple[str, str, dict[str, t.Any]]]:
        """Plugin, event and payload without the spec."""
        return list(map(tuple, json.loads(self.file.read_text())))

    def events(self, prefix: str = "container.") -> list[str]:
        """Plugin and event, without the prefix's first part."""
        return [f"{plugin} {event[len(prefix) :]}" for plugin, event, _told in self.lines() if event.startswith(prefix)]


def install(
    folder: pathlib.Path, journal: Journal, name: str, rows: list[dict[str, t.Any]], config: t.Mapping[str, t.Any] | None = None, **fields: t.Any
) -> modules.Result:
    """Install one, with all that it asks for."""
    granted = fields.get("capabilities", [*FILES, *CONTAINERS])
    accept = {"accept_root_equivalent": True}
    chosen = {"journal": str(journal.folder), **(config or {})}
    return modules.works(
        "nexcage_plugin", name=name, src=package(folder, name, rows, **fields), trust="unsigned", grant=granted, config=chosen, allow_downgrade=True, **accept
    )


def configure(journal: Journal, name: str, **config: t.Any) -> modules.Result:
    """Say what it does from now on."""
    return modules.works("nexcage_plugin", name=name, state="present", config={"journal": str(journal.folder), **config})


def strategies(root: pathlib.Path, name: str, **chosen: t.Any) -> None:
    """What the operator sets for the hooks of a plugin; with ``__`` for the dot of an event."""
    file = root / "etc/nexcage/config.json"
    content = json.loads(file.read_text())
    content["plugins"][name]["hooks"] = {event.replace("__", "."): strategy for event, strategy in chosen.items()}
    file.write_text(json.dumps(content))


class Site:
    """A host with plugins that listen, and a way to fire an event at them."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder, self.root = folder, folder / "root"
        self.root.mkdir()
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(self.root)})
        (folder / "packages").mkdir()
        self.journal = Journal(folder / "journal")
        self.warnings: list[str] = []
        self.told: list[dict[str, t.Any]] = []

    def install(self, *events: str, name: str = NAME, config: t.Mapping[str, t.Any] | None = None, source: str = SOURCE, **row: t.Any) -> None:
        rows = hooks(*(events or (PRE,)), **row)
        install(self.folder / "packages", self.journal, name, rows, config, source=source)
        self.journal.clear()

    def fire(self, event: str = PRE, check: bool = False, **payload: t.Any) -> None:
        with dispatch.Session(self.layout, check, 20.0) as session:
            self.warnings, self.told = session.warnings, session.told
            events.of(session).fire(event, {"name": "web", **payload})

    def refused(self, event: str = PRE, check: bool = False) -> NexcageError:
        with pytest.raises(NexcageError) as refused:
            self.fire(event, check)
        json.dumps(refused.value.as_dict())
        return refused.value

    def policy(self, *rules: dict[str, t.Any], **more: t.Any) -> None:
        path = self.root / "etc/nexcage/policy.json"
        path.write_text(json.dumps({"version": 1, "rules": [{"id": f"r{number}", **given} for number, given in enumerate(rules)], **more}))
        path.chmod(0o600)
