# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The planner: what there is and what is wanted, compared into an ordered list of actions.

Pure. Check mode prints the plan, diff mode renders it, apply executes it: one object for all three.
"""

from __future__ import annotations

import typing as t

from .container import ContainerSpec
from .errors import NexcageError
from .options import SPEC_OPTIONS, Option, show

RUNNING = ("running", "paused")
PLAIN = ("start", "stop", "pause", "resume")  # the status alone tells that this was done


class Change(t.NamedTuple):
    """One option whose value differs; ``before`` and ``after`` are for a reader and hold no secret."""

    option: str
    path: str
    before: t.Any
    after: t.Any
    live: bool

    def __str__(self) -> str:
        """The change in one line, as it stands in an action's reason."""
        return f"{self.path}: {self.before if self.before is not None else '(unset)'} -> {self.after}"


class Action(t.NamedTuple):
    """One step: ``pull create replace update start stop pause resume delete``."""

    kind: str
    reason: str
    changes: tuple[Change, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        """The action as it stands in a result."""
        changes = [{"option": c.option, "before": c.before, "after": c.after, "live": c.live} for c in self.changes]
        return {"action": self.kind, "reason": self.reason, "changes": changes}

    def cause(self, request_name: str, state: str, recreate: bool) -> tuple[str, t.Any]:
        """The option of the task that makes the step necessary, and its value."""
        if self.kind != "replace":
            return "state", state
        fixed = [change for change in self.changes if not change.live] or self.changes
        other: tuple[str, t.Any] = ("recreate", True) if recreate else ("name", request_name)
        return (fixed[0].option, fixed[0].after) if fixed else other


class Request(t.NamedTuple):
    """What a task asks for one container.

    Args:
        name: The container.
        state: One of the states, aliases resolved.
        spec: What the task says, secrets masked as they are in records.
        backend: The backend's plugin name that shall hold it.
        recreate: Make it again even if nothing differs.
        replace_backend: May move to another backend.
        image: What the image reference stands for now: ``{"digest", "present"}``; ``None`` where
            the task names none, or nothing is to be created.
        live: Whether the backend can change anything of a container that exists.
        updates: The options that it can change so; ``None`` for those that the option table says.
    """

    name: str
    state: str
    spec: ContainerSpec
    backend: str
    recreate: bool = False
    replace_backend: bool = False
    image: t.Mapping[str, t.Any] | None = None
    live: bool = True
    updates: t.Collection[str] | None = None


class Plan:
    """The actions for one container, in order; empty where all is as wanted."""

    def __init__(self, name: str, actions: t.Sequence[Action], before: str, after: str, changes: t.Sequence[Change]) -> None:
        self.name = name
        self.actions = tuple(actions)
        self.status = (before, after)
        self.changes = tuple(changes)

    @property
    def changed(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.actions)

    def as_list(self) -> list[dict[str, t.Any]]:
        """The actions as they stand in a result."""
        return [action.as_dict() for action in self.actions]

    def diff(self) -> dict[str, t.Any]:
        """Ansible's diff: the status and the options that change, nothing else, no secret."""
        before: dict[str, t.Any] = {}
        after: dict[str, t.Any] = {}
        if self.changed:
            before["status"], after["status"] = self.status
            steps = [action.kind for action in self.actions]
            if before["status"] == after["status"] or len(steps) > 1 or steps[0] not in PLAIN:
                after["actions"] = steps
        for change in self.changes:
            if self.status[0] != "absent":
                before[change.path] = change.before
            after[change.path] = change.after
        return {"before": before, "after": after, "before_header": self.name, "after_header": self.name}


def compare(desired: ContainerSpec, found: t.Mapping[str, t.Any]) -> list[Change]:
    """Where the container differs from what is wanted; an unmanaged option never does.

    Args:
        desired: The wanted values, secrets masked.
        found: The record ``spec``, and what was ``observed`` on the host, which wins.
    """
    recorded, observed = found.get("spec") or {}, found.get("observed") or {}
    changes = []
    for option in SPEC_OPTIONS:
        wanted = desired.get(option.name)
        if wanted is None:
            continue
        current = observed.get(option.name, recorded.get(option.name, option.effective))
        if current != wanted:
            changes.append(_change(option, current, wanted))
    return changes


def drift(found: t.Mapping[str, t.Any], desired: ContainerSpec) -> list[Change]:
    """Recorded limits that somebody changed behind our back and the task does not mention."""
    recorded, observed = found.get("spec") or {}, found.get("observed") or {}
    return [
        _change(option, observed[option.name], recorded[option.name])
        for option in SPEC_OPTIONS
        if desired.get(option.name) is None
        and recorded.get(option.name) is not None
        and option.name in observed
        and observed[option.name] != recorded[option.name]
    ]


def _change(option: Option, current: t.Any, wanted: t.Any) -> Change:
    before, after = show(option, current), show(option, wanted)
    if option.sensitive and isinstance(current, dict):
        after = {name: "(secret)" if current.get(name) == value else "(secret, new value)" for name, value in wanted.items()}
    return Change(option.name, option.path, before, after, option.live)


def plan(request: Request, found: t.Mapping[str, t.Any] | None) -> Plan:
    """Compare and decide.

    Args:
        request: What the task wants.
        found: The observation of the container, ``None`` where there is none.

    Raises:
        NexcageError: Where the way from found to wanted needs something the task does not give.
    """
    status = "absent" if found is None else str(found["status"])
    moved = [] if found is None or status == "incomplete" else _moved(request, found)
    if request.state == "absent":
        return Plan(request.name, _removal(status, request.name), status, "absent", ())
    if found is None or status == "incomplete":
        return _creation(request, status, (found or {}).get("spec") or {})
    changes = compare(request.spec, found) + drift(found, request.spec)
    changes += [*_image_changes(request, found), *moved]
    if request.updates is not None:
        changes = [change._replace(live=change.option in request.updates) for change in changes]
    why = _why_replace(request, found, changes)
    actions: list[Action] = []
    now = status
    if request.state == "stopped":  # first of all: whatever cannot be written on a full disk, it can be stopped
        actions, now = _to_stopped(status, False)
    if why:
        actions += _pull(request)
        actions.append(Action("replace", why, tuple(changes)))
        steps, after = _steps(request.state, "created", status in RUNNING)
        actions += steps
    else:
        if changes:
            actions.append(Action("update", "; ".join(map(str, changes)), tuple(changes)))
        steps, after = _steps(request.state, now, status in RUNNING)
        actions += steps
    return Plan(request.name, actions, status, after, changes)


def _removal(status: str, name: str) -> list[Action]:
    if status == "absent":
        return []
    stop = [Action("stop", f"{name} is {status} and shall be absent")] if status in RUNNING else []
    return [*stop, Action("delete", f"{name} is {status} and shall be absent")]


def _creation(request: Request, status: str, recorded: t.Mapping[str, t.Any]) -> Plan:
    if not any(source.get(root) for source in (request.spec, recorded) for root in ("image", "bundle")):
        raise NexcageError(
            "E_INVALID",
            f"the container {request.name} {_missing(status)}, and an image or a bundle is needed to create it",
            option="image",
            remedy="give image or bundle, or correct the name",
        )
    changes = compare(request.spec, {"spec": {}, "observed": {}})
    actions = [*_pull(request), Action("create", f"{request.name} {_missing(status)}", tuple(changes))]
    steps, after = _steps(request.state, "created", False)
    return Plan(request.name, [*actions, *steps], status, after, changes)


def _missing(status: str) -> str:
    return "does not exist" if status == "absent" else "is half-made or damaged"


def _pull(request: Request) -> list[Action]:
    image = request.image
    if image is None or image.get("present", True):
        return []
    return [Action("pull", f"the image {request.spec.get('image')} is not unpacked on this host yet")]


def _image_changes(request: Request, found: t.Mapping[str, t.Any]) -> list[Change]:
    """A reference that now stands for another image, although its text is the same."""
    digest = request.image.get("digest") if request.image else None
    current = found.get("image_digest")
    if digest is None or current is None or digest == current:
        return []
    return [Change("image", "image_digest", current, digest, False)]


def _why_replace(request: Request, found: t.Mapping[str, t.Any], changes: t.Sequence[Change]) -> str:
    """The reason to make the container again, empty where it can stay."""
    reasons = [str(change) for change in changes if not (change.live and request.live)]
    if found.get("damage"):
        reasons.append(str(found["damage"]))
    if request.recreate:
        reasons.append("recreate was asked for")
    return "; ".join(reasons)


def _moved(request: Request, found: t.Mapping[str, t.Any]) -> list[Change]:
    """That the container goes to another backend, which the task has to allow.

    Raises:
        NexcageError: ``E_OWNER``; another backend's container is not removed either.
    """
    if found["backend"] == request.backend:
        return []
    owner, wanted = _typed(found["backend"]), _typed(request.backend)
    if not request.replace_backend:
        remedy = "set replace_backend: true to move it, use backend: auto, or choose another name"
        raise NexcageError(
            "E_OWNER",
            f"the container {request.name} belongs to the backend {owner}",
            option="backend",
            value=wanted,
            remedy=f"use backend: auto or {owner}, or correct the name" if request.state == "absent" else remedy,
        )
    return [Change("backend", "backend", owner, wanted, False)]


def _typed(plugin: str) -> str:
    """A backend as users type it."""
    return plugin.removesuffix("-backend")


def _steps(state: str, status: str, ran: bool) -> tuple[list[Action], str]:
    """From a status to a state by starting, stopping, pausing and resuming.

    Args:
        state: The wanted state.
        status: What it is now, or will be once it has been made again.
        ran: Whether it ran before the plan began; ``present`` gives that back.
    """
    if state == "present":
        if status == "created" and ran:
            return [Action("start", "it ran before")], "running"
        return [], status
    return TRANSITIONS[state](status, ran)


def _to_started(status: str, ran: bool) -> tuple[list[Action], str]:
    if status == "running":
        return [], "running"
    if status == "paused":
        return [Action("resume", "it is paused and shall run")], "running"
    return [Action("start", f"it is {status} and shall run")], "running"


def _to_stopped(status: str, ran: bool) -> tuple[list[Action], str]:
    if status in RUNNING:
        return [Action("stop", f"it is {status} and shall be stopped")], "stopped"
    return [], status


def _to_paused(status: str, ran: bool) -> tuple[list[Action], str]:
    if status == "paused":
        return [], "paused"
    start = [] if status == "running" else [Action("start", f"it is {status} and shall be paused")]
    return [*start, Action("pause", "it shall be paused")], "paused"


def _to_restarted(status: str, ran: bool) -> tuple[list[Action], str]:
    stop = [Action("stop", "a restart was asked for")] if status in RUNNING else []
    return [*stop, Action("start", "a restart was asked for")], "running"


TRANSITIONS: dict[str, t.Callable[[str, bool], tuple[list[Action], str]]] = {
    "started": _to_started,
    "stopped": _to_stopped,
    "paused": _to_paused,
    "restarted": _to_restarted,
}
