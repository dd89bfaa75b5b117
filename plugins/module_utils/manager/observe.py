# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What there is: one container or all, read through their backends, and waiting for it to change."""

from __future__ import annotations

import hashlib
import hmac
import os
import time
import typing as t

from ..broker import store
from ..broker.oci import records
from ..model import options
from ..model.config import Layout
from ..model.container import ContainerSpec, check_name, key_id
from ..model.errors import NexcageError
from . import registry

if t.TYPE_CHECKING:
    from .dispatch import Session

RECORD_KEYS = ("id name backend status pid image image_digest created started finished exit_code labels networks ports resources backend_details").split()
SETTLED = 1.0  # seconds a container must have run before wait: running is content


class Wait(t.NamedTuple):
    """A wait condition: ``running``, ``exited`` or ``port`` with its number."""

    kind: str
    port: int = 0

    def __str__(self) -> str:
        """As the task writes it."""
        return f"port:{self.port}" if self.port else self.kind


def owner(layout: Layout, name: str) -> str | None:
    """Full name of the plugin that holds the container of that name, ``None`` where there is none."""
    container = records.find(records.Places(layout, ""), check_name(name))
    if container is not None:
        return str(container.record["backend"])
    if not _elsewhere(layout, name):
        return None
    from . import foreign

    return foreign.owner(layout, name)


