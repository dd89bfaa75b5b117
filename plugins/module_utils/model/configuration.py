# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A configuration against the table of its keys: what holds, where it comes from, what is wrong, what does nothing."""

from __future__ import annotations

import math
import re
import typing as t

from . import routing
from .configuration_table import KEYS, MANAGER, Key
from .errors import NexcageError

DEFAULT = "default"  # the source of a value that no file gives
MASK = "********"
SECRETS = re.compile(r"token|password|passwd|secret|credential|api_?key", re.IGNORECASE)
REMEDY = "correct the file; docs/configuration.md of the collection has all of its keys"
MANAGER_SECTION = "plugin_manager"

# kind -> what it is called
KINDS = {
    "string": "a string",
    "path": "an absolute path",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "strings": "a list of strings",
    "rules": "a list of rules, each with pattern and runtime",
    "any": "anything",
}


class Setting(t.NamedTuple):
    """One key with its value.

    Args:
        path: With dots, without any ``*``.
        value: What holds; secrets as they are.
        source: The file that says so, or ``DEFAULT``.
        key: The row of the table.
    """

    path: str
    value: t.Any
    source: str
    key: Key

    @property
    def shown(self) -> t.Any:
        """The value without secrets."""
        return mask(self.value, self.path, self.key.sensitive)

    def as_dict(self) -> dict[str, t.Any]:
        """For a result."""
        return {
            "key": self.path,
            "value": self.shown,
            "source": self.source,
            "effective": bool(self.key.effect),
            "note": self.key.effect or self.key.reason,
        }


class Configuration(t.NamedTuple):
    """What a file, or the lack of one, comes to.

    Args:
        settings: Every key of the table without ``*``, and what else the file has, in the table's order.
        unknown: Paths that no table knows, in the file's order; all below them is unknown too.
        problems: What is of the wrong type or out of range; such a key stands with its default.
    """

    settings: tuple[Setting, ...]
    unknown: tuple[str, ...]
    problems: tuple[NexcageError, ...]

    def refuse(self) -> None:
        """Raise where anything is wrong.

        Raises:
            NexcageError: ``E_INVALID``, the first problem; its details hold all of them.
        """
        if self.problems:
            first = self.problems[0]
            first.details["problems"] = [str(problem) for problem in self.problems]
            raise first

    def value(self, path: str) -> t.Any:
        """The value of one key that has no ``*``."""
        return next(setting.value for setting in self.settings if setting.path == path)


def parse(content: t.Mapping[str, t.Any], source: str, defaults: t.Mapping[str, t.Any] | None = None) -> Configuration:
    """The configuration that a file's content comes to.

    Args:
        content: The file's JSON object.
        source: The file's path, for what comes from it.
        defaults: Path to default, where another one than the table's holds on this host.
    """
    walker = _Walker(source, str(content.get("routing_compat", routing.STANDARD)))
    walker.section((), _TREE, content)
    settings = {setting.path: setting for setting in walker.settings}
    given = [path for path in settings if settings[path].key.path != path]
    for key in KEYS:
        if "*" not in key.path and key.path not in settings:
            settings[key.path] = Setting(key.path, (defaults or {}).get(key.path, key.default), DEFAULT, key)
    order = {key.path: number for number, key in enumerate(KEYS)}
    ordered = sorted((path for path in settings if path not in given), key=lambda path: order[path])
    return Configuration(tuple(settings[path] for path in ordered + given), tuple(walker.unknown), tuple(walker.problems))


def manager(content: t.Mapping[str, t.Any], defaults: t.Mapping[str, t.Any] | None = None) -> dict[str, t.Any]:
    """The twelve settings of the manager of plugins by their short names.

    Args:
        content: The configuration's JSON object.
        defaults: As in :func:`parse`.

    Raises:
        NexcageError: ``E_INVALID`` naming key, value and what is allowed.
    """
    section = content.get(MANAGER_SECTION, {})
    if not isinstance(section, dict):
        raise _invalid(MANAGER_SECTION, section, "a mapping")
    found = {}
    for key in MANAGER:
        name = key.path.rpartition(".")[2]
        value = section.get(name)
        if name in section:
            check(key, key.path, value)
        found[name] = value if name in section else (defaults or {}).get(key.path, key.default)
    return found


def check(key: Key, path: str, value: t.Any, mode: str = routing.STANDARD) -> None:
    """Refuse a value that the key does not allow.

    Args:
        key: The row of the table.
        path: Where the value stands.
        value: The value.
        mode: How patterns of routing are read.

    Raises:
        NexcageError: ``E_INVALID`` naming path, value and what is allowed.
    """
    if key.kind == "rules" and isinstance(value, list):
        for number, rule in enumerate(value):
            routing.check_rule(f"{path}[{number}]", rule, mode)
    elif not _CHECKS[key.kind](key, value):
        raise _invalid(path, mask(value, path, key.sensitive), allowed(key))


