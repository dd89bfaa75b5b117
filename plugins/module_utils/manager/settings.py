# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one reader of NexCage's configuration file, and what the operator set in it for each plugin.

The file belongs to NexCage as a whole. Only one plugin's entry in its ``plugins`` section is ever written; everything
else in the file stays as it was. What the other sections come to, :mod:`configuration` tells; a container task needs
that only where the file has routing.
"""

from __future__ import annotations

import json
import os
import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.errors import NexcageError

FILE = "config.json"
FILES = (FILE, "nexcage.json")  # the first one that is there counts, alone
LARGEST = 1 << 20  # bytes; NexCage reads no more either
MASK = "********"
KEYS = ("enabled", "priority", "config")
PRIORITY = 100  # of an installed plugin that nobody preferred
# accepted because existing configurations have it
NO_EFFECT = {"bundle_path": "bundles lie in the state folder, one for each container"}


class _Seen:
    """The last file that was read: a run asks for it many times, and it may name hundreds of plugins."""

    mark: t.ClassVar[tuple[t.Any, ...]] = ()  # what tells that it is the same
    content: t.ClassVar[dict[str, t.Any]] = {}
    checked: t.ClassVar[dict[str, t.Any]] = {}  # the content whose plugins are as they should be


def read(layout: Layout) -> dict[str, dict[str, t.Any]]:
    """The settings of all plugins by full name; empty where no file exists.

    Raises:
        NexcageError: ``E_STATE`` where the file is not what it should be, ``E_PRIVILEGE``.
    """
    path, content = load(layout)
    section = content.get("plugins", {})
    if not isinstance(section, dict):
        raise _damaged(path, "plugins is not a mapping")
    if _Seen.checked is not content:
        for name, entry in section.items():
            _check(path, name, entry)
        _Seen.checked = content
    return section


def load(layout: Layout) -> tuple[str, dict[str, t.Any]]:
    """Path and content of the configuration file; where there is none, the path of one to make, and nothing.

    Raises:
        NexcageError: ``E_STATE`` where the file is not what it should be, ``E_PRIVILEGE``.
    """
    for name in FILES:
        path = f"{layout.configuration}/{name}"
        content = load_file(path)
        if content is not None:
            return path, content
    return f"{layout.configuration}/{FILE}", {}


def load_file(path: str) -> dict[str, t.Any] | None:
    """The content of one configuration file, ``None`` where it does not exist; the errors are those of :func:`load`.

    It is the same object each time, which nobody may change; a file that was written meanwhile is read anew.
    """
    try:
        facts = os.stat(path)
    except OSError:
        return _parsed(path)
    mark = path, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    if _Seen.mark != mark:
        content = _parsed(path)
        if content is None:
            return None
        _Seen.mark, _Seen.content = mark, content
    return _Seen.content


def _parsed(path: str) -> dict[str, t.Any] | None:
    try:
        data = store.read_bytes(path)
    except OSError as error:
        raise NexcageError("E_PRIVILEGE", f"{path} cannot be read: {error.strerror}", value=path) from error
    if data is None:
        return None
    if len(data) > LARGEST:
        raise _damaged(path, f"it has {len(data)} bytes, and {LARGEST} are allowed")
    try:
        content = json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is no mapping")
    return content


def _refuse(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _value in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)} stands there twice")
    return found


def _check(path: str, name: str, entry: object) -> None:
    """One plugin's entry; sections of other shapes (``backend-config`` and the like) have none of its keys."""
    if not isinstance(entry, dict):
        if not name.endswith("-backend"):
            return
        raise _damaged(path, f"plugins.{name} is not a mapping")
    for key, kind in (("enabled", bool), ("priority", int), ("config", dict)):
        value = entry.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise _damaged(path, f"plugins.{name}.{key} is {value!r}, which is not of type {kind.__name__}")


def _damaged(path: str, message: str) -> NexcageError:
    return NexcageError("E_STATE", f"{path}: {message}", value=path, remedy="correct the file; it was left as it is")


def changed(current: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> dict[str, tuple[t.Any, t.Any]]:
    """Key to (before, after) for each of ``KEYS`` that is wanted and differs."""
    return {key: (current[key], wanted[key]) for key in KEYS if wanted.get(key) is not None and current[key] != wanted[key]}


def write(layout: Layout, name: str, values: t.Mapping[str, t.Any], private: bool = False) -> None:
    """Set some keys of one plugin's entry, atomically.

    Operators edit the file by hand too: it is written for readers, a link stays a link, and a file
    that not everybody could read stays so.

    Args:
        layout: Where the file lies.
        name: The plugin's full name.
        values: The keys to set.
        private: Whether a secret is among them; then nobody but the owner may read the file from now on.

    Raises:
        NexcageError: ``E_STATE`` where the file is not what it should be or cannot be written,
            ``E_SPACE``, ``E_LOCKED``.
    """
    with store.Lock(f"{layout.runtime}/locks/.{FILE}", 10.0, f"process {os.getpid()}: settings of {name}"):
        read(layout)
        found, content = load(layout)
        path = os.path.realpath(found)
        section = content.get("plugins", {})
        content = {**content, "plugins": {**section, name: {**section.get(name, {}), **values}}}
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o644
        mode &= 0o600 if private else 0o777
        store.atomic_write(path, (json.dumps(content, indent=2) + "\n").encode("ascii"), mode)


def secret_names(manifest: t.Mapping[str, t.Any]) -> frozenset[str]:
    """The settings of a plugin whose values nobody is shown."""
    return frozenset(name for name, entry in (manifest.get("configuration") or {}).items() if entry.get("sensitive"))


def hidden(manifest: t.Mapping[str, t.Any], config: t.Collection[str]) -> frozenset[str]:
    """The same of an installed plugin, and of what is set those that it does not declare: in another version they may be secret."""
    return secret_names(manifest) | (frozenset(config) - frozenset(manifest.get("configuration") or ()))


def shown(config: t.Mapping[str, t.Any], secret: t.Collection[str]) -> dict[str, t.Any]:
    """A plugin's config for a result."""
    return {name: MASK if name in secret else value for name, value in config.items()}


def checked_config(declared: t.Mapping[str, t.Mapping[str, t.Any]], config: t.Mapping[str, t.Any], plugin: str) -> dict[str, t.Any]:
    """The operator's ``config`` against what the manifest declares under ``configuration``.

    Raises:
        NexcageError: ``E_INVALID`` naming the key, the value and what is allowed.
    """
    for key, value in config.items():
        entry = declared.get(key)
        if entry is None:
            known = ", ".join(sorted(declared)) or "none"
            # without its value: a secret may stand behind a name that was mistyped
            raise NexcageError("E_INVALID", f"{plugin} has no such setting", option=f"config.{key}", remedy=f"its settings: {known}")
        kinds = {"string": str, "path": str, "integer": int, "boolean": bool, "number": (int, float)}
        kind = kinds[str(entry["type"])]
        if not isinstance(value, t.cast(type, kind)) or (isinstance(value, bool) and entry["type"] != "boolean"):
            told = None if entry.get("sensitive") else value
            raise NexcageError("E_INVALID", f"not of type {entry['type']}", option=f"config.{key}", value=told)
        if entry["type"] == "path" and not str(value).startswith("/"):
            raise NexcageError("E_INVALID", "not an absolute path", option=f"config.{key}", value=value)
    return dict(config)