def _elsewhere(layout: Layout, name: str) -> bool:
    """Whether there is a record of that name of a backend without an OCI runtime; :mod:`foreign` is imported only then."""
    folder = layout.state + "/foreign"
    try:
        return any(os.path.lexists(f"{folder}/{backend}/{name}.json") for backend in os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return False


def names(layout: Layout) -> list[str]:
    """The names of all containers that there is a record of, sorted."""
    found = set(records.names(records.Places(layout, "")))
    if os.path.isdir(layout.state + "/foreign"):
        from . import foreign

        found.update(*foreign.held(layout).values())
    return sorted(found)


def settle(layout: Layout, name: str, holder: str) -> None:
    """After a change: nothing is left of a move to another backend that was interrupted before it began."""
    if _elsewhere(layout, name):
        from . import foreign

        foreign.settle(layout, name, holder)


def locked(layout: Layout, name: str, timeout: float) -> store.Lock:
    """The lock of one container for a whole task, from reading to the last action.

    A second run waits, and its timeout names the holder. The engine's own lock is narrower: it keeps
    single operations apart, and is taken below this one.
    """
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lock = store.Lock(f"{layout.runtime}/tasks/{name}", timeout, f"process {os.getpid()}, nexcage_container name={name}, since {since}")
    lock.discard = True
    return lock


def one(session: Session, plugin: registry.Plugin, name: str) -> dict[str, t.Any] | None:
    """The observation of one container."""
    if plugin.foreign:
        from . import foreign

        return foreign.one(session, plugin, name)
    found = session.operate(plugin, "list", {"names": [name]})
    return t.cast("dict[str, t.Any]", found[0]) if found else None


def refuse_misshapen(found: t.Mapping[str, t.Any]) -> None:
    """Refuse a record that somebody has written into: what it says of the container cannot be understood.

    Raises:
        NexcageError: ``E_STATE`` naming the file.
    """
    problem = options.misshapen(found.get("spec") or {})
    if problem:
        remedy = "bring the file back from a backup; or remove the container with state: absent, which needs nothing of that, and make it again"
        raise NexcageError("E_STATE", f"the record of {found['name']} was changed behind our back: {problem}", value=_file(found), remedy=remedy)


def _file(found: t.Mapping[str, t.Any]) -> str:
    """The file of the record."""
    return str(found.get("record") or f"{found['backend_details'].get('bundle')}/record.json")


def damage(found: t.Mapping[str, t.Any], key: bytes) -> str:
    """What somebody else has done to the files that say what the container is; empty where nothing.

    The record has a digest of the bundle's ``config.json``, and that has the seal of the recorded spec.

    Args:
        found: The observation.
        key: The host's key.
    """
    if "record" in found:
        from . import foreign

        return foreign.damage(found, key)
    recorded = found.get("config_sha256")
    if recorded is None:
        return ""
    content = store.read_bytes(found["backend_details"]["bundle"] + "/config.json")
    if content is None:
        return "its config.json is gone"
    if hashlib.sha256(content).hexdigest() != recorded:
        return "its config.json was changed behind our back"
    seal = ContainerSpec(found["spec"]).seal(key)
    return "" if f'"org.nexcage.spec":"{seal}"'.encode() in content else "its record does not match the seal on the container"


class Sealed(t.NamedTuple):
    """Whether what is recorded of a container is what this host wrote.

    Without a valid seal a record is not ours: nothing of it gets into a container that is made or changed.

    Args:
        spec: What is recorded and can be relied on; empty where nothing can.
        damage: What somebody else has done to record or bundle; empty where nothing.
        other_key: Whether another key than that of the host sealed it.
        path: The file of the record; empty where there is none.
    """

    spec: ContainerSpec
    damage: str = ""
    other_key: bool = False
    path: str = ""


def sealed(layout: Layout, found: dict[str, t.Any] | None, own_key: bytes, there: bool) -> Sealed:
    """Look at the record of an observation, on disk: a plugin told the observation.

    Args:
        layout: The host's folders.
        found: The observation; that of a container of the OCI engine gets the recorded spec. ``None`` where there is none.
        own_key: The key of the host.
        there: Whether it was there before this run.

    Raises:
        NexcageError: ``E_STATE`` for a record whose values have wrong types.
    """
    if found is None or (found["status"] == "incomplete" and "record" not in found):
        return Sealed(ContainerSpec({}))
    if "record" in found:
        value = store.read_json(found["record"])
    else:
        kept = records.find(records.Places(layout, ""), found["name"])
        if kept is None:
            return Sealed(ContainerSpec({}))
        value = kept.record
        found.update(spec=value["spec"], config_sha256=value.get("config_sha256"))
        found["backend_details"]["bundle"] = kept.folder
    refuse_misshapen(found)
    path, signed = _file(found), value.get("key") if isinstance(value, dict) else None
    if not there or (signed is not None and signed != key_id(own_key)):
        return Sealed(ContainerSpec({}), other_key=True, path=path)
    spec = ContainerSpec(found.get("spec") or {})
    if "record" not in found and "seal" in value and not hmac.compare_digest(str(value["seal"]).encode(), spec.seal(own_key).encode()):
        return Sealed(ContainerSpec({}), "its record does not match the seal", path=path)
    harm = damage(found, own_key)
    return Sealed(ContainerSpec({}) if harm and "config.json" not in harm else spec, harm, path=path)


def everything(session: Session, backend: str | None = None) -> list[dict[str, t.Any]]:
    """The observations of all containers, one listing per backend that holds any, sorted by name."""
    places = records.Places(session.layout, "")
    held: dict[str | None, list[str]] = {}
    for name in records.names(places):
        held.setdefault(_holder(places, name), []).append(name)
    if None in held:  # nobody knows whose they are: the preferred backend tells that they are damaged
        held.setdefault(next(registry.in_order(session.layout)).name, []).extend(held.pop(None))
    found: dict[str, dict[str, t.Any]] = {}
    for holder in sorted(filter(None, held)):
        if backend in (None, registry.short_name(holder)):
            try:
                plugin = registry.holding(holder, session.layout, held[holder][0])
            except NexcageError as error:
                if backend is not None or error.code not in ("E_QUARANTINED", "E_OWNER"):
                    raise
                session.leave_out(holder, held[holder], error)
                continue
            listed = session.operate(plugin, "list", {"names": None})
            found.update((item["name"], item) for item in listed if item["name"] in held[holder])
    if os.path.isdir(session.layout.state + "/foreign"):
        from . import foreign

        found.update((name, item) for name, item in foreign.everything(session, backend).items() if records.find(places, name) is None)
    return [_known(session, found[name]) for name in sorted(found)]


def _known(session: Session, found: dict[str, t.Any]) -> dict[str, t.Any]:
    """The same, with a warning where its record cannot be understood."""
    try:
        refuse_misshapen(found)
    except NexcageError as error:
        session.warnings.append(f"{error.message} ({error.value})")
    return found


def _holder(places: records.Places, name: str) -> str | None:
    """Full name of the plugin that holds, or began to make, a container; ``None`` where no record can be read."""
    current = records.find(places, name)
    made = [current] if current else [records.read(places, name, identifier) for identifier in records.generations(places, name)]
    return next((str(container.record["backend"]) for container in made if container is not None), None)


def record(found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The engine-neutral record of a result: known keys only, no secret."""
    result = {key: found.get(key) for key in RECORD_KEYS}
    result["pid"] = found.get("pid") or None
    result["backend"] = registry.short_name(str(found["backend"]))
    spec = found.get("spec") or {}
    result["spec"] = {} if options.misshapen(spec) else options.public(ContainerSpec(spec))
    return result


def parse_wait(text: str | None, state: str) -> Wait | None:
    """The option ``wait``.

    Args:
        text: ``running``, ``exited`` or ``port:N``.
        state: What the task wants, aliases resolved.

    Raises:
        NexcageError: ``E_INVALID`` for anything else, and for what that state cannot bring about.
    """
    if text is None:
        return None
    kind, _colon, number = text.partition(":")
    port = int(number) if kind == "port" and number.isascii() and number.isdigit() else 0
    if not ((kind in ("running", "exited") and not number) or 0 < port < 65536):
        raise NexcageError("E_INVALID", "not a wait condition", option="wait", value=text, remedy="write running, exited or port:NUMBER")
    if state in ("absent", "paused") or (state == "stopped" and kind != "exited"):
        raise NexcageError("E_INVALID", f"cannot come true with state {state}", option="wait", value=text, remedy="use state: started, or leave wait out")
    return Wait(kind, port)


def refuse_unreachable(condition: Wait | None, spec: ContainerSpec) -> None:
    """A port of a container that has no network of the host's will never answer.

    Raises:
        NexcageError: ``E_INVALID``.
    """
    if condition is not None and condition.port and spec.get("bundle") is None and spec.get("network_mode") != "host":
        raise NexcageError(
            "E_INVALID", "a container without network has no port", option="wait", value=f"port:{condition.port}", remedy="set network_mode: host"
        )


def refuse_unreached(condition: Wait | None, state: str, name: str, after: str, changed: bool) -> None:
    """Refuse to wait for what the plan does not lead to, before any of it is done.

    Args:
        condition: What to wait for.
        state: What the task wants, aliases resolved.
        name: The container.
        after: Its status once the plan is done.
        changed: Whether the plan does anything.

    Raises:
        NexcageError: ``E_INVALID``.
    """
    if condition is None or after == "running" or (condition.kind == "exited" and after != "created"):
        return
    message = f"cannot come true with state {state}: {name} {'would be' if changed else 'is'} {after}"
    message += " and will not exit" if condition.kind == "exited" else ""
    remedy = "leave wait out, a stop waits for the end by itself" if state == "stopped" else "use state: started, or leave wait out"
    raise NexcageError("E_INVALID", message, option="wait", value=str(condition), remedy=remedy)


def wait(session: Session, plugin: registry.Plugin, name: str, condition: Wait | None, timeout: float, started: bool) -> dict[str, t.Any] | None:
    """Observe until the condition holds; without one, observe once.

    Args:
        session: The module run.
        plugin: Who holds the container.
        name: The container.
        condition: What to wait for.
        timeout: Seconds.
        started: Whether this run changed anything; a container that ran all along has settled.

    Raises:
        NexcageError: ``E_TIMEOUT``, and ``E_RUNTIME`` as soon as the condition can no longer come true.
    """
    begin, pause = time.monotonic(), 0.02
    ended = 0.0
    while True:
        found = one(session, plugin, name)
        age = time.monotonic() - begin
        ended = ended or (age if found and found["status"] == "stopped" else 0.0)
        if condition is not None and ended and found and found.get("exit_code") is None and age < min(ended + SETTLED, timeout):
            time.sleep(pause)  # the process has ended, its exit code is still on its way
            continue
        if condition is None or _holds(condition, found, age if started else SETTLED, name):
            return found
        if age >= timeout:
            waited = f"{_lacking(condition, found, name)} after {timeout:g} s"
            raise NexcageError("E_TIMEOUT", waited, option="wait", value=str(condition), remedy="raise timeout, or read the log of the container" + _log(found))
        time.sleep(min(pause, max(0.0, timeout - age)))
        pause = min(pause * 1.5, 0.25)


def _lacking(condition: Wait, found: t.Mapping[str, t.Any] | None, name: str) -> str:
    """What is still missing for the condition, as a clause."""
    if condition.port:
        return f"nothing answers on port {condition.port}"
    state = found["status"] if found else "absent"
    return f"{name} is {state} and has not ended" if condition.kind == "exited" else f"{name} is {state}, but not for {SETTLED:g} s yet"


def _log(found: t.Mapping[str, t.Any] | None) -> str:
    """Where the log is, as the end of a remedy; empty where there is none."""
    path = (found or {}).get("backend_details", {}).get("log")
    return f": {path}" if path else ""


def _holds(condition: Wait, found: t.Mapping[str, t.Any] | None, age: float, name: str) -> bool:
    status = found["status"] if found else "absent"
    if condition.kind == "exited":
        if status not in ("stopped", "running", "paused"):
            raise NexcageError("E_RUNTIME", f"{name} is {status} and will not exit", option="wait", value="exited", remedy="use state: started")
        return status == "stopped"
    if status != "running":
        code = found.get("exit_code") if found else None
        raise NexcageError(
            "E_RUNTIME",
            f"{name} is {status}" + (f" with exit code {code}" if code is not None else ""),
            option="wait",
            value=str(condition),
            remedy="read the log of the container" + _log(found),
        )
    return age >= SETTLED if condition.kind == "running" else _listens(condition.port)


def stranger(condition: Wait | None, name: str) -> list[str]:
    """What to say where somebody else answers on the port to wait for, before the container is started."""
    if condition is None or not condition.port or not _listens(condition.port):
        return []
    return [f"something answered on port {condition.port} before {name} was started; wait: {condition} does not tell which of them answers"]


def _listens(port: int) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
