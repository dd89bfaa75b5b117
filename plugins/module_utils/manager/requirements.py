# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin's manifest asks of the host: system and programs."""

from __future__ import annotations

import os
import typing as t

from ..broker.oci import runtime
from ..model.errors import NexcageError
from ..model.version import Range, Version, find_version

# uname's names and those that manifests use for the same thing
ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "i386": "x86", "i486": "x86", "i586": "x86", "i686": "x86"}


def check(manifest: t.Mapping[str, t.Any], facts: os.uname_result | None = None) -> list[NexcageError]:
    """Everything that this host lacks, empty where it lacks nothing.

    Args:
        manifest: The plugin's manifest.
        facts: ``os.uname()``.
    """
    return [*_system(manifest["system_requirements"], facts or os.uname()), *_programs(manifest["binary_dependencies"])]


def _system(wanted: t.Mapping[str, t.Any], facts: os.uname_result) -> t.Iterator[NexcageError]:
    for what, found in (("os", facts.sysname.lower()), ("architecture", _architecture(facts.machine))):
        names = [_architecture(name) for name in wanted[what]]
        if names and found not in names:
            yield NexcageError("E_SYSTEM", f"system_requirements.{what} is {', '.join(wanted[what])}, and this host has {found}", value=found)
    kernel = find_version(facts.release)
    needed = wanted["kernel_version"]
    if kernel is None or Version(kernel.major, kernel.minor, kernel.patch) not in Range(needed):
        yield NexcageError("E_SYSTEM", f"system_requirements.kernel_version is {needed}, and this host has {facts.release}", value=facts.release)
    kinds = wanted["virtualization"]
    if kinds:
        found = _virtualization()
        if found not in kinds:
            yield NexcageError("E_SYSTEM", f"system_requirements.virtualization is {', '.join(kinds)}, and this host has {found}", value=found)


def _architecture(name: str) -> str:
    return ARCHITECTURES.get(name, name)


def _virtualization() -> str:
    """``kvm`` where the host can run virtual machines, ``none`` otherwise."""
    return "kvm" if os.path.exists("/dev/kvm") else "none"


def _programs(wanted: t.Iterable[t.Mapping[str, t.Any]]) -> t.Iterator[NexcageError]:
    for entry in wanted:
        name, needed = entry["name"], entry["version"]
        try:
            path = runtime.program(name)
        except NexcageError as error:
            if error.value == name:  # else it is there, and the error says what is wrong with it
                error.remedy = f"install {name}" + ("" if needed == ">=0" else f" {needed}")
            yield error
            continue
        if needed == ">=0":
            continue
        words = entry["check_command"].split()[1:] or ["--version"]
        try:
            answer = runtime.call([path, *words], timeout=10.0)
            found = find_version(answer.output.decode("utf-8", "replace") + answer.error)
        except (NexcageError, OSError):
            found = None
        if found is None or found not in Range(needed):
            yield NexcageError(
                "E_BINARY", f"{name} {needed} is needed, and {path} is {found or 'of an unknown version'}", value=path, remedy=f"install {name} {needed}"
            )
