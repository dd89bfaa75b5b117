# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers of installed backends that do without the OCI engine: our record of each, and the operations around it.

The record lies at ``foreign/PLUGIN/NAME.json`` in the state folder. It is written before what it speaks of is done, with
what was before, and again when it is done: whenever a run is killed, the next one asks the backend and knows what to do.
Imported only where a plugin without an OCI runtime is used, or such records lie on the host.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..broker import key, store
from ..model import foreign, options
from ..model.config import Layout
from ..model.container import NAME_PATTERN, ContainerSpec
from ..model.errors import NexcageError
from ..model.plan import RUNNING
from . import registry

if t.TYPE_CHECKING:
    from ..broker.handlers import Order
    from .dispatch import Session

    Values = t.Mapping[str, t.Any]

FOLDER = "/foreign"  # below the state folder
SUFFIX = ".json"
WAYS = ("backend", "state", "recreate", "replace_backend", "wait", "timeout")  # options that no backend sees
FORMS = {"env_file": "env", "volumes": "mounts", "tmpfs": "mounts"}


def place(layout: Layout, backend: str, name: str) -> str:
    """Where the record of a container lies."""
    return f"{layout.state}{FOLDER}/{backend}/{name}{SUFFIX}"


def owner(layout: Layout, name: str) -> str | None:
    """Full name of the plugin that holds that container by our records, ``None`` where none does.

    Two have a record while it moves from one to the other; until it has gone from the first one, that one holds it.
    """
    having = [backend for backend in _backends(layout) if os.path.lexists(place(layout, backend, name))]
    return next((backend for backend in having if len(having) == 1 or not _coming(layout, backend, name)), having[0] if having else None)


def _coming(layout: Layout, backend: str, name: str) -> bool:
    """Whether a record speaks of a container that is yet to be made."""
    try:
        record = read(layout, backend, name)
    except NexcageError:  # whoever needs it is told
        return False
    return record is not None and record.phase == foreign.CREATING


def settle(layout: Layout, name: str, holder: str) -> None:
    """Remove what a move that was interrupted before it began has left of a container with other backends than its own."""
    for backend in _backends(layout):
        if backend != holder and _coming(layout, backend, name):
            _remove(layout, backend, name)


def held(layout: Layout) -> dict[str, list[str]]:
    """The names of all recorded containers, sorted, by the full name of the plugin."""
    found = {backend: _names(f"{layout.state}{FOLDER}/{backend}") for backend in _backends(layout)}
    return {backend: names for backend, names in found.items() if names}


def _backends(layout: Layout) -> list[str]:
    try:
        return sorted(os.listdir(layout.state + FOLDER))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _names(folder: str) -> list[str]:
    try:
        entries = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    names = (entry[: -len(SUFFIX)] for entry in entries if entry.endswith(SUFFIX))
    return sorted(name for name in names if NAME_PATTERN.fullmatch(name))


def read(layout: Layout, backend: str, name: str) -> foreign.Record | None:
    """The record of a container, ``None`` where there is none.

    Raises:
        NexcageError: ``E_STATE`` where it is damaged, or of a later version.
    """
    path = place(layout, backend, name)
    value = store.read_json(path)
    return None if value is None else foreign.parse(value, name, backend, path)


def _write(layout: Layout, record: foreign.Record) -> None:
    path = place(layout, record.backend, record.name)
    for folder in (layout.state + FOLDER, os.path.dirname(path)):  # each for the owner alone
        store.ensure_folder(folder)
    store.checkpoint(f"foreign:{record.phase}")
    store.write_json(path, record.as_json(key.host_key(layout, make=True)))
    store.checkpoint(f"foreign:{record.phase}:written")


def _remove(layout: Layout, backend: str, name: str) -> None:
    path = place(layout, backend, name)
    store.remove(path)
    with contextlib.suppress(OSError):  # other containers have their records there
        os.rmdir(os.path.dirname(path))


# ---- what there is


def one(session: Session, plugin: registry.Plugin, name: str) -> dict[str, t.Any] | None:
    """The observation of one container.

    Raises:
        NexcageError: ``E_OWNER`` where that backend has one of that name that is not ours; ``E_STATE``, ``E_PROTOCOL``.
    """
    return _observed(session.layout, plugin.name, name, _look(session, plugin, [name]).get(name))


def _observed(layout: Layout, backend: str, name: str, entry: Values | None) -> dict[str, t.Any] | None:
    """Record and backend put together; of one that has left for another backend, and is not there yet, what that one has."""
    found = foreign.observe(read(layout, backend, name), entry, name, backend)
    if found is None:
        for other in _backends(layout):
            if other != backend and _coming(layout, other, name):
                backend, found = other, foreign.observe(read(layout, other, name), None, name, other)
    return found and {**found, "record": place(layout, backend, name)}


