# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Events, fired at the plugins that listen to them. Imported only where one does.

A listener is asked in a worker of its own, apart from the one that its backend may have: whatever a hook does, no operation
loses its worker by it. It makes the calls that it was granted, but those that change containers are not there, so nothing
that it does can fire an event; in check mode and around reads it changes nothing at all. What it says changes no outcome,
with one exception: ``container.pre_*`` where the operator lets it refuse.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..broker.handlers import Workbench
from ..model.errors import NexcageError
from ..model.hook import ABORT, EVENTS, RETRY, STRATEGIES, Hook, Statistics, led_to, order, verbs
from ..model.options import public
from ..model.plan import RUNNING
from ..worker.sandbox import clean
from ..worker.spawn import Ended
from . import breaker, installed, listeners, registry, settings
from .dispatch import Session

if t.TYPE_CHECKING:
    from ..broker.gate import Gate
    from ..broker.handlers import Handlers
    from ..model.container import ContainerSpec
    from ..model.plan import Plan
    from .breaker import Watch

OWN = "{} (hooks)"  # the name of a plugin's worker for hooks
CONTAINERS = ("oci.", "image.")  # calls that would take a hook's hands to what the run itself changes
NOT_LISTENING = ("E_NOT_FOUND", "E_DISABLED")
QUARANTINED = "E_QUARANTINED"


def of(session: Session) -> Hooks:
    """The hooks of a run, made with the first event."""
    if session.listeners is None:
        session.listeners = Hooks(session)
    return session.listeners


