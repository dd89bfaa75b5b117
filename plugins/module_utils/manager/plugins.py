# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a task of ``nexcage_plugin`` to an installed plugin: what is there, what shall be, and the way between.

Everything is read, verified and decided before anything changes; check mode stops there.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from ..broker import store
from ..model.errors import NexcageError
from ..model.manifest_fields import NAME
from . import archive, dependencies, grants, install, installed, listeners, package, publishers, records, refusals, registry, settings, source, trust, widening
from .dispatch import Session, require_root
from .grants import Grant
from .package import Package
from .records import Record, Release


class Situation(t.NamedTuple):
    """All that a task of nexcage_plugin can change about one installed plugin."""

    release: Release | None
    grant: Grant | None
    enabled: bool
    priority: int
    config: t.Mapping[str, t.Any]
    quarantined: str = ""
    damage: str = ""  # what is wrong with the package where it lies
    secret: t.Collection[str] = ()  # settings whose values nobody is shown

    def instead(self, release: Release) -> Situation:
        """The same with another package: what the one before it did is no reason to keep it in quarantine."""
        same = self.release is not None and self.release.digest == release.digest
        return self._replace(release=release, damage="", quarantined=self.quarantined if same else "")

    def facts(self) -> dict[str, t.Any]:
        """For diff and result; nothing in it is secret, and nothing changes by itself."""
        if self.release is None:
            return {}
        return {
            "version": self.release.version,
            "digest": self.release.digest,
            "trust": self.release.trust,
            "principal": self.release.principal or None,
            "grant": sorted(self.grant.capabilities) if self.grant else [],
            "root_equivalent_accepted": bool(self.grant and self.grant.root_equivalent_accepted),
            "enabled": self.enabled,
            "priority": self.priority,
            "config": settings.shown(self.config, self.secret),
            "quarantined": self.quarantined,
            "damage": self.damage,
        }


class Change(t.NamedTuple):
    """What shall be, with what has to be written for it."""

    wanted: Situation
    data: bytes | None = None
    manifest: t.Mapping[str, t.Any] | None = None
    reason: str = ""


