# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making the signed index of a folder of packages: what ``nexcage_plugin_index`` does, on the publisher's side."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
import typing as t

from ..broker import store
from ..model.capability import CONTAINED, ROOT_EQUIVALENT, SCOPED, effective_level
from ..model.errors import NexcageError
from ..model.manifest import parse_manifest
from ..model.manifest_fields import NAME
from ..model.manifest_rules import plain
from ..model.version import parse_version
from . import archive, index, lockfile, package, packing, signature
from .index import Index
from .lockfile import Locked

if t.TYPE_CHECKING:
    from .dispatch import Session

DAY = 86400
LOCK_SECONDS = 10.0
_LEVELS = (CONTAINED, SCOPED, ROOT_EQUIVALENT)  # the least first


class Plan(t.NamedTuple):
    """What has to be written.

    Args:
        content: The index as it shall be.
        data: Its bytes.
        armored: Its signature.
        reasons: Why the index is made anew; empty where it stays as it is.
        sign: Whether the signature is missing or not one of this key.
    """

    content: dict[str, t.Any]
    data: bytes
    armored: bytes
    reasons: list[str]
    sign: bool


def publish(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Bring index, signature and lock file of a folder to what its packages say.

    Returns:
        ``changed``, ``plan``, ``diff``, ``index`` of the module's result.

    Raises:
        NexcageError: Before anything changed where a package, an option or the key is at fault; ``E_LOCKED`` where
            another run is at it.
    """
    folder = os.path.realpath(parameters["path"])
    if not os.path.isdir(folder):
        raise NexcageError("E_NOT_FOUND", "there is no such folder", option="path", value=parameters["path"], remedy="make it, and put packages into it")
    if session.check_mode:
        return _publish(session, folder, parameters)
    lock = f"{session.layout.runtime}/locks/.index-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    with store.Lock(lock, LOCK_SECONDS, f"process {os.getpid()}: index of {folder}"):
        return _publish(session, folder, parameters)


def _publish(session: Session, folder: str, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    before = _previous(folder)
    plan = _plan(folder, before, parameters, time.time(), session)
    path = f"{folder}/{index.FILE}"
    actions = [{"action": "index", "reason": reason, "changes": []} for reason in plan.reasons]
    if plan.sign:
        actions.append({"action": "sign", "reason": "signed anew" if plan.reasons else "there is no signature of this key and these bytes", "changes": []})
    found = index.parse(plan.data, path)
    lock_file, locked = parameters.get("lock_file"), lockfile.dump(newest(found))
    lock_before = store.read_bytes(lock_file) if lock_file else None
    if lock_file and lock_before != locked:
        actions.append({"action": "lock", "reason": f"{lock_file} shall hold each plugin to its newest release", "changes": []})
    if not session.check_mode:
        _write(path, plan, lock_file if lock_before != locked else None, found)
    after = found if plan.reasons else before
    return {
        "changed": bool(actions),
        "plan": actions,
        "diff": {
            "before": _shown(before, lock_before, lock_file),
            "after": _shown(after, locked, lock_file),
            "before_header": path,
            "after_header": path,
        },
        "index": {
            "path": path,
            "name": found.name,
            "version": found.version,
            "expires": plan.content["expires"],
            "sha256": found.sha256,
            "plugins": {name: [release["version"] for release in releases] for name, releases in found.plugins.items()},
        },
    }


def newest(found: Index) -> dict[str, Locked]:
    """The highest release of each plugin that is not yanked and fits this collection, as a lock file holds it."""
    locked = {}
    for name in found.plugins:
        try:
            release = index.resolve(found, name)
        except NexcageError:
            continue
        locked[name] = Locked(release["version"], release["digest"])
    return locked


def releases(folder: str) -> dict[str, list[dict[str, t.Any]]]:
    """The packages that lie in a folder, by plugin, the highest version first; none is marked as yanked.

    Raises:
        NexcageError: ``E_INTEGRITY`` or ``E_MANIFEST`` naming the package that is not what it should be.
    """
    found: dict[str, list[dict[str, t.Any]]] = {}
    for file in sorted(name for name in os.listdir(folder) if name.endswith(package.SUFFIX)):
        path = f"{folder}/{file}"
        data = packing.read_file(path, archive.PACKED_LIMIT)
        try:
            content = archive.read(data)
            manifest = parse_manifest(content.files[archive.MANIFEST], compare=False)  # also one for another NexCage is offered
        except NexcageError as error:
            raise NexcageError(error.code, f"{path}: {error.message}", error.option, error.value, error.remedy, {**error.details, "file": path}) from None
        right = package.file_name(manifest)
        if file != right:
            raise NexcageError("E_INTEGRITY", f"{path} is {manifest['name']} {manifest['version']}", option="path", value=file, remedy=f"name it {right}")
        if content.signature is None:
            raise NexcageError("E_SIGNATURE", f"{path} is not signed", option="path", value=file, remedy="sign it with nexcage_plugin_package")
        levels = [effective_level(name, manifest) for name in manifest["capabilities"]]
        entry = {
            **index.facts(manifest, content.digest),
            "url": file,
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "class": max((level for level in levels if level in _LEVELS), key=_LEVELS.index, default=CONTAINED),
            "yanked": False,
        }
        found.setdefault(manifest["name"], []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda entry: parse_version(entry["version"]), reverse=True)
    return found


def _previous(folder: str) -> Index | None:
    path = f"{folder}/{index.FILE}"
    data = store.read_bytes(path)
    if data is None:
        return None
    try:
        return index.parse(data, path)
    except NexcageError as error:
        remedy = "restore it; or remove it, and give as 'version' a counter above the last one that was published"
        raise NexcageError("E_STATE", error.message, option="path", value=path, remedy=remedy) from None


def _plan(folder: str, before: Index | None, parameters: t.Mapping[str, t.Any], now: float, session: Session) -> Plan:
    name = _checked(parameters)
    plugins = releases(folder)
    _yank(plugins, before, parameters.get("yanked"))
    _refuse_changed(plugins, before)
    reasons = _reasons(before, name, plugins, parameters, now)
    if before is None or reasons:
        counter = max(before.version + 1 if before else 1, parameters.get("version") or 1)
        content = {
            "schema_version": index.SCHEMA_VERSION,
            "name": name,
            "version": counter,
            "generated": _text(now),
            "expires": _text(now + parameters["valid_days"] * DAY),
            "plugins": {plugin: {"releases": plugins[plugin]} for plugin in sorted(plugins)},
        }
        data = (json.dumps(content, indent=1) + "\n").encode("ascii")
        if len(data) > index.SIZE_LIMIT:
            message = f"the index would have {len(data)} bytes, and {index.SIZE_LIMIT} are allowed"
            raise NexcageError("E_LIMIT", message, option="path", value=folder, remedy="move old releases to a folder of their own")
    else:
        data = store.read_bytes(f"{folder}/{index.FILE}") or b""
        content = json.loads(data)
    armored = signature.sign(data, parameters["key"], signature.INDEX)
    there = store.read_bytes(f"{folder}/{index.SIGNATURE_FILE}")
    return Plan(content, data, armored, reasons, bool(reasons) or not _signed(data, there, armored, f"{session.layout.runtime}/verify"))


def _checked(parameters: t.Mapping[str, t.Any]) -> str:
    """The index's name; refuses what cannot be."""
    name: str = parameters["name"]
    try:
        NAME.check("name", name)
    except NexcageError as error:
        raise NexcageError("E_INVALID", error.message, option="name", value=name) from None
    for option, low, high in (("valid_days", 1, 3650), ("renew_days", 0, parameters["valid_days"] - 1), ("version", 1, index.LARGEST_COUNTER)):
        value = parameters.get(option)
        if value is not None and not low <= value <= high:
            raise NexcageError("E_INVALID", f"not a whole number from {low} to {high}", option=option, value=value)
    return name


def _yank(plugins: dict[str, list[dict[str, t.Any]]], before: Index | None, yanked: t.Mapping[str, t.Any] | None) -> None:
    """Mark what is yanked: as the task says, or where it says nothing, as it was."""
    if yanked is None:
        known = {(name, entry["version"]) for name, entries in (before.plugins if before else {}).items() for entry in entries if entry["yanked"]}
        wanted = {(name, version) for name, version in known if any(entry["version"] == version for entry in plugins.get(name, ()))}
    else:
        wanted = {(str(name), str(version)) for name, versions in yanked.items() for version in (versions if isinstance(versions, list) else [versions])}
    entries = {(name, entry["version"]): entry for name, found in plugins.items() for entry in found}
    for name, version in sorted(wanted):
        if (name, version) not in entries:
            remedy = f"yank one of {', '.join(' '.join(key) for key in sorted(entries)) or 'nothing'}"
            raise NexcageError("E_INVALID", f"there is no such release in the folder: {version}", option=f"yanked.{plain(name)}", value=version, remedy=remedy)
        entries[name, version]["yanked"] = True


def _refuse_changed(plugins: t.Mapping[str, list[dict[str, t.Any]]], before: Index | None) -> None:
    """Refuse other bytes for a version that is out: whoever pinned or locked it would be stuck."""
    for name, entries in (before.plugins if before else {}).items():
        published = {entry["version"]: entry["digest"] for entry in entries}
        for entry in plugins.get(name, ()):
            if published.get(entry["version"], entry["digest"]) != entry["digest"]:
                raise NexcageError(
                    "E_EXISTS",
                    f"{name} {entry['version']} was published with {published[entry['version']]}, and now it has {entry['digest']}",
                    option="path",
                    value=entry["url"],
                    remedy="give the changed plugin another version",
                )


def _reasons(before: Index | None, name: str, plugins: t.Mapping[str, list[dict[str, t.Any]]], parameters: t.Mapping[str, t.Any], now: float) -> list[str]:
    if before is None:
        return ["there is no index yet"]
    found = [] if before.name == name else [f"its name: {before.name} -> {name}"]
    old, new = ({(plugin, entry["version"]): entry for plugin in some for entry in some[plugin]} for some in (before.plugins, plugins))
    for key in sorted({**old, **new}):
        if key not in old or key not in new:
            found.append(f"{' '.join(key)} is {'new' if key in new else 'gone'}")
        elif old[key] != new[key]:
            fields = [field for field in new[key] if new[key][field] != old[key][field]]
            found += [f"{' '.join(key)}: {field}: {old[key][field]} -> {new[key][field]}" for field in fields]
    if before.version < (parameters.get("version") or 1):
        found.append(f"its counter: {before.version} -> {parameters['version']}")
    left = before.expires - now
    if left <= parameters["renew_days"] * DAY:
        found.append("it expires soon" if left > 0 else "it has expired")
    elif left > parameters["valid_days"] * DAY:
        found.append(f"it is valid for longer than {parameters['valid_days']} days")
    return found


def _signed(data: bytes, there: bytes | None, armored: bytes, scratch: str) -> bool:
    """Whether a signature is one of these bytes, made with the key that just made ``armored``."""
    if there is None or there == armored:
        return there is not None
    seal = signature.inspect(armored)
    line = f'key namespaces="{signature.INDEX}" {seal.kind} {base64.b64encode(seal.key).decode("ascii")}\n'
    try:
        return bool(signature.verify(data, there, line.encode("ascii"), signature.INDEX, lambda _who: True, scratch))
    except NexcageError as error:
        if error.code in ("E_SIGNATURE", "E_TRUST"):
            return False
        raise


def _write(path: str, plan: Plan, lock_file: str | None, found: Index) -> None:
    if plan.reasons:
        store.atomic_write(path, plan.data, 0o644)
        store.checkpoint("index:written")
    if plan.sign:
        store.atomic_write(path + ".sig", plan.armored, 0o644)
        store.checkpoint("index:signed")
    if lock_file:
        lockfile.write(lock_file, newest(found))


def _text(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _shown(found: Index | None, locked: bytes | None, lock_file: str | None) -> dict[str, t.Any]:
    """For diff, where check mode and run have to say the same: without times."""
    shown: dict[str, t.Any] = {}
    if found is not None:
        shown = {"name": found.name, "version": found.version, "plugins": found.plugins}
    if lock_file:
        shown["lock_file"] = None if locked is None else locked.decode("utf-8", "replace")
    return shown
