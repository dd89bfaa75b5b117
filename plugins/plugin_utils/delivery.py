# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the collection's code to a host: once, and again only where the host does not have it (any more).

Ansible would send whatever a module imports with every task. A module of this collection imports one small file
instead, is told here which code it belongs to (``worker.delivered`` tells what it does with that), and is called
again with the code where it answers that the host lacks it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import typing as t
import zlib
from pathlib import Path

from ansible import constants
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

SOURCES = Path(__file__).resolve().parents[1] / "module_utils"
CACHE = "nexcage-code"  # in the folder that Ansible makes for each of its runs
DIGEST = 32  # bytes of SHA-256
MISSING = "code_missing"


class Delivery(ActionBase):
    """Runs the module of the same name."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        asynchronous = bool(self._task.async_val and not self._connection.has_native_async)
        try:
            return {**result, **self.deliver(dict(self._task.args), task_vars, asynchronous)}
        finally:
            if not asynchronous:
                t.cast("t.Any", self)._remove_tmp_path(self._connection._shell.tmpdir)

    def deliver(self, arguments: dict[str, t.Any], variables: dict[str, t.Any] | None, asynchronous: bool = False) -> dict[str, t.Any]:
        """Run the module with these arguments.

        Args:
            arguments: The module's options.
            variables: The task's.
            asynchronous: Leave it to itself; the code goes with it, since nobody is there to ask for it.
        """
        name = f"nexcage.backends.{type(self).__module__.rpartition('.')[2]}"
        digest, data = code(t.cast("t.Any", constants).DEFAULT_LOCAL_TMP)
        arguments = {**arguments, "_code": digest}
        if not asynchronous:
            answer = self._execute_module(module_name=name, module_args=arguments, task_vars=variables)
            if not answer.get(MISSING):
                return t.cast("dict[str, t.Any]", answer)
        arguments = {**arguments, "_code_data": base64.b64encode(data).decode()}
        return t.cast("dict[str, t.Any]", self._execute_module(module_name=name, module_args=arguments, task_vars=variables, wrap_async=asynchronous))


def asked(arguments: t.Mapping[str, t.Any], option: str) -> bool:
    """Whether a task says yes to an option, in whichever word: what its module would understand.

    Raises:
        NexcageError: ``E_INVALID`` for what is neither yes nor no.
    """
    value = arguments.get(option)
    try:
        return value is not None and bool(boolean(value))
    except TypeError:
        raise NexcageError("E_INVALID", "neither yes nor no", option=option, value=value) from None


def code(folder: str) -> tuple[str, bytes]:
    """The code that modules need on a host: its SHA-256 and itself, as ``worker.delivered`` reads it.

    Args:
        folder: Where it is kept for the other tasks of this run of Ansible.
    """
    place = os.path.join(folder, CACHE)
    with contextlib.suppress(OSError):
        data = Path(place).read_bytes()
        if hashlib.sha256(data[DIGEST:]).digest() == data[:DIGEST]:
            return data[:DIGEST].hex(), data[DIGEST:]
    packed = pack(SOURCES)
    digest = hashlib.sha256(packed)
    own = f"{place}.{os.getpid()}"
    try:
        Path(own).write_bytes(digest.digest() + packed)
        os.rename(own, place)
    except OSError:  # a full disk: it is made again by the next task, and what little room there is, is Ansible's
        with contextlib.suppress(OSError):
            os.unlink(own)
    return digest.hexdigest(), packed


def pack(folder: Path) -> bytes:
    """All Python files below a folder, without documentation, line for line: the same bytes from the same files."""
    from ansible_collections.nexcage.backends.plugins.module_utils.worker.bundle import slim

    sources = {path.relative_to(folder).as_posix(): slim(path.read_text("utf-8")) for path in sorted(folder.rglob("*.py"))}
    return zlib.compress(json.dumps(sources).encode(), 9)
