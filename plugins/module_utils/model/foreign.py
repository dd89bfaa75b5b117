# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Containers of backends that the OCI engine knows nothing of: what was wanted, what their backend tells, and both together.

Pure. What exists, the backend tells; what was wanted, our record tells; and whose a container is, the mark: a random word
that is given to ``create``, that the backend keeps on the container, and that ``list`` and ``info`` return.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import typing as t

from .container import NAME_PATTERN, ContainerSpec, canonical_json, key_id
from .errors import NexcageError
from .options import BY_NAME, Option, misshapen, show

SCHEMA_VERSION = 1
MADE, CREATING, UPDATING = "made", "creating", "updating"
STATUSES = ("created", "running", "paused", "stopped", "incomplete")
MARK_BYTES = 16
_MARK = re.compile(rf"[0-9a-f]{{{2 * MARK_BYTES}}}")
_TEXT_LENGTH = 512  # characters of one text in an answer
_DETAILS = 32  # entries of "details"
_TEXTS = ("id", "image_digest", "created", "started", "finished")
_NUMBERS = ("pid", "exit_code")

Values = t.Mapping[str, t.Any]


class Earlier(t.NamedTuple):
    """What a container was before a change that is under way."""

    mark: str
    spec: ContainerSpec


class Record(t.NamedTuple):
    """What was wanted of one container.

    Args:
        name: The container.
        backend: Full name of the plugin that holds it.
        mark: What stands on the container that this record is about.
        spec: What it shall be, secrets masked.
        phase: ``made``; ``creating`` and ``updating`` until the backend has done it.
        created: When it was made, ISO 8601.
        before: What it was, while that may still be so.
    """

    name: str
    backend: str
    mark: str
    spec: ContainerSpec
    phase: str = MADE
    created: str = ""
    before: Earlier | None = None

    def as_json(self, key: bytes) -> dict[str, t.Any]:
        """The record as it lies on disk, sealed."""
        before = None if self.before is None else {"mark": self.before.mark, "spec": self.before.spec.values}
        content = {**self._asdict(), "schema_version": SCHEMA_VERSION, "spec": self.spec.values, "before": before, "key": key_id(key)}
        return {**content, "seal": _seal(content, key)}


def sealed(value: Values, key: bytes) -> bool:
    """Whether what lies on disk is what this host wrote."""
    content = {name: entry for name, entry in value.items() if name != "seal"}
    return hmac.compare_digest(str(value.get("seal")).encode("utf-8", "replace"), _seal(content, key).encode())


def _seal(content: Values, key: bytes) -> str:
    return hmac.new(key, canonical_json(content), hashlib.sha256).hexdigest()


