# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nexcage_container_info``, ``nexcage_plugin_info`` and ``nexcage_plugin`` report and set."""

from __future__ import annotations

import os
import typing as t

from ..model.container import check_name
from ..model.errors import NexcageError
from . import observe, registry, settings
from .dispatch import Session, require_root


def containers(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """All containers, or those that match every filter; one listing per backend that holds any.

    Raises:
        NexcageError: Where a container that is asked for by name could not be looked for: what kept us from it. As
            ``policy.load``: a policy that is not understood allows no listing either, whatever it says of one.
    """
    require_root("an OCI backend")
    session.rules()
    names = None if parameters.get("name") is None else {check_name(name) for name in parameters["name"]}
    labels, statuses = parameters.get("labels") or {}, parameters.get("status")
    backend = parameters.get("backend") and registry.known(parameters["backend"], session.layout)
    there = observe.everything(session, backend)
    missing = {name: lost for name, lost in sorted(session.left_out.items()) if all(item["name"] != name for item in there)}
    for name in sorted(missing.keys() & (names or ())):
        raise missing[name][1]
    found = [
        observe.record(item)
        for item in there
        if (names is None or item["name"] in names)
        and (statuses is None or item["status"] in statuses)
        and all((item.get("labels") or {}).get(key) == str(value) for key, value in labels.items())
    ]
    not_listed = [{"name": name, "backend": registry.short_name(holder), "reason": error.message} for name, (holder, error) in missing.items()]
    return {"changed": False, "containers": found, "not_listed": not_listed, "sandbox": session.sandbox}


def plugins(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """All plugins or those named, with manifest, settings, health and tier; verified and written as figures where asked for."""
    from . import breaker, metrics, verify

    names, path = parameters.get("name"), parameters.get("metrics_file")
    if os.geteuid() != 0:
        session.warnings.append(
            f"this task runs as uid {os.geteuid()}, so it shows the plugins and settings below {session.layout.configuration} and "
            f"{session.layout.state}; those of the host take become: true"
        )
    if path is not None:
        metrics.check(session.layout, path)
    chosen = registry.all_plugins(session.layout) if names is None else [registry.named(name, session.layout) for name in names]
    found = [_plugin(session, plugin, parameters.get("health") is not False) for plugin in chosen]
    if parameters.get("verify"):
        for plugin in found:
            plugin["verification"] = verify.plugin(session.layout, plugin["name"])
    if path is not None and not session.check_mode:
        books = {plugin.name: breaker.read(session.layout, plugin.name) for plugin in chosen if plugin.name not in registry.BUILT_IN}
        metrics.write(path, metrics.render(found, books, metrics.index_age(session.layout)))
    _tell_health(session, found)
    return {"changed": False, "plugins": found}


def _tell_health(session: Session, found: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Fire the event of a health check, where a plugin listens to any."""
    if session.hears():
        from . import hooks

        told = [{"name": plugin["name"], "status": plugin["health"]["status"]} for plugin in found]
        hooks.of(session).fire("system.health_check", {"plugins": told})


def _plugin(session: Session, plugin: registry.Plugin, ask: bool) -> dict[str, t.Any]:
    from . import health

    built_in = plugin.name in registry.BUILT_IN
    status = health.check(session, plugin, ask)  # first: it may begin a quarantine or end one
    quarantined = "" if built_in else _quarantined(session, plugin.name)
    return {
        "name": plugin.name,
        "backend": plugin.backend,
        "version": plugin.manifest.get("version"),
        "state": "error_state" if plugin.problem or quarantined else "loaded" if plugin.enabled else "disabled",
        "enabled": plugin.enabled,
        "priority": plugin.priority,
        "config": settings.shown(plugin.config, _hidden(plugin)),
        "trust": plugin.trust,
        "digest": plugin.installed.release.digest if plugin.installed else None,
        "grant": sorted(plugin.installed.granted) if plugin.installed else [],
        "health": status,
        "quarantined": quarantined,
        "statistics": None if built_in else health.statistics(session.layout, plugin.name),
        "sandbox": session.sandbox_of(plugin),
        "manifest": plugin.installed.package.manifest.as_dict() if plugin.installed else dict(plugin.manifest),
    }


def _hidden(plugin: registry.Plugin) -> t.Collection[str]:
    """The settings whose values nobody is shown: of a plugin that cannot be read all, of a built-in one none."""
    return plugin.config if plugin.problem else settings.hidden(plugin.manifest, plugin.config) if plugin.installed else ()


def _quarantined(session: Session, name: str) -> str:
    """Why an installed plugin may not be used for now, empty where it may."""
    from . import records

    try:
        record = records.read(session.layout, name)
    except NexcageError:  # its health says what is wrong with the record
        return ""
    return "" if record is None else record.quarantined


def configure(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Enable or disable a built-in plugin, set its priority and its config; of others, all that there is to do."""
    from ..model import values

    if registry.full_name(parameters["name"]) not in registry.BUILT_IN:
        from .plugins import manage

        result = manage(session, parameters)
        if result["changed"] and not session.check_mode and session.hears():
            from . import hooks

            hooks.of(session).plugin_changed(result)
        return result
    _refuse_package(parameters)
    plugin = registry.get(parameters["name"], session.layout)
    current = {"enabled": plugin.enabled, "priority": plugin.priority, "config": dict(plugin.config)}
    wanted: dict[str, t.Any] = {}
    if parameters.get("state") in ("enabled", "disabled"):
        wanted["enabled"] = parameters["state"] == "enabled"
    if parameters.get("priority") is not None:
        wanted["priority"] = values.whole(0, 10000)("priority", parameters["priority"])
    if parameters.get("config") is not None:
        wanted["config"] = settings.checked_config(plugin.manifest.get("configuration") or {}, parameters["config"], plugin.name)
    changes = settings.changed(current, wanted)
    if changes and not session.check_mode:
        require_root("the configuration of plugins")
        settings.write(session.layout, plugin.name, {key: wanted[key] for key in changes})
    after = {**current, **{key: wanted[key] for key in changes}}
    ineffective = sorted(set(after["config"]) & set(settings.NO_EFFECT))
    return {
        "warnings": [f"config.{key} of {plugin.name} has no effect: {settings.NO_EFFECT[key]}" for key in ineffective],
        "changed": bool(changes),
        "diff": {
            "before": {key: before for key, (before, _after) in changes.items()},
            "after": {key: new for key, (_before, new) in changes.items()},
            "before_header": plugin.name,
            "after_header": plugin.name,
        },
        "plugin": {"name": plugin.name, "backend": plugin.backend, "version": plugin.manifest["version"], **after},
        "plan": [{"action": "configure", "reason": f"{key}: {old} -> {new}", "changes": []} for key, (old, new) in changes.items()],
    }


def _refuse_package(parameters: t.Mapping[str, t.Any]) -> None:
    """A built-in plugin comes with the collection, and has what it declares."""
    state = parameters.get("state")
    given = [key for key in ("src", "index", "version", "digest", "grant", "lock_file") if parameters.get(key) is not None]
    if given or state not in (None, "present", "enabled", "disabled"):
        option, value = (given[0], parameters[given[0]]) if given else ("state", state)
        raise NexcageError(
            "E_UNSUPPORTED",
            f"{registry.full_name(parameters['name'])} is built in, and comes and goes with the collection",
            option=option,
            value=value,
            remedy="use state: disabled to keep it from being used",
        )
