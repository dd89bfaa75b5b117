# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An operating system for the lock-down that only takes notes, and a worker that plays a script."""

from __future__ import annotations

import errno
import os
import threading
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import NAMESPACES


class Notes:
    """Records every call made on it. ``failing`` maps a name to the error number it raises."""

    O_RDWR, O_RDONLY = os.O_RDWR, os.O_RDONLY
    RLIM_INFINITY = -1
    RLIMIT_AS, RLIMIT_CPU, RLIMIT_NOFILE, RLIMIT_FSIZE, RLIMIT_CORE, RLIMIT_NPROC = "AS", "CPU", "NOFILE", "FSIZE", "CORE", "NPROC"

    def __init__(self, log: list[tuple[t.Any, ...]], failing: dict[str, int], answers: dict[str, t.Any]) -> None:
        self._log, self._failing, self._answers = log, failing, answers

    def __getattr__(self, name: str) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any) -> t.Any:
            self._log.append((name, *arguments))
            if name in self._failing:
                raise OSError(self._failing[name], name)
            answer = self._answers.get(name)
            return answer(*arguments) if callable(answer) else answer

        return call


class FakeSystem:
    """In the place of ``lockdown.System``: locked down from the call of prctl that loads the filter on."""

    def __init__(self, failing: dict[str, int] | None = None, **answers: t.Any) -> None:
        self.log: list[tuple[t.Any, ...]] = []
        self.failing = {"setuid": errno.EPERM} if failing is None else failing
        given = {"getppid": 42, "getrlimit": (-1, -1), "dup": lambda number: number + 3, "pipe": (9, 10), "listdir": [], "machine": "x86_64", **answers}
        self.os = Notes(self.log, self.failing, given)
        self.resource = Notes(self.log, self.failing, given)
        self._answers = given

    def machine(self) -> str:
        machine: str = self._answers["machine"]
        return machine

    def prctl(self, option: int, value: int, pointer: int = 0) -> None:
        self.log.append(("prctl", option, value))
        number = self.failing.get(f"prctl {option}")
        if number:
            raise OSError(number, "prctl")
        if option == 22 and self._answers.get("filter_works", True):
            self.failing.update(dict.fromkeys(("open", "socket", "fork", "execv"), errno.EPERM))

    def socket(self) -> None:
        self.os.socket()

    def names(self) -> list[str]:
        """What was called, in order."""
        return [str(entry[0]) for entry in self.log]


class ScriptedWorker:
    """Looks like a ``launch.Process``; a thread answers each frame of the module with prepared bytes.

    Args:
        answers: For each frame received, what to write: an object, bytes as they are, or a list of both.
    """

    def __init__(self, *answers: t.Any) -> None:
        incoming, stdin = os.pipe()
        stdout, outgoing = os.pipe()
        stderr, self._errors = os.pipe()
        self.descriptors = (stdin, stdout, stderr)
        for descriptor in self.descriptors:
            os.set_blocking(descriptor, False)
        self.unsent = b""
        self.pid = 0
        self.parent = os.getpid()
        self.confined = False
        self.received: list[dict[str, t.Any]] = []
        self.ended = 0
        self.result = (0, 0.0)
        self._answers = answers
        self._end = channel.Channel(incoming, outgoing)
        self._incoming, self._outgoing = incoming, outgoing
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self) -> None:
        try:
            for answer in self._answers:
                self.received.append(self._end.receive())
                for part in answer if isinstance(answer, list) else [answer]:
                    os.write(self._outgoing, part if isinstance(part, bytes) else channel.encode(part, channel.TO_WORKER))
            self._end.receive()
        except (EOFError, OSError):
            pass
        finally:
            if self._outgoing >= 0:
                os.close(self._outgoing)

    def say(self, value: dict[str, t.Any]) -> None:
        """Send a frame out of turn."""
        os.write(self._outgoing, channel.encode(value, channel.TO_WORKER))

    def cut(self) -> None:
        """Close the worker's stdout, as its death would."""
        os.close(self._outgoing)
        self._outgoing = -1

    def end(self, grace: float = 0.0) -> tuple[int, float]:
        self.ended += 1
        return self.result

    def close(self) -> None:
        for descriptor in (*self.descriptors, self._errors):
            os.close(descriptor)
        self._thread.join(5)
        os.close(self._incoming)


LAYERS = ["rlimits", "uid", "pdeathsig", "no_new_privs", "seccomp"]
READY = {
    "t": "ready",
    "v": 1,
    "layers": LAYERS,
    "missing": {},
    "selftest": {"open": "EPERM", "socket": "EPERM", "fork": "EPERM", "exec": "EPERM"},
}
STRONG = {**READY, "layers": [LAYERS[0], *NAMESPACES, *LAYERS[1:]]}
LOADED = {"t": "loaded", "operations": ["list"]}
