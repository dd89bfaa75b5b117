# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done where the key of the host, or the seal of a record, is not what it was. Imported only then.

A key that was lost or replaced is no reason to make every container of the host again: nothing is, unless it is asked for.
And nothing of a record that cannot be verified gets into a container.
"""

from __future__ import annotations

import typing as t

from ..broker import key
from ..model.config import Layout
from ..model.container import ContainerSpec
from ..model.errors import NexcageError
from . import observe

if t.TYPE_CHECKING:
    from ..model.plan import Plan
    from .dispatch import Session

ALLOWED = ("stop",)  # what is done to a container whose record cannot be verified
SHOWN = 5  # names in a message


def renew(session: Session, name: str, spec: ContainerSpec, anew: bool, makes: bool) -> None:
    """Make the key of a host that has none; not in check mode.

    Args:
        session: The module run.
        name: The container that the task is about.
        spec: What the task says of it.
        anew: Whether the task goes on although the old one is lost.
        makes: Whether the container is not there yet.

    Raises:
        NexcageError: ``E_STATE`` where containers are there that another key sealed, and a further one would get a new one;
            and where one shall be made again and the task does not say from what.
    """
    held = observe.names(session.layout)
    if held and makes and not anew:
        message = f"the key of this host is gone, and it sealed {len(held)} containers: {', '.join(held[:SHOWN])}" + (", ..." if held[SHOWN:] else "")
        remedy = "bring it back from a backup; or set recreate: true to go on with a new one, and make the others again in the same way"
        raise NexcageError("E_STATE", message, value=key.path(session.layout), remedy=remedy)
    if anew and not makes:
        _refuse_baseless(name, key.path(session.layout), spec)
    if not session.check_mode and (anew or not held):
        key.host_key(session.layout, make=True)


def refuse_unsealed(layout: Layout, name: str, verdict: observe.Sealed, steps: Plan, recreate: bool, spec: ContainerSpec) -> list[str]:
    """Refuse what would make or change a container by what cannot be relied on.

    Args:
        layout: The host's folders.
        name: The container.
        verdict: Of :func:`observe.sealed`.
        steps: What is planned.
        recreate: Whether the task asks to make it again.
        spec: What it shall be.

    Returns:
        Warnings, where nothing has to be refused.

    Raises:
        NexcageError: ``E_STATE`` naming the file, before anything changes.
    """
    kinds = [action.kind for action in steps.actions]
    lost = key.path(layout)
    if verdict.other_key and not recreate:
        message = f"the record of {name} was sealed with another key than that of this host, so nothing in it can be verified"
        if set(kinds).issubset(ALLOWED):
            return [f"{message}; bring {lost} back from a backup, or make the container again with recreate: true"]
        remedy = f"bring {lost} back from a backup; or set recreate: true once, and it is made again from what this task says alone"
        raise NexcageError("E_STATE", f"{message}; this task would {', '.join(kinds)}", value=lost, remedy=remedy)
    if "replace" in kinds and not verdict.spec.values:
        _refuse_baseless(name, verdict.path, spec)
    return []


def _refuse_baseless(name: str, path: str, spec: ContainerSpec) -> None:
    if spec.get("image") is None and spec.get("bundle") is None:
        message = f"nothing that is recorded of {name} can be relied on, and this task does not say what it shall be made from"
        remedy = f"give image, and all else that it shall be; or bring {path} back from a backup"
        raise NexcageError("E_STATE", message, option="image", value=path, remedy=remedy)