class Room(Session):
    """A session for the workers of hooks, beside the one that fires.

    Workers, their budget, audit log and policy are those of the run. Orders, which hold a task's secrets, are not.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session.layout, session.check_mode, session.timeout)
        self.audit, self.logged, self.warnings = session.audit, session.logged, session.warnings
        self._workers, self._budget = session._workers, session._budget
        self.event = ""
        self.loaded: set[str] = set()  # plugins that a worker could load

    def hears(self) -> bool:
        """No event is fired inside a hook."""
        return False

    def forget(self, name: str) -> None:
        """End the worker of a plugin that is another one now, or gone; what comes next starts anew."""
        own = OWN.format(name)
        worker = self._workers.pop(own, None)
        if worker is not None:
            worker.close()
        self._budget.leave(own)
        for kept in (self._benches, self._sandboxes, self._extras):
            kept.pop(own, None)
        self.loaded.discard(name)

    def ask_hook(self, plugin: registry.Plugin, hook: Hook, payload: t.Mapping[str, t.Any], watch: Watch | None) -> str | None:
        """Let one plugin hear of one event.

        Args:
            plugin: Who is asked.
            hook: What it listens to, and for how long.
            payload: What it is told.
            watch: Sees to the calls that are refused; ``None`` in check mode.

        Returns:
            Why it shall not happen, where the plugin says so.

        Raises:
            NexcageError: What is wrong with the hook, or what it was refused.
        """
        own = plugin._replace(name=OWN.format(plugin.name))  # its worker is another one than its backend's
        self._benches.setdefault(own.name, Workbench(self.layout, plugin.name, "", {}))
        self.event, self.timeout = hook.event, hook.timeout_ms / 1000
        try:
            answer = self._operate(own, "hook", {"event": hook.event, "payload": dict(payload), "name": payload.get("name")}, watch)
        except Ended:
            worker = self._workers.pop(own.name, None)
            if worker is not None:
                worker.close()
            self._budget.leave(own.name)
            raise
        finally:
            if own.name in self._sandboxes:
                self.loaded.add(plugin.name)
        if answer is not None and not isinstance(answer, str):
            raise NexcageError("E_PROTOCOL", f"a hook returns nothing or a text, and it returned a {type(answer).__name__}")
        return clean(answer) if answer else None

    def permit(self, plugin: registry.Plugin, operation: str, params: t.Mapping[str, t.Any], begins: bool = False) -> None:
        """Ask the policy whether the plugin may be told; as for an operation whose name is that of the event."""
        real = plugin._replace(name=plugin.manifest["name"])
        super().permit(real, self.event, {"name": params["name"]} if params["name"] else {}, begins)

    def _gate(self, plugin: registry.Plugin, operation: str, targets: list[str]) -> Gate:
        return super()._gate(plugin, "info" if EVENTS[self.event].reads else "update", targets)

    def _writes(self, bench: Workbench) -> Handlers:
        return {name: handler for name, handler in super()._writes(bench).items() if not name.startswith(CONTAINERS)}

    def _context(self, plugin: registry.Plugin, operation: str) -> dict[str, t.Any]:
        tier = self.sandbox_of(plugin._replace(name=OWN.format(plugin.manifest["name"]))).get("tier")
        return {**super()._context(plugin, operation), "op": self.event, **({"tier": tier} if tier else {})}


class _About(t.NamedTuple):
    """What the events of one container are about."""

    name: str
    backend: str
    plan: Plan
    before: str
    spec: t.Mapping[str, t.Any]


class Hooks:
    """All listeners of one run.

    Args:
        session: The run; its ``told`` gets the statistics, its warnings what went wrong with a hook.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._room = Room(session)
        self._known = listeners.read(session.layout)
        self._found: dict[str, registry.Plugin | NexcageError] = {}
        self._statistics: dict[tuple[str, str], Statistics] = {}
        self._about: dict[str, _About] = {}
        self._running: dict[str, bool] = {}
        self._begun = False
        self._firing = False
        self._held = False  # whether this run holds the lock of all plugins' records

    # ---- a run

    def begin(self, held: bool = False) -> None:
        """Before the first change of a run; later calls do nothing.

        Args:
            held: Whether this run holds the lock of all plugins' records.
        """
        if not self._begun and not self._session.check_mode:
            self._begun, self._held = True, held
            try:
                self.fire("system.startup", {"user": os.geteuid()})
            finally:
                self._held = False

    def end(self, error: BaseException | None) -> None:
        """At the end of the run, however it ends."""
        if not self._begun:
            return
        self._begun = False
        if isinstance(error, NexcageError):
            self.fire("system.error_occurred", {"code": error.code, "option": error.option, "plugin": error.details.get("plugin")})
        self.fire("system.shutdown", {"user": os.geteuid(), "failed": error is not None})

    # ---- one container

    def concern(self, name: str, backend: str, plan: Plan, before: str, spec: ContainerSpec) -> None:
        """Say what is planned. In check mode ``pre_*`` are asked now: what would be refused is refused.

        Args:
            name: The container.
            backend: Full name of the plugin that will hold it.
            plan: What is to be done.
            before: The container's status.
            spec: What is wanted, or for one that goes what is recorded; secrets are left out here.

        Raises:
            NexcageError: ``E_VETO`` in check mode.
        """
        self._about[name] = _About(name, backend, plan, before, public(spec))
        self._running[name] = before in RUNNING
        self.begin()
        if self._session.check_mode:
            for action in plan.actions:
                self.before(name, action.kind)
                self._move(name, action.kind)

    def before(self, name: str, action: str) -> None:
        """Ask whether an action of the plan may be done.

        Raises:
            NexcageError: ``E_VETO``.
        """
        for verb in verbs(action, self._running[name]):
            self.fire(f"container.pre_{verb}", self._payload(name, action))

    def after(self, name: str, action: str) -> None:
        """Say that it was done."""
        running = self._running[name]
        self._move(name, action)
        for verb in verbs(action, running):
            self.fire(f"container.post_{verb}", self._payload(name, action))

    def done(self, name: str, after: str) -> None:
        """Say what status the container has at the end."""
        about = self._about[name]
        expected = led_to((action.kind for action in about.plan.actions), about.before)
        for first, second, cause in ((about.before, expected, "task"), (expected, after, "drift")):
            if first != second:
                self.fire("container.status_changed", {"name": name, "backend": about.backend, "before": first, "after": second, "cause": cause})

    def _move(self, name: str, action: str) -> None:
        self._running[name] = led_to([action], "running" if self._running[name] else "stopped") in RUNNING

    def _payload(self, name: str, action: str) -> dict[str, t.Any]:
        about = self._about[name]
        return {"name": name, "backend": about.backend, "action": action, "spec": about.spec}

    # ---- plugins

    def plugin_changed(self, result: t.Mapping[str, t.Any]) -> None:
        """Say what nexcage_plugin did to a plugin, from its result; the listeners are those that there are now."""
        self._known = listeners.read(self._session.layout)
        self._found = {}
        self._begun = True  # where nobody listened before there was nobody to tell of the begin
        payload = {"plugin": result["plugin"]["name"], "version": result["plugin"].get("version")}
        self._room.forget(payload["plugin"])
        for event in _of_plugin(result):
            self.fire(event, payload)

    # ---- all events

    def fire(self, event: str, payload: t.Mapping[str, t.Any]) -> None:
        """Ask every listener of an event, one after the other.

        Raises:
            NexcageError: ``E_VETO`` where one refuses and may; the later ones are not asked then. ``E_INVALID`` where
                the settings of a hook are wrong.
        """
        if self._firing:
            return
        self._firing = True
        try:
            for hook in order(self._listening(event)):
                self._tell(hook, {**payload, "check_mode": self._session.check_mode})
        finally:
            self._firing = False

    def _listening(self, event: str) -> t.Iterator[Hook]:
        """The hooks for an event, as manifest and operator want them now."""
        for name, known in self._known.items():
            if all(hook.event != event for hook in known):
                continue
            plugin = self._plugin(name)
            if isinstance(plugin, NexcageError):
                if plugin.code in NOT_LISTENING:
                    continue
                hooks = known if plugin.code != "E_GRANT" else [hook._replace(strategy="skip") for hook in known]
            else:
                hooks = listeners.declared(plugin.manifest)
            chosen = _chosen(self._session, name)
            yield from (hook._replace(strategy=chosen.get(event, hook.strategy)) for hook in hooks if hook.event == event)

    def _plugin(self, name: str) -> registry.Plugin | NexcageError:
        """A plugin that listens, or why it cannot be asked."""
        if name not in self._found:
            chosen = settings.read(self._session.layout).get(name, {})
            try:
                if not chosen.get("enabled", True):
                    raise NexcageError("E_DISABLED", f"{name} is disabled")
                found = installed.load(self._session.layout, name)
                self._found[name] = registry.Plugin(name, found.package.manifest, True, settings.PRIORITY, chosen.get("config") or {}, found)
            except NexcageError as error:
                self._found[name] = error
        return self._found[name]

    def _tell(self, hook: Hook, payload: t.Mapping[str, t.Any]) -> None:
        """Ask one listener, again where it failed and shall be; what comes of it is a warning, or a veto."""
        statistics = self._statistics.get((hook.plugin, hook.event))
        if statistics is None:
            statistics = self._statistics[hook.plugin, hook.event] = Statistics()
        reason, failure = None, None
        for _attempt in range(2 if hook.strategy == RETRY else 1):
            begin = time.monotonic()
            try:
                reason, failure = self._ask(hook, payload), None
            except NexcageError as error:
                if error.code == QUARANTINED:  # it is not asked; after a first attempt, what that said counts
                    failure = failure or error
                    break
                failure = error
            statistics.count((time.monotonic() - begin) * 1000, failure is not None, failure is not None and failure.code == "E_TIMEOUT")
            if failure is None:
                break
        refused = reason is not None or failure is not None
        if refused and self._may_refuse(hook, failure):
            statistics.vetoes += 1
        self._session.told[:] = [{"plugin": name, "event": event, **entry.as_dict()} for (name, event), entry in self._statistics.items()]
        if refused:
            self._say(hook, payload, reason, failure)

    def _ask(self, hook: Hook, payload: t.Mapping[str, t.Any]) -> str | None:
        plugin = self._plugin(hook.plugin)
        if isinstance(plugin, NexcageError):
            raise plugin
        try:
            if self._session.check_mode:
                return self._room.ask_hook(plugin, hook, payload, None)
            with breaker.Watch(self._session.layout, t.cast(installed.Installed, plugin.installed), hook.event, self._session.warnings, self._held) as watch:
                watch.vetoes = int(self._may_refuse(hook, None))  # where it fails
                reason = self._room.ask_hook(plugin, hook, payload, watch)
                watch.vetoes = int(reason is not None and self._may_refuse(hook, None))
                return reason
        except NexcageError as error:
            if hook.plugin not in self._room.loaded:
                self._found[hook.plugin] = error  # it cannot even be loaded, and is not tried again
            elif isinstance(error, Ended):
                self._found.pop(hook.plugin)  # it may be in quarantine now
            raise

    def _may_refuse(self, hook: Hook, failure: NexcageError | None) -> bool:
        """Whether this listener's no, or its failure, stops what is about to happen.

        In check mode a hook that wanted to write has failed by that alone, and tells nothing about the run.
        """
        unasked = self._session.check_mode and failure is not None and failure.code == "E_READ_ONLY"
        return EVENTS[hook.event].veto and hook.strategy == ABORT and not unasked

    def _say(self, hook: Hook, payload: t.Mapping[str, t.Any], reason: str | None, failure: NexcageError | None) -> None:
        why = reason if failure is None else f"it failed: {failure.message}"
        if not self._may_refuse(hook, failure):
            if failure is not None and failure.code == QUARANTINED:
                said = f"the hooks of {hook.plugin} are not asked: {failure.message}"
                self._session.warnings += [] if said in self._session.warnings else [said]
                return
            may = "" if failure is not None or not EVENTS[hook.event].veto else f" says no, which counts only where its strategy is {ABORT}"
            self._session.warnings.append(f"the hook {hook.event} of {hook.plugin}{may}: {why}")
            return
        details = {"plugin": hook.plugin, "hook": hook.event, "reason": why}
        if failure is not None:
            details["code"] = failure.code
        way_out = "do what it says" if failure is None else "put right what it failed by"
        if failure is not None and failure.code == QUARANTINED:
            way_out = f"give it another version, or let it be asked again with nexcage_plugin: name={hook.plugin} state=enabled"
        raise NexcageError(
            "E_VETO",
            f"{hook.plugin} refuses it by its hook {hook.event}: {why}",
            option="name",
            value=payload.get("name"),
            remedy=f'{way_out}, or set plugins.{hook.plugin}.hooks: {{"{hook.event}": "skip"}} in {settings.load(self._session.layout)[0]}',
            details=details,
        )


