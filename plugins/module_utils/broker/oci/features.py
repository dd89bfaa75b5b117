# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runtime and host can, for health reports and for a refusal before anything changes."""

from __future__ import annotations

import os
import typing as t

from ...model.errors import NexcageError
from ...model.version import Range, Version, find_version
from . import cgroup, cgroup_control, records, rootfs, seccomp_profile
from .runtime import Runtime, call, message, program

LEAST = {"conmon": ">=2.0.26"}  # start pipe and --full-attach; a runtime's range stands in its backend's manifest


def version(path: str) -> Version:
    """What ``--version`` of a program says.

    Raises:
        NexcageError: ``E_BINARY`` where it says nothing of the kind.
    """
    answer = call([path, "--version"], timeout=10)
    found = find_version(answer.output.decode("utf-8", "replace"))
    if answer.code != 0 or found is None:
        raise NexcageError("E_BINARY", f"{path} --version tells no version: {message(answer.error)}", value=path)
    return found


def check(name: str) -> tuple[str, str]:
    """Path and version of a program, given by name or path, that is present and new enough.

    Raises:
        NexcageError: ``E_BINARY`` where it is missing, ``E_VERSION`` where it is too old.
    """
    path = program(name)
    found = version(path)
    name = name.rpartition("/")[2]
    needed = LEAST.get(name)
    if needed is not None and found not in Range(needed):
        raise NexcageError("E_VERSION", f"{path} is version {found}", option=name, value=str(found), remedy=f"install {name} {needed}")
    return path, str(found)


def probe(places: records.Places, runtime: Runtime) -> dict[str, t.Any]:
    """``runtime path version conmon cgroup_mode systemd overlay seccomp problems missing``.

    Never raises for what is missing: ``problems`` says it in words, ``missing`` holds the errors themselves.
    """
    result: dict[str, t.Any] = {"runtime": runtime.name, "path": None, "version": None, "conmon": None}
    missing: list[NexcageError] = []
    try:
        result["path"], result["version"] = check(runtime.wanted)
    except NexcageError as error:
        missing.append(error)
    try:
        result["conmon"] = check("conmon")[1]
    except NexcageError as error:
        missing.append(error)
    result["missing"] = [error.as_dict() for error in missing]
    problems = [str(error) for error in missing]
    result["cgroup_mode"] = cgroup.mode()
    result["cgroup_workaround"] = cgroup_control.blocked(runtime.wanted)
    result["systemd"] = cgroup_control.systemd()
    result["overlay"] = rootfs.overlay_known()
    result["seccomp"] = any(os.path.exists(path) for path in seccomp_profile.DEFAULT_PATHS)
    if not result["overlay"]:
        problems.append("the kernel shows no overlayfs; images are copied for every container")
    if not result["seccomp"]:
        problems.append("the default seccomp profile is missing; install the package containers-common")
    if os.geteuid() != 0:
        problems.append("containers need root; run the task with 'become: true'")
    result["problems"] = problems
    return result