def allowed(key: Key) -> str:
    """What values a key may have, such as ``an integer from 1 to 1000``."""
    if key.choices:
        return "one of " + ", ".join(key.choices)
    text = KINDS[key.kind]
    if key.kind == "string" and key.minimum is not None:
        return f"{text} of {key.minimum:g} or more characters"
    if key.maximum is not None:
        return f"{text} from {key.minimum:g} to {key.maximum:g}"
    return text if key.minimum is None else f"{text} of {key.minimum:g} or more"


def mask(value: t.Any, path: str, sensitive: bool = False) -> t.Any:
    """The value without secrets: those of keys that say so, and of keys whose name does."""
    if isinstance(value, dict):
        return {name: mask(entry, f"{path}.{name}", sensitive) for name, entry in value.items()}
    if isinstance(value, list):
        return [mask(entry, path, sensitive) for entry in value]
    secret = sensitive or SECRETS.search(path.rpartition(".")[2])
    return MASK if secret and value not in (None, "") and not isinstance(value, bool) else value


def leaves(content: t.Mapping[str, t.Any]) -> t.Iterator[tuple[tuple[str, ...], t.Any]]:
    """The names on the way to all that is no mapping, and to empty mappings, with its value, in the file's order."""
    waiting: list[tuple[tuple[str, ...], t.Any]] = [((), content)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [((*path, name), entry) for name, entry in reversed(list(value.items()))]
        elif path:
            yield path, value


def find(path: t.Sequence[str]) -> Key | None:
    """The row for a path, ``None`` where no table knows it; a name of its own comes before ``*``."""
    node = _TREE
    for name in path:
        below = node.below.get(name) or node.below.get("*")
        if below is None:
            everything = node.below.get("**")
            return everything.key if everything else None
        node = below
    return node.key


class _Node:
    """One name in the tree of all keys."""

    def __init__(self) -> None:
        self.key: Key | None = None
        self.below: dict[str, _Node] = {}


def _tree() -> _Node:
    root = _Node()
    for key in KEYS:
        node = root
        for name in key.path.split("."):
            node = node.below.setdefault(name, _Node())
        node.key = key
    return root


_TREE = _tree()


class _Walker:
    """Goes through a file's content along the tree of all keys."""

    def __init__(self, source: str, mode: str) -> None:
        self.source = source
        self.mode = mode
        self.settings: list[Setting] = []
        self.unknown: list[str] = []
        self.problems: list[NexcageError] = []

    def section(self, path: tuple[str, ...], node: _Node, content: t.Mapping[str, t.Any]) -> None:
        """One mapping; no deeper than the tree is."""
        for name, value in content.items():
            here = (*path, name)
            found = node.below.get(name) or node.below.get("*") or node.below.get("**")
            if found is None:
                self.unknown.append(".".join(here))
            elif found.key is not None:
                self._leaf(".".join(here), found.key, value)
            elif isinstance(value, dict):
                self.section(here, found, value)
            else:
                self.problems.append(_invalid(".".join(here), mask(value, ".".join(here)), "a mapping"))

    def _leaf(self, path: str, key: Key, value: t.Any) -> None:
        try:
            check(key, path, value, self.mode)
        except NexcageError as problem:
            self.problems.append(problem)
        else:
            self.settings.append(Setting(path, value, self.source, key))


def _text(key: Key, value: object) -> bool:
    return isinstance(value, str) and len(value) >= (key.minimum or 0) and (not key.choices or value in key.choices)


def _number(key: Key, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if key.kind == "number" else int):
        return False
    finite = isinstance(value, int) or math.isfinite(value)
    return finite and (key.minimum is None or value >= key.minimum) and (key.maximum is None or value <= key.maximum)


_CHECKS: dict[str, t.Callable[[Key, t.Any], bool]] = {
    "string": _text,
    "path": lambda _key, value: isinstance(value, str) and value.startswith("/") and "\0" not in value,
    "integer": _number,
    "number": _number,
    "boolean": lambda _key, value: isinstance(value, bool),
    "strings": lambda _key, value: isinstance(value, list) and all(isinstance(entry, str) for entry in value),
    "rules": lambda _key, value: isinstance(value, list),
    "any": lambda _key, _value: True,
}


def _invalid(path: str, value: object, what: str) -> NexcageError:
    return NexcageError("E_INVALID", f"it must be {what}", option=path, value=value, remedy=REMEDY)
