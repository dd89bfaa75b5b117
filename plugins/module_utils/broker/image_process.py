# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one of the image tools as a child that cannot outlive us, hang us or flood us."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import time
import typing as t

from ..model.errors import NexcageError
from .oci.runtime import program

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # for credential helpers
PASSED_ON = ("HOME", "XDG_RUNTIME_DIR")
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
OUTPUT_LIMIT = 4 * 1024 * 1024  # bytes; the largest manifest that containers/image accepts
ERROR_LIMIT = 64 * 1024  # bytes; the end is kept, because the reason stands last
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Outcome(t.NamedTuple):
    """How a child ended: exit ``code`` (negative: signal), ``output`` and the end of ``errors``."""

    code: int
    output: bytes
    errors: str


def child_environment(environment: t.Mapping[str, str]) -> dict[str, str]:
    """What a child sees: a fixed ``PATH``, where home is, and the proxy settings. Nothing else."""
    names = [*PASSED_ON, *PROXIES, *(name.upper() for name in PROXIES)]
    chosen = {name: environment[name] for name in names if environment.get(name)}
    chosen["PATH"] = PATH
    return chosen


def run(arguments: list[str], timeout: float, environment: t.Mapping[str, str], folder: str = "/") -> Outcome:
    """Run ``arguments`` (the first is a tool's name) in ``folder`` for at most ``timeout`` seconds.

    The child has its own session and dies with us, even when we are killed: otherwise it would go
    on writing into a folder that the next run cleans.

    Raises:
        NexcageError: E_BINARY where the tool is missing, not root's own, or cannot be started.
        subprocess.TimeoutExpired: After the child and its group have been killed.
    """
    path = program(arguments[0])
    prctl = ctypes.CDLL(None).prctl
    us = os.getpid()

    def bind_to_parent() -> None:  # pragma: no cover  (runs in the child)
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.umask(0o022)  # folders that an archive only implies get the usual mode
        if os.getppid() != us:
            os._exit(127)

    try:
        child = subprocess.Popen(  # pylint: disable=ansible-bad-function
            [path, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=child_environment(environment),
            start_new_session=True,
            preexec_fn=bind_to_parent,  # noqa: PLW1509  (two system calls, resolved before the fork)
        )
    except OSError as error:
        raise NexcageError("E_BINARY", f"{path} cannot be started: {error.strerror}") from error
    try:
        output, errors = _collect(child, arguments, timeout)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for pipe in (child.stdout, child.stderr):
            t.cast("t.IO[bytes]", pipe).close()
    return Outcome(child.returncode, output, errors.decode("utf-8", "replace"))


def _collect(child: subprocess.Popen[bytes], arguments: list[str], timeout: float) -> tuple[bytes, bytes]:
    """Both streams until their ends, bounded, and wait for the child."""
    deadline = time.monotonic() + timeout
    streams = {"output": b"", "errors": b""}
    with selectors.DefaultSelector() as selector:
        selector.register(t.cast("t.IO[bytes]", child.stdout), selectors.EVENT_READ, "output")
        selector.register(t.cast("t.IO[bytes]", child.stderr), selectors.EVENT_READ, "errors")
        while selector.get_map():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise subprocess.TimeoutExpired(arguments, timeout)
            for key, _events in selector.select(remaining):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data == "errors":
                    streams["errors"] = (streams["errors"] + chunk)[-ERROR_LIMIT:]
                elif len(streams["output"]) <= OUTPUT_LIMIT:
                    streams["output"] += chunk
    child.wait(max(0.0, deadline - time.monotonic()))
    return streams["output"], streams["errors"]