def manage(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Bring one installed plugin to what the task says.

    Returns:
        ``changed``, ``plan``, ``diff``, ``plugin``, ``warnings`` of the module's result.

    Raises:
        NexcageError: Before anything changed where the task, the package or the host is at fault.
    """
    require_root("the plugins of a host")
    layout, name = session.layout, parameters["name"]
    if not re.fullmatch(NAME.pattern, name) or len(name) > NAME.maximum:
        raise NexcageError("E_INVALID", f"not {NAME.says}", option="name", value=name)
    publishers.refuse_reserved(name)
    for folder in (layout.state, layout.runtime, layout.configuration):
        store.refuse_others(folder)
    try:
        if session.check_mode:
            return installed.steady(layout, name, lambda record: _manage(session, record or Record(name, None), parameters))
        with install.lock(layout, session.timeout):
            return _manage(session, records.read(layout, name) or Record(name, None), parameters)
    except NexcageError as error:
        raise error.about("name", name) from error.__cause__


def _manage(session: Session, record: Record, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    name = record.name
    now = _situation(session, record)
    state = parameters.get("state") or ("present" if source.given(parameters) else None)
    change = _CHANGES[state](session, record, now, parameters)
    unsettled = install.unsettled(session.layout, record)
    before, after = now.facts(), change.wanted.facts()
    different = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if after and now.config != change.wanted.config and "config" not in different:
        different.append("config")  # a secret, which looks as before
    gone, more = widening.entries(now.grant, change.wanted.grant)
    if gone or more:
        before, after, different = {**before, "scope": gone}, {**after, "scope": more}, [*different, "scope"]
    changed = bool(different)
    if not session.check_mode and changed:
        _begin(session)
        _audited(session, name, record, now, change)
    elif not session.check_mode and unsettled:
        install.clear(session.layout, record, now.grant)
    return {
        "changed": changed,
        "plan": _plan(now, change, different),
        "diff": {
            "before": {key: before.get(key) for key in different if before},
            "after": {key: after.get(key) for key in different if after},
            "before_header": name,
            "after_header": name,
        },
        "plugin": {"name": name, "backend": registry.short_name(name), "state": _state(change.wanted), **change.wanted.facts()},
        "warnings": _warnings(now, change),
    }


def _situation(session: Session, record: Record) -> Situation:
    chosen = settings.read(session.layout).get(record.name, {})
    grant = grants.effective(session.layout, record.name, record.active.digest) if record.active else None
    config = chosen.get("config") or {}
    damage, secret = "", frozenset(config)  # until the manifest tells which
    if record.active is not None:
        try:
            secret = settings.hidden(installed.fetch(session.layout, record.name, record.active)[0].manifest, config)
        except NexcageError as error:
            damage = error.message
    priority = chosen.get("priority", settings.PRIORITY)
    return Situation(record.active, grant, chosen.get("enabled", True), priority, config, record.quarantined, damage, secret)


def _state(situation: Situation) -> str:
    if situation.release is None:
        return "unloaded"
    if situation.quarantined or situation.damage:
        return "error_state"
    return "loaded" if situation.enabled else "disabled"


# ---- what shall be, by the option state


def _present(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    if not source.given(parameters):
        if record.active is None:
            remedy = "give its package as src, or an index"
            raise NexcageError("E_NOT_FOUND", f"{record.name} is not installed", option="name", value=record.name, remedy=remedy)
        found = installed.fetch(session.layout, record.name, record.active)[0]
        refusals.another_version(parameters, found)
        refusals.another_digest(parameters, found)
        return _configured(session, record, now._replace(grant=widening.grant(now.grant, found.manifest, parameters)), found, parameters)
    active = None if now.damage else record.active
    chosen = source.find(session.layout, record.name, active.digest if active else None, parameters, not session.check_mode, _largest(session), record.floor)
    if chosen is None and active is not None:
        chosen = installed.fetch(session.layout, record.name, active)[0]
    package_found = t.cast(Package, chosen)
    return _candidate(session, record, now, package_found, package_found.data, parameters)


def _candidate(session: Session, record: Record, now: Situation, found: Package, data: bytes, parameters: t.Mapping[str, t.Any]) -> Change:
    """A package that shall become the active one: everything that speaks against it, before anything changes."""
    if found.name != record.name:
        raise NexcageError("E_INVALID", f"{found.path} is the plugin {found.name}", option="name", value=record.name, remedy=f"set name: {found.name}")
    refusals.another_version(parameters, found)
    release = _judged(session, record, found, parameters)
    if record.active is not None and record.active.digest == release.digest and record.active.trust == release.trust:
        release = record.active
    refusals.downgrade(record, found, parameters)
    if record.active is None:
        refusals.more(session.layout)
    refusals.host(session.layout, record.name, found.manifest)
    change = _configured(session, record, now.instead(release)._replace(grant=widening.grant(now.grant, found.manifest, parameters)), found, parameters)
    return change._replace(data=data)


def _largest(session: Session) -> int:
    """Bytes that a package may have on this host."""
    return min(int(installed.setting(session.layout, "max_plugin_size_mb", 100)) << 20, archive.PACKED_LIMIT)


def _judged(session: Session, record: Record, found: Package, parameters: t.Mapping[str, t.Any]) -> Release:
    unsigned = parameters.get("trust") == "unsigned"
    # what is installed stays right when its signer's key expires
    moment = float(record.active.installed) if record.active is not None and record.active.digest == found.digest else time.time()
    # where the file itself says true, no task says otherwise; the default leaves it to the task
    said = settings.load(session.layout)[1].get("plugin_manager", {})
    strict = bool(installed.setting(session.layout, "require_signatures", True)) and (not unsigned or "require_signatures" in said)
    verdict = trust.judge(found, session.layout, pin=parameters.get("digest"), unsigned=unsigned, now=moment, require_signatures=strict)
    digest = verdict.trust or trust.digest(session.layout)
    return Release(found.version, found.digest, package.file_name(found.manifest), verdict.kind, verdict.principal or "", digest, int(moment))


def _configured(session: Session, record: Record, wanted: Situation, found: Package, parameters: t.Mapping[str, t.Any]) -> Change:
    """Priority and config of the task, checked against the manifest."""
    from ..model import values

    if parameters.get("priority") is not None:
        wanted = wanted._replace(priority=values.whole(0, 10000)("priority", parameters["priority"]))
    if parameters.get("config") is not None:
        wanted = wanted._replace(config=settings.checked_config(found.manifest["configuration"], parameters["config"], record.name))
    wanted = wanted._replace(secret=settings.hidden(found.manifest, wanted.config))
    secret = settings.secret_names(found.manifest)
    session.secrets.update(str(value) for name, value in wanted.config.items() if name in secret)
    return Change(wanted, None, found.manifest)


def _as_it_is(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    """The package that is active stays; settings and grant of the task count."""
    return _present(session, record, now, {**parameters, **dict.fromkeys(("src", "index", "lock_file", "allow_expired_index"))})


def _enabled(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    change = _as_it_is(session, record, now, parameters)
    return change._replace(wanted=change.wanted._replace(enabled=True, quarantined=""))


def _disabled(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    if record.active is None:
        raise NexcageError("E_NOT_FOUND", f"{record.name} is not installed", option="name", value=record.name, remedy="give its package as src")
    return Change(now._replace(enabled=False))


def _absent(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    if record.active is None:
        return Change(now)
    from . import observe

    layout = session.layout
    held = [name for name in observe.names(layout) if observe.owner(layout, name) == record.name]
    if held:
        raise NexcageError(
            "E_EXISTS",
            f"{record.name} still has containers: {', '.join(held)}",
            option="name",
            value=record.name,
            remedy="remove them with nexcage_container: state=absent, or disable the plugin",
        )
    others = {plugin.name: plugin.manifest for plugin in registry.all_plugins(layout) if plugin.problem is None}
    needing = dependencies.dependants(record.name, others)
    if needing:
        raise NexcageError("E_DEPENDENCY", f"{', '.join(needing)} needs it", option="name", value=record.name, remedy=f"remove {needing[0]} first")
    return Change(Situation(None, None, now.enabled, now.priority, now.config))


def _reloaded(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    """Take what lies in the folder of packages now."""
    path, data = install.lying(session.layout, record, _largest(session))
    return _candidate(session, record, now, package.from_bytes(data, path), data, parameters)


def _rolled_back(session: Session, record: Record, now: Situation, parameters: t.Mapping[str, t.Any]) -> Change:
    """The version before; where the task names a version that is active, it was rolled back already."""
    previous, version = record.previous, parameters.get("version")
    if record.active is not None and version is not None and refusals.fits(version, record.active.version):
        return _as_it_is(session, record, now, parameters)
    if record.active is None or previous is None:
        message = f"there is no earlier version of {record.name} here"
        raise NexcageError("E_NOT_FOUND", message, option="state", value="rolled_back", remedy="install one from src")
    if version is not None and not refusals.fits(version, previous.version):
        message = f"{record.name} is {record.active.version} here, and the version before is {previous.version}"
        raise NexcageError("E_VERSION", message, option="version", value=version, remedy="give that version, or install the wanted one from src or index")
    found, data = installed.fetch(session.layout, record.name, previous)
    installed.judge(session.layout, found, previous)
    refusals.host(session.layout, record.name, found.manifest)
    wanted = now.instead(previous)._replace(grant=widening.grant(now.grant, found.manifest, parameters))
    return Change(wanted, data, found.manifest, f"{record.active.version} -> {previous.version}")


_CHANGES: dict[str | None, t.Callable[[Session, Record, Situation, t.Mapping[str, t.Any]], Change]] = {
    None: _present,
    "present": _present,
    "enabled": _enabled,
    "disabled": _disabled,
    "absent": _absent,
    "reloaded": _reloaded,
    "rolled_back": _rolled_back,
}


# ---- the way there


def _begin(session: Session) -> None:
    """Tell those who listen now that the run begins to change something."""
    if os.path.lexists(listeners.path(session.layout)):  # what the session knows of it is for after the change
        from . import hooks

        hooks.of(session).begin(held=True)


def _audited(session: Session, name: str, record: Record, now: Situation, change: Change) -> None:
    """Change what is to be changed, with a line of intent before it and one of outcome after it."""
    release = change.wanted.release or now.release
    call = "plugin.remove" if change.wanted.release is None else "plugin.configure" if change.wanted.release == now.release else "plugin.install"
    facts = release._asdict() if release else {}
    context = {"plugin": name, "version": facts.get("version"), "digest": facts.get("digest"), "trust": facts.get("trust")}
    sequence = session.audit.intent(call, change.wanted.facts(), context)
    begin = time.monotonic()
    problem: str | None = "E_INTERNAL"
    try:
        _apply(session, name, record, now, change)
        problem = None
    except NexcageError as error:
        problem = error.code
        raise
    finally:
        session.audit.outcome(sequence, call, time.monotonic() - begin, problem)


def _apply(session: Session, name: str, record: Record, now: Situation, change: Change) -> None:
    """Write what differs. The record is the moment of change; the grant for it is written before, and counts with its package."""
    layout, wanted = session.layout, change.wanted
    if wanted.release is None:
        install.deactivate(layout, name)
        return
    if now.release is None:  # whatever was granted to a plugin of that name before, this one was not granted it
        grants.remove(layout, name)
    grants.stage(layout, name, wanted.grant, wanted.release.digest)
    store.checkpoint("plugin:granted")
    if change.data is not None and (wanted.release != now.release or now.damage):
        record = install.activate(layout, name, wanted.release, change.data)
    if record.quarantined != wanted.quarantined:
        records.write(layout, record := record._replace(quarantined=wanted.quarantined))
    install.clear(layout, record, wanted.grant)
    values = {key: getattr(wanted, key) for key in settings.KEYS if getattr(wanted, key) != getattr(now, key)}
    if values:
        settings.write(layout, name, values, private=any(key in wanted.secret for key in wanted.config))


def _plan(now: Situation, change: Change, different: t.Collection[str]) -> list[dict[str, t.Any]]:
    wanted, actions = change.wanted, []
    if now.release != wanted.release:
        kind = "remove" if wanted.release is None else "install" if now.release is None else "update"
        old, new = (release and f"{release.version} ({release.digest[:19]})" for release in (now.release, wanted.release))
        actions.append({"action": kind, "reason": change.reason or f"{old or 'not installed'} -> {new or 'not installed'}", "changes": []})
    if wanted.release is not None and now.damage and not wanted.damage and now.release == wanted.release:
        actions.append({"action": "repair", "reason": now.damage, "changes": []})
    if wanted.release is not None:
        if {"grant", "root_equivalent_accepted", "scope"} & set(different):
            actions += widening.steps(now.grant, wanted.grant)
        for key in ("enabled", "priority", "config", "quarantined"):
            if getattr(now, key) != getattr(wanted, key):
                old, new = now.facts().get(key), wanted.facts()[key]
                actions.append({"action": "configure", "reason": f"{key}: {old!r} -> {new!r}", "changes": []})
    return actions


def _warnings(now: Situation, change: Change) -> list[str]:
    found = widening.warnings(change.manifest["name"], now.grant, change.wanted.grant) if change.manifest is not None else []
    if change.wanted.release is not None and change.wanted.release.trust == trust.UNSIGNED:
        found.append(f"{change.wanted.release.file} is not signed, and was accepted because the task says trust: unsigned")
    if change.manifest is not None:
        found += list(getattr(change.manifest, "notes", ()))
    return found
