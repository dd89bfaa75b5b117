# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a task to a container: read what is there, plan, and do what the plan says."""

from __future__ import annotations

import contextlib
import typing as t

from ..broker import environment, key, store
from ..broker.handlers import Order
from ..model import options
from ..model.container import ContainerSpec
from ..model.errors import NexcageError
from ..model.plan import RUNNING, Plan, Request, plan
from . import backends, observe, registry
from .dispatch import Session, refuse_ungranted, require_root

if t.TYPE_CHECKING:
    from . import hooks

# plan action -> operation of the plugin; a pull is part of the create or replace that follows it
OPERATIONS = {
    "create": "create",
    "replace": "replace",
    "update": "update",
    "start": "start",
    "stop": "stop",
    "pause": "pause",
    "resume": "resume",
    "delete": "delete",
}
MAKES = ("create", "replace")
NO_REPLACE = "leave it as it is, or remove the container and create it anew; the plugin's manifest would have to declare the operation replace"
THROUGH_HOLDER = ("stop", "delete")  # whatever backend the task names


def converge(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Bring one container to what the task says.

    Args:
        session: The module run.
        parameters: The task's parameters, checked against ``options.argument_spec()``.

    Returns:
        ``changed``, ``plan``, ``diff``, ``container``, ``sandbox`` of the module's result.

    Raises:
        NexcageError: Before anything changed where the input is at fault.
    """
    task = Task(parameters)
    require_root("an OCI backend")
    for folder in (session.layout.state, session.layout.runtime):
        store.refuse_others(folder)
    with contextlib.ExitStack() as stack:
        if not session.check_mode:
            stack.enter_context(observe.locked(session.layout, task.name, task.timeout))
        try:
            return _converge(session, task)
        except NexcageError as error:
            task.as_written(error)
            raise error.about("name", task.name) from error.__cause__


class Task:
    """The parameters of one task, parsed once."""

    def __init__(self, parameters: t.Mapping[str, t.Any]) -> None:
        from ..model import values

        self.parameters = parameters
        self.name: str = parameters["name"]
        self.state: str = options.STATE_ALIASES.get(parameters["state"], parameters["state"])
        files = parameters.get("env_file")
        self.spec = options.container_spec(parameters, None if files is None else environment.read_files(files))
        self.timeout: int = values.whole(1, 86400)("timeout", parameters["timeout"])
        kill = parameters.get("kill_signal")
        signal = None if kill is None else values.signal_number("kill_signal", kill)
        if signal is None and self.state == "stopped":  # it is recorded only after the stop
            signal = self.spec.get("stop_signal")
        self.ending = {"signal": signal, "timeout": self.spec.get("stop_timeout"), "force": parameters["force_kill"]}
        self.wait = observe.parse_wait(parameters.get("wait"), self.state)
        self.pull: str = parameters["pull"]

    def as_written(self, error: NexcageError) -> None:
        """Let a canonical value of this task stand in an error as the user wrote it."""
        option = options.BY_NAME.get(error.option or "")
        if option is None or option.sensitive or error.value is None or error.value != self.spec.get(option.name):
            return
        error.value = self.parameters.get(option.name) or error.value


def _converge(session: Session, task: Task) -> dict[str, t.Any]:
    session.rules()  # those that cannot be read are no reason to look for another backend
    owner = observe.owner(session.layout, task.name)
    known = registry.holding(owner, session.layout, task.name) if owner else None
    plugin = backends.choose(session, task.parameters["backend"], owner, task.name)
    _check_supported(task, plugin)
    holder = known or plugin
    found = observe.one(session, holder, task.name)
    host_key, verdict = _sealed(session, task, found)
    desired = task.spec.masked(host_key)
    request = Request(
        task.name,
        task.state,
        desired,
        plugin.name,
        recreate=task.parameters["recreate"],
        replace_backend=task.parameters["replace_backend"],
        live="update" in plugin.manifest["operations"],
    )
    if task.state != "absent":
        complete = options.complete(desired, verdict.spec, task.parameters)
        observe.refuse_unreachable(task.wait, complete)
        secrets = task.spec.get("secret_env") or {}
        session.orders[task.name] = Order(
            complete,
            secrets,
            ending=task.ending,
            validate_certs=task.parameters["validate_certs"],
            timeout=float(task.timeout),
            pull=task.pull,
            take_over=task.parameters["replace_backend"],
        )
        request = request._replace(image=_image(session, plugin, task, found), updates=plugin.manifest["live"] if plugin.foreign else None)
    steps = plan(request, found)
    _refuse_unsealed(session, task, verdict, steps)
    observe.refuse_unreached(task.wait, task.state, task.name, steps.status[1], steps.changed)
    if known and known.name != plugin.name and any(action.kind in THROUGH_HOLDER for action in steps.actions):
        backends.held(session, known.name, task.name)
    if any(action.kind in MAKES for action in steps.actions):
        if request.image is None and session.orders[task.name].spec.get("image") is not None and not plugin.foreign:
            reference, pull = session.orders[task.name].spec.get("image"), "never" if task.pull == "never" else "missing"
            request = request._replace(image=_resolve(session, plugin, reference, pull))
            steps = plan(request, found)
        backends.require(session, plugin)
    if any(action.kind in (*MAKES, "update") for action in steps.actions):
        digest = request.image["digest"] if request.image and request.image["present"] else None
        _check(session, plugin, task, digest, steps)
    _permit(session, task, steps, plugin, holder)
    _announce(session, task, steps, plugin, found)
    if session.check_mode:
        return _result(session, task, steps, found)
    return _result(session, task, steps, _carry_out(session, task, steps, plugin, holder, found))


def _sealed(session: Session, task: Task, found: dict[str, t.Any] | None) -> tuple[bytes, observe.Sealed]:
    """The host's key, and what of the record can be relied on; a removal needs neither."""
    if task.state == "absent":
        return b"", observe.Sealed(ContainerSpec({}))
    there = key.there(session.layout)
    if not there:
        from . import seals

        seals.renew(session, task.name, task.spec, task.parameters["recreate"], found is None)
    own_key = key.host_key(session.layout, make=False)
    verdict = observe.sealed(session.layout, found, own_key, there)
    if found is not None:
        found["damage"] = verdict.damage
    return own_key, verdict


def _refuse_unsealed(session: Session, task: Task, verdict: observe.Sealed, steps: Plan) -> None:
    """Refuse what would make or change a container by a record that is not sealed."""
    if verdict.other_key or verdict.damage:
        from . import seals

        order = session.orders[task.name]
        session.warnings += seals.refuse_unsealed(session.layout, task.name, verdict, steps, task.parameters["recreate"], order.spec)


def _carry_out(
    session: Session, task: Task, steps: Plan, plugin: registry.Plugin, holder: registry.Plugin, found: dict[str, t.Any] | None
) -> dict[str, t.Any] | None:
    """Do what the plan says and wait for what the task waits for; what is there then."""
    if _starts(steps) and (found is None or found["status"] not in RUNNING):
        session.warnings += observe.stranger(task.wait, task.name)
    _apply(session, task, steps, plugin, holder)
    if found is None and holder.foreign and not steps.changed:
        from . import foreign

        foreign.tidy(session, holder, task.name)
    if steps.changed:
        observe.settle(session.layout, task.name, plugin.name)
    final = found
    left_over = not steps.changed and bool(((found or {}).get("backend_details") or {}).get("generation_leftovers"))
    if left_over:  # every action heals by itself; a run without any does it here
        session.heal(holder, task.name)
    if steps.changed or task.wait or left_over:
        try:
            final = observe.wait(session, plugin, task.name, task.wait, task.timeout, steps.changed)
            if steps.changed and plugin.installed is not None:
                _refuse_lie(plugin, task, steps, final)
        except NexcageError as error:
            error.details.update(changed=steps.changed, plan=steps.as_list())
            _look(session, task, plugin, error)
            raise
    listening = _hooks(session, steps)
    if listening is not None:
        listening.done(task.name, "absent" if final is None else final["status"])
    return final


def _refuse_lie(plugin: registry.Plugin, task: Task, steps: Plan, final: t.Mapping[str, t.Any] | None) -> None:
    """Believe a stranger's plugin that it did something where it can be seen."""
    from . import answers

    answers.refuse_lie(plugin.name, steps.actions[-1].kind, task.name, "absent" if final is None else str(final["status"]))


def _hooks(session: Session, steps: Plan) -> hooks.Hooks | None:
    """Who listens to what a run does; ``None`` where it changes nothing, or nobody does."""
    if not steps.changed or not session.hears():
        return None
    from . import hooks

    return hooks.of(session)


def _announce(session: Session, task: Task, steps: Plan, plugin: registry.Plugin, found: t.Mapping[str, t.Any] | None) -> None:
    """Tell those who listen what is planned; in check mode they say now what they would refuse."""
    listening = _hooks(session, steps)
    if listening is not None:
        order = session.orders.get(task.name)
        recorded = (found or {}).get("spec") or {}
        spec = ContainerSpec({} if options.misshapen(recorded) else recorded) if order is None else order.spec
        listening.concern(task.name, plugin.name, steps, "absent" if found is None else found["status"], spec)


def _look(session: Session, task: Task, plugin: registry.Plugin, error: NexcageError) -> dict[str, t.Any] | None:
    """What is there after a failure; it goes with the error, so that a rescue has exit code and log."""
    found = None
    with contextlib.suppress(NexcageError):
        found = observe.one(session, plugin, task.name)
    if found is not None:
        error.details["container"] = observe.record(found)
    return found


def _check_supported(task: Task, plugin: registry.Plugin) -> None:
    """Refuse the options that the backend does not have."""
    if plugin.foreign:
        from . import foreign

        return foreign.check_supported(plugin, task.parameters)
    return options.check_supported(task.parameters, plugin.kind)


def _check(session: Session, plugin: registry.Plugin, task: Task, digest: str | None, steps: Plan) -> None:
    """Refuse what the engine would refuse, in the words of the task: its short forms of mounts are mounts to the engine."""
    try:
        if plugin.foreign:
            from . import foreign

            makes = any(action.kind in MAKES for action in steps.actions)
            return foreign.check(session, plugin, session.orders[task.name], task.name, makes)
        session.ask(plugin, "oci.check", {"name": task.name, "image": digest})
    except NexcageError as error:
        form = options.short_form(task.parameters.get("volumes") or (), error.value) if error.option == "mounts" else None
        if form is not None:
            error.option, error.value = "volumes", form
        raise


def _image(session: Session, plugin: registry.Plugin, task: Task, found: t.Mapping[str, t.Any] | None) -> dict[str, t.Any] | None:
    """What the task's image stands for now, asked only where the answer can matter."""
    reference = task.spec.get("image")
    if reference is None or plugin.foreign or (found is not None and found.get("image") == reference and task.pull != "always"):
        return None
    return _resolve(session, plugin, reference, task.pull)


def _resolve(session: Session, plugin: registry.Plugin, reference: str, pull: str) -> dict[str, t.Any]:
    image = t.cast("dict[str, t.Any]", session.ask(plugin, "image.resolve", {"reference": reference, "pull": pull}))
    if image["digest"] is None and pull != "never":
        # an unknown image is an error in check mode too, and before anything changed
        image = t.cast("dict[str, t.Any]", session.ask(plugin, "image.resolve", {"reference": reference, "pull": "always"}))
    if pull == "never" and not image["present"]:
        raise NexcageError(
            "E_IMAGE", "the image is not unpacked on this host yet, and pull is never", option="image", value=reference, remedy="set pull: missing"
        )
    return image


def _permit(session: Session, task: Task, steps: Plan, plugin: registry.Plugin, holder: registry.Plugin) -> None:
    """Ask backend and policy for the whole plan, in check mode too: what one cannot or the other denies is refused before the first step."""
    order = session.orders.get(task.name, Order())
    for action in steps.actions:
        for who, operation in _steps_of(action.kind, plugin, holder):
            if operation not in who.manifest["operations"]:
                message = f"{who.name} cannot {operation} a container, and {action.reason}"
                option, value = action.cause(task.name, task.state, task.parameters["recreate"])
                remedy = f"choose another {option}, or another backend" if option == "state" else NO_REPLACE
                raise NexcageError("E_UNSUPPORTED", message, option=option, value=value, remedy=remedy, details={"plugin": who.name})
            refuse_ungranted(who, operation)
            session.permit(who, operation, _params(task, operation, order))


def _steps_of(kind: str, plugin: registry.Plugin, holder: registry.Plugin) -> list[tuple[registry.Plugin, str]]:
    """Who does what for one action; between backends that know nothing of each other a replacement is three operations."""
    if kind == "replace" and plugin.name != holder.name and (plugin.foreign or holder.foreign):
        return [(holder, "stop"), (holder, "delete"), (plugin, "create")]
    return [(holder if kind in THROUGH_HOLDER else plugin, OPERATIONS[kind])] if kind in OPERATIONS else []


def _apply(session: Session, task: Task, steps: Plan, plugin: registry.Plugin, holder: registry.Plugin) -> None:
    """Do what the plan says, in its order."""
    done: list[str] = []
    listening = _hooks(session, steps)
    order = session.orders.get(task.name, Order())
    for action in steps.actions:
        if action.kind == "pull":
            continue
        if action.kind == "update":
            values = {change.option: order.spec.get(change.option) for change in action.changes}
            session.orders[task.name] = order._replace(changes=values)
        try:
            if listening is not None:
                listening.before(task.name, action.kind)
            _operate(session, plugin, holder, action.kind, _params(task, action.kind, order))
        except NexcageError as error:
            error.details.update(done=done, failed=action.kind, changed=bool(done), plan=steps.as_list())
            if action.kind == "pause":
                _explain_pause(task, _look(session, task, plugin, error), error)
            raise
        done.append(action.kind)
        if listening is not None:
            listening.after(task.name, action.kind)


def _operate(session: Session, plugin: registry.Plugin, holder: registry.Plugin, kind: str, params: dict[str, t.Any]) -> None:
    """One action of the plan, by whoever holds or shall hold the container."""
    if plugin.foreign or holder.foreign:
        from . import foreign

        return foreign.act(session, plugin, holder, kind, params)
    session.operate(holder if kind in THROUGH_HOLDER else plugin, OPERATIONS[kind], params)
    return None


def _params(task: Task, kind: str, order: Order) -> dict[str, t.Any]:
    """The parameters of one operation; everything else about the container stays with the broker."""
    params: dict[str, t.Any] = {"name": task.name}
    if kind in ("create", "replace"):
        params.update(image=order.spec.get("image"), pull=task.pull)
    if kind == "stop":
        params.update(task.ending)
    return params


def _explain_pause(task: Task, found: t.Mapping[str, t.Any] | None, error: NexcageError) -> None:
    """A container that ended in the moment after its start cannot be paused."""
    if found is not None and found["status"] == "stopped":
        error.code, error.option, error.value = "E_RUNTIME", "state", "paused"
        error.message = f"{_ended(task, found)}; it could not be paused any more"
        error.remedy = "see in the log why its program ends; only one that goes on running can be paused"


def _result(session: Session, task: Task, steps: Plan, found: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    record: dict[str, t.Any] = observe.record(found) if found is not None else {"name": task.name, "status": "absent"}
    if session.check_mode and found is not None and any(action.kind in (*MAKES, "start") for action in steps.actions):
        record["exit_code"] = None  # that of an earlier run, which says nothing of the one that is predicted
    result = {
        "changed": steps.changed,
        "plan": steps.as_list(),
        "diff": steps.diff(),
        "container": record,
        "sandbox": session.sandbox,
        "warnings": [*session.warnings, *((found or {}).get("problems") or [])],
    }
    if not session.check_mode:
        _say_ended(task, steps, found, result)
    return result


def _say_ended(task: Task, steps: Plan, found: t.Mapping[str, t.Any] | None, result: dict[str, t.Any]) -> None:
    """Warn of a container that this run started and that has ended already, other than the task waited for."""
    if found is None or found["status"] != "stopped":
        return
    said = _ended(task, found)
    if task.wait is not None:  # for its end, as everything else would have failed
        if found.get("exit_code") == 0:
            return
        result["msg"] = said  # a task that failed_when lets fail has something to show
    if _starts(steps):
        result["warnings"].append(said if task.wait else f"{said}; use wait: running to fail, or wait: exited for a job")


def _starts(steps: Plan) -> bool:
    return any(action.kind == "start" for action in steps.actions)


def _ended(task: Task, found: t.Mapping[str, t.Any]) -> str:
    """How a container has ended, and where its log is."""
    code = found.get("exit_code")
    how = "ended" if code is None else f"ended with exit code {code}"
    return f"{task.name} {how}; its log is {found['backend_details'].get('log')}"