def parse(value: t.Any, name: str, backend: str, path: str) -> Record:
    """The record in what lies on disk.

    Raises:
        NexcageError: ``E_STATE`` naming the file, where it is none, or of a later version.
    """
    version = value.get("schema_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        message = f"{path} has schema version {version}, this collection knows {SCHEMA_VERSION}"
        raise NexcageError("E_STATE", message, value=path, remedy="use the newer collection that wrote it")
    if version == SCHEMA_VERSION and _typed(value) and (value["name"], value["backend"]) == (name, backend):
        before = value["before"]
        earlier = None if before is None else Earlier(before["mark"], ContainerSpec(before["spec"]))
        return Record(name, backend, value["mark"], ContainerSpec(value["spec"]), value["phase"], value["created"], earlier)
    raise NexcageError(
        "E_STATE",
        f"{path} is no record of the container {name}",
        value=path,
        remedy="restore it from a backup; or remove the container by its backend's own means, and then this file",
    )


def _typed(value: Values) -> bool:
    before = value.get("before")
    texts = all(isinstance(value.get(field), str) for field in ("name", "backend", "created"))
    marked = [value] if before is None else [value, before]
    return texts and value.get("phase") in (MADE, CREATING, UPDATING) and all(isinstance(entry, dict) and _whole(entry) for entry in marked)


def _whole(entry: Values) -> bool:
    return isinstance(entry.get("mark"), str) and _MARK.fullmatch(entry["mark"]) is not None and isinstance(entry.get("spec"), dict)


# ---- what a backend tells


def answer(value: t.Any, names: t.Collection[str] | None, plugin: str) -> dict[str, dict[str, t.Any]]:
    """What a plugin's ``list`` returned, by name; it was written by a stranger.

    Args:
        value: The list of records.
        names: Those that were asked for; ``None`` where all were. Others are passed over.
        plugin: Whose answer it is, for an error.

    Raises:
        NexcageError: ``E_PROTOCOL`` naming the container and the field.
    """
    if not isinstance(value, list):
        raise _broken(plugin, "list", "a list of records is needed")
    found: dict[str, dict[str, t.Any]] = {}
    for item in value:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise _broken(plugin, "name", "each record needs the name of a container")
        if not NAME_PATTERN.fullmatch(name) or (names is not None and name not in names):
            continue
        if name in found:
            raise _broken(plugin, "name", f"{name} is in the list twice")
        found[name] = _entry(item, f"{plugin}: {name}")
    return found


def _entry(item: Values, where: str) -> dict[str, t.Any]:
    if item.get("status") not in STATUSES:
        raise _broken(where, "status", f"not one of {', '.join(STATUSES)}")
    entry: dict[str, t.Any] = {"name": item["name"], "status": item["status"], "mark": str(item.get("mark") or "")}
    for field in _TEXTS:
        entry[field] = _text(item.get(field), where, field)
    for field in _NUMBERS:
        number = item.get(field)
        if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
            raise _broken(where, field, "not a whole number")
        entry[field] = number
    entry["observed"] = _observed(item.get("observed") or {}, where)
    entry["details"] = _details(item.get("details") or {}, where)
    return entry


def _text(value: t.Any, where: str, field: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _TEXT_LENGTH or not value.isprintable():
        raise _broken(where, field, f"not a printable text of at most {_TEXT_LENGTH} characters")
    return value


def _observed(value: t.Any, where: str) -> dict[str, t.Any]:
    """Canonical values by option, as the backend sees them now."""
    if not isinstance(value, dict):
        raise _broken(where, "observed", "not an object")
    for name, entry in value.items():
        option = BY_NAME.get(name)
        if option is None or option.parse is None or option.sensitive:
            raise _broken(where, "observed", f"{ascii(name)[:64]} is no option that can be observed")
        if misshapen({name: entry}) or not _shows(option, entry):
            raise _broken(where, f"observed.{name}", "not a canonical value of that option")
    return {name: entry for name, entry in value.items() if entry is not None}


def _shows(option: Option, value: t.Any) -> bool:
    """Whether a value can stand in a diff."""
    try:
        show(option, value)
    except (TypeError, ValueError):
        return False
    return True


def _details(value: t.Any, where: str) -> dict[str, t.Any]:
    if not isinstance(value, dict) or len(value) > _DETAILS:
        raise _broken(where, "details", f"not an object of at most {_DETAILS} entries")
    for key, entry in value.items():
        if not key.isprintable() or not isinstance(entry, (str, int, float, type(None))):
            raise _broken(where, "details", "not names with texts, numbers, true or false")
        if isinstance(entry, str):
            _text(entry, where, f"details.{key}")
    return dict(value)


def _broken(where: str, field: str, rule: str) -> NexcageError:
    return NexcageError(
        "E_PROTOCOL", f"{where}: {rule}", option=field, remedy="this is a defect of the plugin; tell its author, or go back to another version of it"
    )


# ---- both together


def observe(record: Record | None, entry: Values | None, name: str, backend: str) -> dict[str, t.Any] | None:
    """One container as the planner takes it, ``None`` where there is none.

    Args:
        record: What was wanted, ``None`` where nothing was.
        entry: What the backend tells, from :func:`answer`; ``None`` where it knows no such container.
        name: The container.
        backend: Full name of the plugin.

    Raises:
        NexcageError: ``E_OWNER`` where there is a container of that name that is not ours.
    """
    if entry is None:
        if record is None or record.before is None or record.phase != CREATING:
            return None
        return _described(record, record.spec, {"status": "incomplete"}, ["a replacement was interrupted; create or delete it again"])
    if record is not None and record.mark == entry["mark"]:
        if record.phase == CREATING:
            return _described(record, record.spec, {**entry, "status": "incomplete"}, ["a create was interrupted; create or delete it again"])
        problems = ["it was removed or made only in part; create or delete it again"] if entry["status"] == "incomplete" else []
        return _described(record, record.spec, {**entry, "observed": {**_unsure(record), **entry["observed"]}}, problems)
    if record is not None and record.before is not None and record.before.mark == entry["mark"]:
        return _described(record, record.before.spec, entry, [])  # the old one has not been touched, or only been stopped
    raise NexcageError(
        "E_OWNER",
        f"{backend} has a container {name} that was not made by this host's nexcage, and nothing is done to it",
        option="name",
        value=name,
        remedy="choose another name, or remove that container by its backend's own means",
        details={"plugin": backend},
    )


def _unsure(record: Record) -> dict[str, t.Any]:
    """Of an update that may or may not have been done: what it changes is neither the old nor the new value."""
    if record.phase != UPDATING or record.before is None:
        return {}
    old, new = record.before.spec.values, record.spec.values
    return dict.fromkeys(name for name in {*old, *new} if old.get(name) != new.get(name))


def _described(record: Record, spec: ContainerSpec, entry: Values, problems: list[str]) -> dict[str, t.Any]:
    values, observed = spec.values, entry.get("observed") or {}
    known = {**values, **{name: value for name, value in observed.items() if value is not None}}
    return {
        "id": entry.get("id") or record.name,
        "name": record.name,
        "backend": record.backend,
        "status": entry["status"],
        "pid": entry.get("pid") or 0,
        "image": values.get("image"),
        "image_digest": entry.get("image_digest"),
        "created": entry.get("created") or record.created or None,
        "started": entry.get("started"),
        "finished": entry.get("finished"),
        "exit_code": entry.get("exit_code") if entry["status"] == "stopped" else None,
        "labels": values.get("labels") or {},
        "networks": [],
        "ports": [],
        "spec": values,
        "observed": observed,
        "resources": {name: value for name, value in known.items() if name in BY_NAME and BY_NAME[name].path.startswith("resources.")},
        "problems": problems,
        "backend_details": {**(entry.get("details") or {}), "log": (entry.get("details") or {}).get("log")},
    }
