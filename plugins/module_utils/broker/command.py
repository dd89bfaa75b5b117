# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs by template: the call ``command.run``.

The manifest says program and arguments, with typed holes; a plugin names the template and fills the holes. There is no
shell, and nothing of the caller's environment.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import selectors
import signal
import subprocess
import time
import typing as t

from ..model import template
from ..model.errors import NexcageError
from .oci.runtime import ENVIRONMENT, program

if t.TYPE_CHECKING:
    from .extra import Subject

    Arguments = t.Mapping[str, t.Any]

OUTPUT_LIMIT = 2 << 20  # bytes kept of standard output
ERROR_LIMIT = 64 << 10  # bytes kept of standard error
LOOK = 0.02  # seconds between two looks at a program that ended while others hold its pipes
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# No character of these is of use in an answer, and each takes six bytes on its way to the worker.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Commands:
    """The templates of one kind; no other can be run through it.

    Args:
        manifest: The plugin's.
        kind: ``read`` or ``write``.
        deadline: When, by the monotonic clock, the operation has to be over.
        subject: The container that the operation is about; ``None`` where it is about none.
    """

    def __init__(self, manifest: t.Mapping[str, t.Any], kind: str, deadline: float, subject: Subject | None = None) -> None:
        commands = manifest.get("commands") or {}
        self._manifest = {"commands": {name: entry for name, entry in commands.items() if template.command_kind(entry) == kind}}
        self._deadline = deadline
        self._subject = subject

    def run(self, arguments: Arguments) -> dict[str, t.Any]:
        """Run one to its end; the call ``command.run``. Any exit code is an answer.

        Returns:
            ``rc`` (negative for a signal), ``stdout`` and ``stderr`` as text, and whether one of them was cut: ``truncated``.

        Raises:
            NexcageError: ``E_CAPABILITY``, ``E_INVALID``, ``E_BINARY`` before anything ran; ``E_TIMEOUT`` after it was killed.
        """
        name = arguments["command"]
        entry = template.command(self._manifest, name)
        filled = template.texts(entry["parameters"], arguments["parameters"], name)
        own = float(entry.get("timeout_seconds", 30))
        if "stdin" in entry or any(rule["type"] in template.TASK for rule in entry["parameters"].values()):
            return self._run_for_task(name, entry, filled, own)
        argv = [program(entry["binary"]), *(template.fill(argument, filled) for argument in entry["argv"])]
        return self._shown(self._run(name, argv, own).answer())

    def _shown(self, answer: dict[str, t.Any]) -> dict[str, t.Any]:
        """What the plugin gets to see of it."""
        return answer if self._subject is None else self._subject.scrub(answer)

    def _run(self, name: str, argv: list[str], own: float, stdin: bytes | None = None) -> _Run:
        return _Run(name, argv, min(own, self._deadline - time.monotonic()), stdin)

    def _run_for_task(self, name: str, entry: t.Mapping[str, t.Any], filled: dict[str, str], own: float) -> dict[str, t.Any]:
        """Run one whose holes the operator's task fills; what his process printed is his, whole."""
        from ..model import foreign_words

        if self._subject is None or not self._subject.container:
            raise NexcageError("E_CAPABILITY", f"the command {name} takes what a task says of a container, and this operation is about none", option="command")
        order = self._subject.order
        words = foreign_words.arguments(entry, filled, order.spec.values, order.process)
        given = foreign_words.standard_input(entry, order.secrets, order.process)
        run = self._run(name, [program(entry["binary"]), *words], own, given)
        answer = run.answer()
        if any(rule["type"] == "process" for rule in entry["parameters"].values()):
            self._subject.ended({"rc": answer["rc"], **run.whole(), "timed_out": False})
        return self._shown(answer)


def environment() -> dict[str, str]:
    """What a program sees: fixed, and where its user is at home."""
    import pwd

    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/"
    return {**ENVIRONMENT, "HOME": home}


def _in_memory(data: bytes) -> int:
    """A descriptor of a file without a name that holds ``data``: secrets get on no disk, and a writer never waits for a reader."""
    descriptor = os.memfd_create("input", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


class _Run:
    """One program from its start to its end."""

    def __init__(self, name: str, argv: list[str], seconds: float, stdin: bytes | None = None) -> None:
        self._name, self._argv, self._seconds = name, argv, seconds
        self._stdin = stdin
        self._kept = {"stdout": b"", "stderr": b""}
        self._cut = False

    def answer(self) -> dict[str, t.Any]:
        if self._seconds <= 0:
            raise self._late("was not started: the operation's time is over")
        child = self._start()
        try:
            self._follow(child)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            for pipe in (child.stdout, child.stderr):
                t.cast("t.IO[bytes]", pipe).close()
        texts = {name: _CONTROL.sub("\ufffd", data.decode("utf-8", "replace")) for name, data in self._kept.items()}
        return {"rc": child.returncode, **texts, "truncated": self._cut}

    def whole(self) -> dict[str, str]:
        """What was kept of both streams, byte for byte in base64."""
        return {name: base64.b64encode(data).decode("ascii") for name, data in self._kept.items()}

    def _start(self) -> subprocess.Popen[bytes]:
        prctl = getattr(ctypes.CDLL(None), "prctl", None)
        us = os.getpid()

        def bind_to_parent() -> None:  # pragma: no cover - runs in the child
            if prctl is not None:
                prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            os.umask(0o022)
            if os.getppid() != us:
                os._exit(127)

        stdin = subprocess.DEVNULL if self._stdin is None else _in_memory(self._stdin)
        try:
            return subprocess.Popen(  # pylint: disable=ansible-bad-function
                self._argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=environment(),
                close_fds=True,
                start_new_session=True,
                preexec_fn=bind_to_parent,  # noqa: PLW1509 - system calls alone, looked up before the fork
            )
        except OSError as error:
            raise NexcageError("E_BINARY", f"{self._argv[0]} cannot be started: {error.strerror}", value=self._argv[0]) from None
        finally:
            if stdin != subprocess.DEVNULL:
                os.close(stdin)

    def _follow(self, child: subprocess.Popen[bytes]) -> None:
        """Read until the program has ended. Whatever it left running may hold the pipes for ever, so their ends do not count."""
        deadline = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as selector:
            for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
                stream = t.cast("t.IO[bytes]", pipe)
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ, name)
            while selector.get_map():
                ended = child.poll() is not None
                ready = selector.select(0 if ended else min(LOOK, max(0.0, deadline - time.monotonic())))
                if ended and not ready:
                    return
                for key, _events in ready:
                    self._take(selector, key)
                if time.monotonic() >= deadline:
                    break
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._late(f"did not end within {self._seconds:.3g} s") from None

    def _take(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        chunk = os.read(key.fd, 65536)
        if not chunk:
            selector.unregister(key.fileobj)
            return
        limit = OUTPUT_LIMIT if key.data == "stdout" else ERROR_LIMIT
        kept = self._kept[key.data]
        self._kept[key.data] = kept + chunk[: limit - len(kept)]
        self._cut = self._cut or len(kept) + len(chunk) > limit

    def _late(self, what: str) -> NexcageError:
        return NexcageError("E_TIMEOUT", f"the command {self._name} {what}", option="command", value=self._name)
