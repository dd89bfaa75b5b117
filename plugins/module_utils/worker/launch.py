# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process of a worker, and nothing else: small, so that it can be started before the rest is compiled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import typing as t

from ..model.errors import NexcageError
from .bundle import STUB, program


class Process:
    """A fresh interpreter with an empty environment and three pipes, that has been sent its program.

    Start it from the thread that will use it: the kernel ends it with that thread.

    Args:
        interpreter: Python to run; this one's by default.
        wrapper: Program and arguments that run it, for :mod:`strong`.

    Raises:
        NexcageError: ``E_SANDBOX`` where no process can be started.
    """

    confined = False  # whether it runs in namespaces of its own

    def __init__(self, interpreter: str | None = None, wrapper: t.Sequence[str] = ()) -> None:
        command = [*wrapper] or [interpreter or sys.executable]
        if not command[0]:
            raise NexcageError("E_SANDBOX", "the path of the Python interpreter is unknown")
        try:
            self._process = subprocess.Popen(  # pylint: disable=ansible-bad-function
                [*command, "-I", "-S", "-B", "-c", STUB],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={},
                cwd="/",
                close_fds=True,
                start_new_session=True,
            )
        except OSError as error:
            raise NexcageError("E_SANDBOX", f"cannot start a worker: {error}") from error
        self.pid = self._process.pid
        self.parent = os.getpid()  # as the worker sees it
        streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._streams = t.cast("tuple[t.IO[bytes], ...]", streams)
        self.descriptors = tuple(stream.fileno() for stream in self._streams)
        for descriptor in self.descriptors:
            os.set_blocking(descriptor, False)
        self.unsent = program(portable=interpreter is not None, confined=self.confined)
        with contextlib.suppress(OSError):  # a short pipe, or a dead worker: whoever waits for it will see
            self.unsent = self.unsent[os.write(self.descriptors[0], self.unsent) :]

    def end(self, grace: float = 0.0) -> tuple[int, float]:
        """Kill and reap it.

        Args:
            grace: Seconds to wait for an end of its own.

        Returns:
            Exit code, negative for a signal, and the processor seconds it used.
        """
        limit = time.monotonic() + grace
        while True:
            code, processor = self._reap(os.WNOHANG)
            if code is not None:
                break
            if time.monotonic() >= limit:
                self._kill()
                code, processor = self._reap(0)
                break
            time.sleep(0.001)
        self._process.returncode = code
        return code or 0, processor

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)

    def _reap(self, options: int) -> tuple[int | None, float]:
        try:
            pid, status, usage = os.wait4(self.pid, options)
        except ChildProcessError:  # somebody ignores SIGCHLD
            return 0, 0.0
        if not pid:
            return None, 0.0
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return code, usage.ru_utime + usage.ru_stime

    def close(self) -> None:
        """Close the pipes."""
        for stream in self._streams:
            stream.close()


def ahead() -> Process | None:
    """A process that starts while its user goes on; ``None`` where that fails, and whoever needs one later says why."""
    try:
        return Process()
    except NexcageError:
        return None