def _chosen(session: Session, plugin: str) -> dict[str, str]:
    """The strategies that the operator set for a plugin's hooks: ``plugins.<name>.hooks`` of the configuration.

    Raises:
        NexcageError: ``E_INVALID`` naming the key.
    """
    path, where = settings.load(session.layout)[0], f"plugins.{plugin}.hooks"
    chosen = settings.read(session.layout).get(plugin, {}).get("hooks") or {}
    if not isinstance(chosen, dict):
        raise NexcageError("E_INVALID", "it is no mapping of events to strategies", option=where, value=chosen, remedy=f"correct {path}")
    for event, strategy in chosen.items():
        if event not in EVENTS or strategy not in STRATEGIES:
            what = f"not one of {', '.join(STRATEGIES)}" if event in EVENTS else "there is no such event"
            raise NexcageError("E_INVALID", what, option=f"{where}.{event}", value=strategy, remedy=f"correct {path}; docs/hooks.md has all events")
    return t.cast("dict[str, str]", chosen)


def _of_plugin(result: t.Mapping[str, t.Any]) -> t.Iterator[str]:
    """The events that a result of nexcage_plugin stands for."""
    before, after = result["diff"]["before"], result["diff"]["after"]
    usable = result["plugin"]["state"] == "loaded"
    if before.get("enabled") is not after.get("enabled"):
        yield "system.plugin_loaded" if usable else "system.plugin_unloaded"
    elif usable and {"digest", "quarantined"} & set(after):
        yield "system.plugin_loaded"
    if any(action["action"] == "configure" and action["reason"].startswith(("priority", "config")) for action in result["plan"]):
        yield "system.config_reload"
