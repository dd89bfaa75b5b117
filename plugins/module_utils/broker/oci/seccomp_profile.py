# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution's seccomp profile in the form that runtimes read.

The file of containers-common has conditions (``includes``, ``excludes``: capabilities, architectures, kernel
version) that the runtime specification does not know; they are decided here, as
github.com/containers/common ``pkg/seccomp`` decides them.
"""

from __future__ import annotations

import os
import re
import typing as t

from ...model.errors import NexcageError
from .. import store

DEFAULT_PATHS = ("/etc/containers/seccomp.json", "/usr/local/share/containers/seccomp.json", "/usr/share/containers/seccomp.json")
_ARCHITECTURES = {  # machine of uname(2): (libseccomp's name, the profile's name in conditions)
    "x86_64": ("SCMP_ARCH_X86_64", "amd64"),
    "aarch64": ("SCMP_ARCH_AARCH64", "arm64"),
    "armv7l": ("SCMP_ARCH_ARM", "arm"),
    "ppc64le": ("SCMP_ARCH_PPC64LE", "ppc64le"),
    "s390x": ("SCMP_ARCH_S390X", "s390x"),
    "riscv64": ("SCMP_ARCH_RISCV64", "riscv64"),
}
_cache: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}

# runtime specification 1.1, config-linux.md, and the older name of KILL_THREAD
_ACTIONS = frozenset(f"SCMP_ACT_{name}" for name in ("KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY"))


def load(choice: str, capabilities: t.Sequence[str]) -> dict[str, t.Any] | None:
    """The runtime specification's ``linux.seccomp``, ``None`` for no filter.

    Args:
        choice: ``default``, ``unconfined`` or the absolute path of a profile.
        capabilities: The container's, without ``CAP_``.

    Raises:
        NexcageError: ``E_INVALID`` for a missing or damaged profile, ``E_SYSTEM`` where the distribution's own is missing.
    """
    if choice == "unconfined":
        return None
    path = _default_path() if choice == "default" else choice
    if not path.startswith("/"):
        raise NexcageError("E_INVALID", "not an absolute path", option="seccomp_profile", value=choice, remedy="use default, unconfined or a path")
    try:
        facts = os.stat(path)
    except OSError as error:
        raise NexcageError("E_INVALID", f"no such profile: {error.strerror}", option="seccomp_profile", value=choice) from error
    key = (path, facts.st_mtime_ns, facts.st_size, tuple(capabilities))
    if key not in _cache:
        try:
            _cache[key] = convert(store.read_json(path), capabilities, os.uname())
        except (NexcageError, ValueError, TypeError, KeyError, AttributeError) as error:
            words = error.message if isinstance(error, NexcageError) else f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise NexcageError("E_INVALID", f"not a seccomp profile: {words}", option="seccomp_profile", value=path) from error
    return _cache[key]


def _default_path() -> str:
    for path in DEFAULT_PATHS:
        if os.path.exists(path):
            return path
    raise NexcageError(
        "E_SYSTEM",
        f"the default seccomp profile is missing ({' and '.join(DEFAULT_PATHS)})",
        option="seccomp_profile",
        value="default",
        remedy="install the package containers-common (Debian: golang-github-containers-common)",
    )


class Host(t.Protocol):
    """What is needed of ``os.uname()``."""

    @property
    def machine(self) -> str:
        """Hardware name."""

    @property
    def release(self) -> str:
        """Kernel version."""


def convert(profile: t.Mapping[str, t.Any], capabilities: t.Sequence[str], host: Host) -> dict[str, t.Any]:
    """Decide a profile's conditions for one container on one host.

    Args:
        profile: The parsed file; one in the runtime's own form passes unchanged.
        capabilities: The container's, without ``CAP_``.
        host: Machine and kernel version.

    Raises:
        KeyError: Where a needed field is missing.
    """
    for action in (profile["defaultAction"], *(rule["action"] for rule in profile.get("syscalls") or [])):
        if action not in _ACTIONS:
            raise ValueError(f"unknown action {action}")
    library_name, short_name = _ARCHITECTURES.get(host.machine, ("", host.machine))
    result: dict[str, t.Any] = {"defaultAction": profile["defaultAction"], "syscalls": []}
    if profile.get("defaultErrnoRet") is not None:
        result["defaultErrnoRet"] = profile["defaultErrnoRet"]
    architectures = list(profile.get("architectures") or [])
    for entry in profile.get("archMap") or []:
        if entry["architecture"] == library_name:
            architectures = [library_name, *(entry.get("subArchitectures") or [])]
    if architectures:
        result["architectures"] = architectures
    if profile.get("flags"):
        result["flags"] = profile["flags"]
    for rule in profile.get("syscalls") or []:
        if _applies(rule, {"CAP_" + name for name in capabilities}, short_name, host.release):
            result["syscalls"].append(_rule(rule))
    return result


def _rule(rule: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    names = rule.get("names") or [rule["name"]]
    converted: dict[str, t.Any] = {"names": names, "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        converted["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        converted["args"] = rule["args"]
    return converted


def _applies(rule: t.Mapping[str, t.Any], capabilities: set[str], architecture: str, release: str) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if architecture in (excludes.get("arches") or []) or capabilities.intersection(excludes.get("caps") or []):
        return False
    if excludes.get("minKernel") and _version(release) >= _version(excludes["minKernel"]):
        return False
    if includes.get("arches") and architecture not in includes["arches"]:
        return False
    if includes.get("caps") and not capabilities.issuperset(includes["caps"]):
        return False
    return not (includes.get("minKernel") and _version(release) < _version(includes["minKernel"]))


def _version(text: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", text)[:2]]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)
