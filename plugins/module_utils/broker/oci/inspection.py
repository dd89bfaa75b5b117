# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions that change nothing: could this container be made here, and is this path in that one."""

from __future__ import annotations

import os
import stat
import typing as t

from ...model.container import ContainerSpec
from ...model.errors import NexcageError
from . import accounts, bundle, observe, powers, records, resources
from .runtime import Runtime

# Stands for an image that is not here yet: what depends on its files is checked once it is.
_UNKNOWN = bundle.Source("/", {"Cmd": ["/"]}, None, None)


def refuse_impossible(places: records.Places, spec: ContainerSpec, image: t.Mapping[str, t.Any] | None) -> None:
    """Raise what creating a container with this spec would raise, before anything is touched.

    Args:
        places: The backend's folders.
        spec: Canonical values.
        image: The unpacked image; ``None`` for one that is still to be fetched, and for a bundle.

    Raises:
        NexcageError: Naming the option that cannot be on this host; ``E_PRIVILEGE`` where no container can.
    """
    if os.geteuid() == 0:
        powers.require("making a container")
    origin = bundle.source(spec, image) if image is not None or spec.get("bundle") is not None else _UNKNOWN
    if origin is _UNKNOWN:
        spec = ContainerSpec({name: value for name, value in spec.values.items() if name not in ("user", "groups")})
    identifier = "0" * 16
    name = "check"
    plan = bundle.Plan(name, identifier, f"{places.containers}/{name}/{identifier}", "/nexcage/" + identifier, "")
    config = bundle.render(plan, spec, {}, origin)
    if origin is not _UNKNOWN and not spec.get("mounts") and not spec.get("init"):  # a mount may bring the program
        _refuse_missing_program(config["process"], origin.lower)


def _refuse_missing_program(process: t.Mapping[str, t.Any], root: str) -> None:
    """A runtime would say it only when the container is half made."""
    program = process["args"][0]
    search = next((line[5:] for line in process.get("env") or [] if line.startswith("PATH=")), "")
    places = [program] if "/" in program else [f"{folder}/{program}" for folder in search.split(":") if folder]
    if not program.startswith("/") and "/" in program:
        return  # relative to a folder that may not be there yet
    found = [mode for mode in (_mode(root, place) for place in places) if mode is not None]
    if not any(stat.S_ISREG(mode) and mode & 0o111 for mode in found):
        what = "cannot be executed" if found else "does not exist in the image" if "/" in program else f"is not in the image's {search or 'empty PATH'}"
        raise NexcageError("E_INVALID", f"the program {what}", option="command", value=program, remedy="name a program that is in the image")


def _mode(root: str, path: str) -> int | None:
    """Type and permissions of what a path is inside ``root``, ``None`` where it is missing."""
    try:
        descriptor = accounts.open_inside(root, path)
    except OSError:
        return None
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def refuse_limits(values: t.Mapping[str, t.Any]) -> None:
    """Raise what changing to these limits would raise.

    Raises:
        NexcageError: Naming the option that cannot be on this host.
    """
    resources.check(values)


def exists(places: records.Places, tool: Runtime, name: str, path: str) -> bool:
    """Whether a path exists in a running container, seen with the container's own root.

    Raises:
        NexcageError: ``E_NOT_FOUND`` where no such container runs, ``E_UNSUPPORTED`` where its files are not the kernel's
            to show: runsc serves them by a kernel of its own.
    """
    found = observe.listing(places, tool, [name])
    if not found or not found[0]["pid"]:
        raise NexcageError("E_NOT_FOUND", "no such container runs", option="name", value=name)
    if not tool.freezes and not _same(f"/proc/{found[0]['pid']}/root", found[0]["backend_details"]["bundle"] + "/rootfs"):
        message = f"{tool.name} does not show the files of its containers"
        raise NexcageError("E_UNSUPPORTED", message, option="name", value=name, remedy="leave creates and removes out, and let the command look itself")
    child = os.fork()
    if child == 0:  # pragma: no cover - coverage ends with _exit
        answer = 2
        try:
            # Links in the container lead to places in the container only under its own root.
            os.chroot(f"/proc/{found[0]['pid']}/root")
            os.chdir("/")
            answer = 0 if os.path.exists(path) else 1
        finally:
            os._exit(answer)
    status = os.waitpid(child, 0)[1]
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) > 1:
        raise NexcageError("E_RUNTIME", "the container's files cannot be looked at", option="name", value=name)
    return os.WEXITSTATUS(status) == 0


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.stat(one), os.stat(other))
    except OSError:
        return False