def _look(session: Session, plugin: registry.Plugin, names: list[str] | None) -> dict[str, dict[str, t.Any]]:
    return foreign.answer(session.operate(plugin, "list", {"names": names}), names, plugin.name)


def everything(session: Session, backend: str | None = None) -> dict[str, dict[str, t.Any]]:
    """The observations of all containers by name, one listing for each plugin that has any; what cannot be told is a warning.

    Raises:
        NexcageError: Where the one backend that was asked for cannot tell.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for holder, names in held(session.layout).items():
        if backend not in (None, registry.short_name(holder)):
            continue
        try:
            found.update(_all_of(session, registry.holding(holder, session.layout, names[0]), names))
        except NexcageError as error:
            if backend is not None:
                raise
            session.leave_out(holder, names, error)
    return found


def _all_of(session: Session, plugin: registry.Plugin, names: list[str]) -> dict[str, dict[str, t.Any]]:
    listed = _look(session, plugin, None)
    found: dict[str, dict[str, t.Any]] = {}
    for name in names:
        if owner(session.layout, name) != plugin.name:
            continue
        try:
            observed = _observed(session.layout, plugin.name, name, listed.get(name))
        except NexcageError as error:
            session.leave_out(plugin.name, [name], error)
            continue
        if observed is not None:
            found[name] = observed
    return found


def damage(found: Values, host_key: bytes) -> str:
    """What somebody else has done to the record of an observation; empty where nothing."""
    value = store.read_json(found["record"])
    # a spec that is empty was not sealed when the container was to be made again: see _earlier
    return "" if value is not None and found["spec"] and foreign.sealed(value, host_key) else "its record was changed behind our back"


# ---- before anything changes


def check_supported(plugin: registry.Plugin, parameters: Values) -> None:
    """Refuse the options that the plugin's manifest does not name.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` naming option and value.
    """
    known = plugin.manifest["options"]
    for option in options.OPTIONS:
        value = parameters.get(option.name)
        if value is not None and value != option.default and option.name not in WAYS and FORMS.get(option.name, option.name) not in known:
            raise NexcageError(
                "E_UNSUPPORTED",
                f"the backend {plugin.backend} does not support it",
                option=option.name,
                value=None if option.sensitive else value,
                remedy=f"remove it, or use another backend; {plugin.backend} has: {', '.join(known) or 'none'}",
                details={"plugin": plugin.name},
            )


def check(session: Session, plugin: registry.Plugin, order: Order, name: str, makes: bool) -> None:
    """Refuse what the backend would refuse.

    Args:
        session: The module run.
        plugin: Who shall hold the container.
        order: What the task says.
        name: The container.
        makes: Whether it is to be made, and not only changed.

    Raises:
        NexcageError: ``E_OWNER`` where the backend has another one of that name, ``E_INVALID`` where its secrets
            are not known any more, and whatever the plugin's ``check`` refuses.
    """
    if makes:
        one(session, plugin, name)
        lost = sorted(set(order.spec.get("secret_env") or {}) - set(order.secrets))
        if lost:
            raise NexcageError(
                "E_INVALID",
                f"{name} has to be made again, and this task does not give the secrets {', '.join(lost)}; only their HMAC was kept",
                option="secret_env",
                remedy="give secret_env with all of them, or secret_env: {} where it shall have none",
            )
    if "check" in plugin.manifest["operations"]:
        session.operate(plugin, "check", {"name": name, "spec": options.public(order.spec)})


# ---- doing it


def act(session: Session, plugin: registry.Plugin, holder: registry.Plugin, kind: str, params: Values) -> None:
    """Do one action of a plan where the container is, or shall be, with a backend of its own kind.

    Args:
        session: The module run.
        plugin: Who shall hold the container.
        holder: Who holds it now.
        kind: The action: ``create replace update start stop pause resume delete``.
        params: Those of the operation; ``name`` is the container.
    """
    name = params["name"]
    if kind == "delete":
        _delete(session, holder, name)
    elif kind == "stop":
        session.operate(holder, "stop", params)
    elif kind == "update":
        _update(session, plugin, session.orders[name], name)
    elif kind == "replace" and plugin.name != holder.name:
        _move(session, plugin, holder, params, session.orders[name])
    elif kind in ("create", "replace"):
        if plugin.name != holder.name:  # which does not have it any more
            tidy(session, holder, name)
        _make(session, plugin, kind, params, session.orders[name])
    else:
        session.operate(plugin, kind, params)


def _make(session: Session, plugin: registry.Plugin, kind: str, params: Values, order: Order) -> None:
    """Create it, or make it again; what an interrupted run left of it goes first."""
    name, layout = params["name"], session.layout
    if not plugin.foreign:
        session.operate(plugin, kind, params)
        return
    old = read(layout, plugin.name, name)
    before = None if old is None else _earlier(layout, old, kind)
    if old is not None and kind == "create":
        _clear(session, plugin, old)
    record = foreign.Record(name, plugin.name, os.urandom(foreign.MARK_BYTES).hex(), order.spec, foreign.CREATING, before=before)
    _write(layout, record)
    given = {**params, "mark": record.mark, "spec": options.public(order.spec)}
    try:
        session.operate(plugin, kind, given if kind == "create" else {**given, **order.ending})
    except NexcageError:
        with contextlib.suppress(NexcageError):
            tidy(session, plugin, name)
        raise
    _write(layout, record._replace(phase=foreign.MADE, created=_now(), before=None))


def _earlier(layout: Layout, old: foreign.Record, kind: str) -> foreign.Earlier | None:
    """What the container was, for the record of what takes its place; of one that is not sealed by this host the mark alone.

    What somebody forged would be sealed by us otherwise, and count where the old container stays.
    """
    before = old.before if old.phase == foreign.CREATING else None
    if before is None and kind == "replace":
        before = foreign.Earlier(old.mark, old.spec)
    if before is None or foreign.sealed(store.read_json(place(layout, old.backend, old.name)), key.host_key(layout, make=True)):
        return before
    return before._replace(spec=ContainerSpec({}))


def _move(session: Session, plugin: registry.Plugin, holder: registry.Plugin, params: Values, order: Order) -> None:
    """From one backend to another, which know nothing of each other: there is a moment without it."""
    name = params["name"]
    if plugin.foreign:  # from now on all that it shall be is known here, too
        marks = [os.urandom(foreign.MARK_BYTES).hex() for _turn in range(2)]
        _write(session.layout, foreign.Record(name, plugin.name, marks[0], order.spec, foreign.CREATING, before=foreign.Earlier(marks[1], order.spec)))
    session.operate(holder, "stop", {"name": name, **order.ending})
    _delete(session, holder, name)
    _make(session, plugin, "create", params, order)


def _update(session: Session, plugin: registry.Plugin, order: Order, name: str) -> None:
    old = read(session.layout, plugin.name, name)
    if old is None:  # nothing was planned without it
        raise NexcageError("E_STATE", f"the record of {name} is gone", option="name", value=name)
    record = old._replace(spec=order.spec, phase=foreign.UPDATING, before=foreign.Earlier(old.mark, old.spec))
    _write(session.layout, record)
    session.operate(plugin, "update", {"name": name, "changes": dict(order.changes), "spec": options.public(order.spec)})
    _write(session.layout, record._replace(phase=foreign.MADE, before=None))


def _delete(session: Session, holder: registry.Plugin, name: str) -> None:
    if not holder.foreign:
        session.operate(holder, "delete", {"name": name})
        return
    record = read(session.layout, holder.name, name)
    if record is not None and record.phase == foreign.CREATING:
        _clear(session, holder, record)
    else:
        session.operate(holder, "delete", {"name": name})
    store.checkpoint("foreign:deleted")
    _remove(session.layout, holder.name, name)
    store.checkpoint("foreign:forgotten")


def _clear(session: Session, plugin: registry.Plugin, record: foreign.Record) -> None:
    """Remove what an interrupted create or replacement left, running or not.

    Raises:
        NexcageError: ``E_OWNER`` where what is there is not ours.
    """
    entry = _look(session, plugin, [record.name]).get(record.name)
    if entry is None:
        return
    foreign.observe(record, entry, record.name, plugin.name)
    if entry["status"] in RUNNING:
        session.operate(plugin, "stop", {"name": record.name, "signal": None, "timeout": None, "force": True})
    session.operate(plugin, "delete", {"name": record.name})


def tidy(session: Session, plugin: registry.Plugin, name: str) -> None:
    """Remove the record of a container that its backend does not have any more."""
    if not plugin.foreign:
        return
    record = read(session.layout, plugin.name, name)
    if record is not None and foreign.observe(record, _look(session, plugin, [name]).get(name), name, plugin.name) is None:
        _remove(session.layout, plugin.name, name)


def outcome(value: t.Any, plugin: registry.Plugin) -> dict[str, t.Any]:
    """What an ``exec`` that no command of the broker carried out returned: ``rc``, ``stdout`` and ``stderr`` as text.

    Raises:
        NexcageError: ``E_PROTOCOL``.
    """
    import base64

    code = value.get("rc") if isinstance(value, dict) else None
    texts = [value.get(stream, "") for stream in ("stdout", "stderr")] if isinstance(value, dict) else []
    if not isinstance(code, int) or isinstance(code, bool) or not all(isinstance(text, str) for text in texts):
        message = f"{plugin.name}: exec returns rc, a whole number, and stdout and stderr, texts"
        raise NexcageError("E_PROTOCOL", message, remedy="this is a defect of the plugin; tell its author", details={"changed": True})
    stdout, stderr = (base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii") for text in texts)
    return {"rc": code, "stdout": stdout, "stderr": stderr, "timed_out": bool(value.get("timed_out"))}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
