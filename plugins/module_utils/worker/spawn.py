# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's side of a worker: start it, see it locked, send it a plugin, serve its calls, end it.

Frames, host (H) and worker (W), strictly in turn; only log frames get no answer. Anything else, and
anything above a limit, ends the worker::

    H  {"t": "init", "v": 1, "parent": pid, "uid": n, "gid": n, "limits": {...}, "preload": [...]}
    W  {"t": "ready", "v": 1, "layers": [...], "missing": {layer: reason}, "selftest": {...}}
    H  {"t": "load", "entry": "plugin.py", "files": {file: source}, "config": {...}}
    W  {"t": "loaded", "operations": [...]}               or  {"t": "failed", "error": {...}}
    H  {"t": "req", "id": n, "op": ..., "params": {...}}
    W  {"t": "call", "id": n, "n": m, "cap": ..., "params": {...}}
    H  {"t": "ret", "n": m, "ok": true, "value": ...}      or  {..., "ok": false, "error": {...}}
    W  {"t": "log", "level": ..., "message": ...}
    W  {"t": "res", "id": n, "ok": true, "value": ...}     or  {..., "ok": false, "error": {...}}

An error object holds "code", "message", "remedy" and "call": the number of the refused call that the
plugin let pass, whose own error the operator then sees.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import typing as t

from ..model.errors import NexcageError
from . import channel
from .bundle import STUB, program
from .pipes import Pipes

TIERS = ("process", "standard", "strong")
NEEDED = frozenset(("rlimits", "no_new_privs", "seccomp"))  # layers of the tier standard
START = 30.0  # seconds from the start to the ready frame; an emulated guest is slow
CALLS, LOGS = 1000, 256  # per operation
MEMORY = 64 << 20  # bytes; an interpreter needs that much address space to begin
MESSAGE = 4096  # characters kept of a message
CODES = frozenset(("E_PLUGIN", "E_INVALID", "E_NOT_FOUND", "E_EXISTS", "E_UNSUPPORTED", "E_RUNTIME", "E_LIMIT"))
# What a plugin that did not come with the collection may import; each costs time, so built-in ones get none.
PRELOADABLE = (
    *("_strptime", "abc", "base64", "binascii", "bisect", "collections", "collections.abc", "contextlib", "copy"),
    *("dataclasses", "datetime", "decimal", "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "hmac"),
    *("ipaddress", "itertools", "math", "operator", "posixpath", "random", "shlex", "statistics", "string", "struct"),
    *("textwrap", "time", "types", "typing", "unicodedata", "urllib.parse", "uuid", "zlib"),
)
NOBODY = 65534
_SHAPES = {
    "ready": {"t": str, "v": int, "layers": list, "missing": dict, "selftest": dict},
    "loaded": {"t": str, "operations": list},
    "failed": {"t": str, "error": dict},
    "call": {"t": str, "id": int, "n": int, "cap": str, "params": dict},
    "log": {"t": str, "level": str, "message": str},
    "res": {"t": str, "id": int, "ok": bool},
}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

Handler = t.Callable[[str, "dict[str, t.Any]"], t.Any]


class Limits(t.NamedTuple):
    """What one worker may use.

    Args:
        memory: Bytes of address space.
        cpu: Seconds of processor time over the worker's life.
        descriptors: Open files.
        timeout: Seconds that one operation may spend in the plugin; brokered calls do not count.
        calls: Brokered calls per operation.
        logs: Log lines per operation.
        frame: Bytes of one frame from the worker.
    """

    memory: int = MEMORY
    cpu: int = 2
    descriptors: int = 100
    timeout: float = 30.0
    calls: int = CALLS
    logs: int = LOGS
    frame: int = channel.FROM_WORKER


def limits_of(requirements: t.Mapping[str, t.Any]) -> Limits:
    """The limits that a manifest's ``resource_requirements`` ask for, with the manifest's defaults.

    ``max_cpu_percent`` of ``timeout_seconds`` is a budget of processor seconds, at least one; less memory
    than an interpreter needs to start is raised to that.
    """
    timeout = requirements.get("timeout_seconds", 30)
    return Limits(
        memory=max(requirements.get("max_memory_mb", 64) << 20, MEMORY),
        cpu=max(1, requirements.get("max_cpu_percent", 5) * timeout // 100),
        descriptors=max(requirements.get("max_file_descriptors", 100), 16),
        timeout=float(timeout),
    )


class Sandbox(t.NamedTuple):
    """What confines a worker: tier, the layers that hold, and why others do not."""

    tier: str
    layers: tuple[str, ...]
    missing: dict[str, str]

    def as_dict(self) -> dict[str, t.Any]:
        """As it stands in a task's result."""
        return {"tier": self.tier, "layers": list(self.layers), "missing": dict(self.missing)}


def clean(text: object) -> str:
    """A worker's text on one line: control and direction characters written out, cut at MESSAGE characters."""
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], str(text)[:MESSAGE])


def identity() -> tuple[int, int]:
    """The user and group a worker becomes, (-1, -1) where this process may not change its user.

    ``nexcage-worker`` where the role made it, else nobody. Ending a process of another user needs
    CAP_KILL, so a root without it keeps the worker. The files are read directly: a name service may be slow.
    """
    if os.geteuid() != 0:
        return -1, -1
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            effective = int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)
    except (OSError, StopIteration):
        return -1, -1
    if effective & 0xE0 != 0xE0:  # CAP_KILL, CAP_SETGID, CAP_SETUID
        return -1, -1
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as users:
            for line in users:
                if line.startswith("nexcage-worker:"):
                    fields = line.split(":")
                    return int(fields[2]) or NOBODY, int(fields[3]) or NOBODY
    except (OSError, ValueError, IndexError):
        pass
    return NOBODY, NOBODY


class Worker:
    """One locked process that serves one plugin. Make it early: it starts while the caller goes on.

    Args:
        limits: May also come later, with :meth:`start`.
        required: The tier below which nothing is loaded: "process", "standard" or "strong".
        interpreter: Python to run; this one's by default.

    Raises:
        NexcageError: ``E_SANDBOX`` where no process can be started.

    After any error but those of the plugin and its calls the worker is dead and reaped. Use it from one thread only, the one that
    made it: the kernel ends it with that thread.
    """

    def __init__(self, limits: Limits | None = None, required: str = "standard", interpreter: str | None = None) -> None:
        self.limits = limits or Limits()
        self.required = required
        self.sandbox = Sandbox("process", (), {})
        self.operations: tuple[str, ...] = ()
        self.config: dict[str, t.Any] = {}
        self._request = 0
        self._refusals: dict[int, NexcageError] = {}
        self._ready = False
        self._stopped = ""  # why it ended
        executable = interpreter or sys.executable
        if not executable:
            raise NexcageError("E_SANDBOX", "the path of the Python interpreter is unknown")
        try:
            self._process = subprocess.Popen(
                [executable, "-I", "-S", "-B", "-c", STUB],
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
        self._streams = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._pipes = Pipes(*(t.cast("t.IO[bytes]", stream).fileno() for stream in self._streams))
        self._pipes.send(program())

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """What the plugin printed, cleaned; at most 64 KiB."""
        return "\n".join(clean(line) for line in self._pipes.stderr.decode("utf-8", "replace").splitlines())

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, limits: Limits | None = None, preload: t.Iterable[str] = ()) -> Sandbox:
        """Let it lock itself down and see the result.

        Args:
            limits: Instead of those given before.
            preload: Names out of ``PRELOADABLE`` that the plugin imports.

        Raises:
            NexcageError: ``E_SANDBOX`` where the required tier is not reached, or it did not start.
        """
        self.limits = limits or self.limits
        self._pipes.limit = self.limits.frame
        uid, gid = identity()
        self._send(
            {
                "t": "init",
                "v": 1,
                "parent": os.getpid(),
                "uid": uid,
                "gid": gid,
                "limits": {name: getattr(self.limits, name) for name in ("memory", "cpu", "descriptors", "frame")},
                "preload": [name for name in preload if name in PRELOADABLE],
            }
        )
        try:
            frame = self._receive(time.monotonic() + START, ("ready",))
        except NexcageError as error:
            details = {**error.details, "stderr": self.stderr[-MESSAGE:]}
            raise NexcageError("E_SANDBOX", f"the worker did not start: {error.message}", details=details) from error
        self.sandbox = _judge(frame)
        if TIERS.index(self.sandbox.tier) < TIERS.index(self.required):
            self._end("its sandbox was too weak")
            missing = "; ".join(f"{name}: {reason}" for name, reason in self.sandbox.missing.items())
            raise NexcageError(
                "E_SANDBOX",
                f"this host offers the sandbox tier {self.sandbox.tier}, {self.required} is required"
                + (f" ({missing})" if missing else ""),
                details=self.sandbox.as_dict(),
            )
        self._ready = True
        return self.sandbox

    def load(
        self,
        name: str,
        sources: t.Mapping[str, str],
        config: t.Mapping[str, t.Any] | None = None,
        entry: str = "plugin.py",
    ) -> tuple[str, ...]:
        """Send a plugin's files; the first bytes of it that the worker sees.

        Args:
            name: The plugin's name, for messages.
            sources: File name to source. The files are modules of one package, so ``from .other import x`` works.
            config: The operator's settings for it.
            entry: The file that has ``backend()``.

        Returns:
            The operations that the plugin's backend has.

        Raises:
            NexcageError: ``E_PLUGIN`` where it cannot be imported; as :meth:`request` otherwise.
        """
        if not self._ready:
            self.start()
        self._send({"t": "load", "entry": entry, "files": dict(sources), "config": dict(config or {})})
        frame = self._receive(time.monotonic() + self.limits.timeout, ("loaded", "failed"), self._no_calls)
        if frame["t"] == "failed":
            self._end("the plugin could not be loaded")
            raise self._plugin_error(frame["error"], f"the plugin {name} cannot be loaded")
        self.operations = tuple(str(operation) for operation in frame["operations"])
        return self.operations

    def request(
        self,
        operation: str,
        params: t.Mapping[str, t.Any],
        handler: Handler,
        deadline_s: float | None = None,
    ) -> t.Any:
        """Run one operation of the plugin.

        Args:
            operation: Such as "create".
            params: JSON-able.
            handler: Gets the name and the parameters of each brokered call, and of each log line as
                ("log", {"level", "message"}), and returns a JSON-able value. A ``NexcageError`` it raises goes to the plugin as
                a refusal; where the plugin lets it pass, that very object is raised here.
            deadline_s: Seconds in the plugin; the handler's own time does not count.

        Returns:
            What the operation returned: JSON, but a stranger's; check it before use.

        Raises:
            NexcageError: The plugin's own error, a refusal it let pass, ``E_TIMEOUT``, ``E_LIMIT``, ``E_CRASH``, ``E_PROTOCOL``.
        """
        if self._pipes.pending():
            raise self._violation("a frame that nobody asked for")
        self._request += 1
        self._refusals = {}
        self._send({"t": "req", "id": self._request, "op": operation, "params": dict(params)})
        deadline = time.monotonic() + (self.limits.timeout if deadline_s is None else deadline_s)
        calls = 0
        while True:
            frame = self._receive(deadline, ("call", "res"), handler)
            if frame["id"] != self._request:
                raise self._violation("an answer to another request")
            if frame["t"] == "res":
                return self._result(frame)
            calls += 1
            if frame["n"] != calls:
                raise self._violation("calls out of order")
            if calls > self.limits.calls:
                raise self._violation(f"more than {self.limits.calls} calls", "E_LIMIT")
            begin = time.monotonic()
            answer = self._call(handler, frame)
            deadline += time.monotonic() - begin
            if self._pipes.pending():
                raise self._violation("a second frame while a call was outstanding")
            self._send(answer)

    def close(self) -> None:
        """End and reap it; there is nothing in it to save."""
        self._end("it was closed")

    def _call(self, handler: Handler, frame: dict[str, t.Any]) -> dict[str, t.Any]:
        """One brokered call and its answer."""
        if self._pipes.pending():
            raise self._violation("a second frame while a call was outstanding")
        answer = {"t": "ret", "n": frame["n"]}
        try:
            value = handler(frame["cap"], frame["params"])
            channel.encode({"value": value}, channel.TO_WORKER - 64)
            return {**answer, "ok": True, "value": value}
        except channel.FrameError as error:
            refusal = NexcageError("E_INTERNAL", f"{clean(frame['cap'])}: the answer cannot be sent: {error}")
        except NexcageError as error:
            refusal = error
        except BaseException:
            self._end("the module was interrupted")
            raise
        self._refusals[frame["n"]] = refusal
        error_object = {"code": refusal.code, "message": refusal.message, "remedy": refusal.remedy}
        return {**answer, "ok": False, "error": error_object}

    def _no_calls(self, _cap: str, _params: dict[str, t.Any]) -> None:
        """Log lines of an import go nowhere."""

    def _result(self, frame: dict[str, t.Any]) -> t.Any:
        if frame["ok"]:
            return frame["value"]
        error = frame["error"]
        refusal = self._refusals.get(error["call"]) if type(error.get("call")) is int else None
        raise refusal or self._plugin_error(error, "")

    def _plugin_error(self, error: dict[str, t.Any], prefix: str) -> NexcageError:
        code = error.get("code")
        message = clean(error.get("message", ""))
        return NexcageError(
            code if isinstance(code, str) and code in CODES else "E_PLUGIN",
            f"{prefix}: {message}" if prefix else message,
            remedy=clean(error.get("remedy") or "") or None,
            details={"stderr": self.stderr[-MESSAGE:]} if self._pipes.stderr else {},
        )

    def _send(self, value: dict[str, t.Any]) -> None:
        if self._stopped:
            raise NexcageError("E_CRASH", f"the worker is gone: {self._stopped}")
        try:
            self._pipes.send(channel.encode(value, channel.TO_WORKER))
        except channel.FrameError as error:
            self._end("a frame to it could not be made")
            raise NexcageError("E_INTERNAL", f"cannot send to the worker: {error}") from error

    def _receive(self, deadline: float, expected: tuple[str, ...], handler: Handler | None = None) -> dict[str, t.Any]:
        """The next frame that is not a log line; whatever is not expected ends the worker."""
        logs = 0
        while True:
            frame = self._frame(deadline)
            if frame["t"] in expected:
                return frame
            if frame["t"] != "log" or handler is None:
                raise self._violation(f"an unexpected frame {frame['t']}")
            logs += 1
            if logs > self.limits.logs:
                raise self._violation(f"more than {self.limits.logs} log lines", "E_LIMIT")
            try:
                handler("log", {"level": frame["level"], "message": clean(frame["message"])})
            except NexcageError:
                pass  # a refused log line is dropped

    def _frame(self, deadline: float) -> dict[str, t.Any]:
        try:
            data = self._pipes.receive(deadline)
            if data is None:
                raise self._crash()
            frame = channel.decode(data)
        except channel.FrameTooLarge as error:
            raise self._violation(str(error), "E_LIMIT") from None
        except channel.FrameError as error:
            raise self._violation(str(error)) from None
        except NexcageError:
            self._end("it did not answer in time")
            raise
        reason = _malformed(frame)
        if reason:
            raise self._violation(reason)
        return frame

    def _violation(self, what: str, code: str = "E_PROTOCOL") -> NexcageError:
        what = clean(what)
        self._end(what)
        return NexcageError(code, f"the plugin's worker was ended: {what}", details={"stderr": self.stderr[-MESSAGE:]})

    def _crash(self) -> NexcageError:
        """Why the worker closed its pipes."""
        status, processor = self._end("it crashed")
        details = {"stderr": self.stderr[-MESSAGE:]}
        if processor >= self.limits.cpu:
            message = f"the plugin used up its {self.limits.cpu} seconds of processor time"
            return NexcageError("E_LIMIT", message, details=details)
        what = f"ended with code {status}"
        if status < 0:
            what = f"was killed by {signal.Signals(-status).name}"
        return NexcageError("E_CRASH", f"the plugin's worker {what}", details=details)

    def _end(self, reason: str) -> tuple[int, float]:
        """Kill and reap. Returns the exit code as subprocess gives it and the processor seconds used."""
        if self._stopped:
            return 0, 0.0
        self._stopped = reason
        status, processor = 0, 0.0
        grace = time.monotonic() + (0.2 if reason == "it crashed" else 0.0)
        pid = 0
        while not pid and time.monotonic() < grace:
            pid, status, processor = self._reap(os.WNOHANG)
            if not pid:
                time.sleep(0.001)
        if not pid:
            try:
                os.kill(self._process.pid, signal.SIGKILL)
            except OSError:
                pass
            pid, status, processor = self._reap(0)
        self._process.returncode = status
        self._pipes.drain()
        for stream in self._streams:
            t.cast("t.IO[bytes]", stream).close()
        return status, processor

    def _reap(self, options: int) -> tuple[int, int, float]:
        try:
            pid, status, usage = os.wait4(self._process.pid, options)
        except ChildProcessError:  # somebody ignores SIGCHLD
            return self._process.pid, 0, 0.0
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return pid, code, usage.ru_utime + usage.ru_stime


def _judge(frame: dict[str, t.Any]) -> Sandbox:
    """The tier that the facts in the ready frame amount to."""
    layers = tuple(frame["layers"])
    missing = {name: clean(reason) for name, reason in frame["missing"].items()}
    tested = frame["selftest"]
    open_doors = [name for name in ("open", "socket", "fork", "exec") if tested.get(name) != "EPERM"]
    if "seccomp" in layers and open_doors:
        missing["selftest"] = ", ".join(f"{name} answers {tested.get(name)}" for name in open_doors)
    proven = NEEDED.issubset(layers) and not open_doors
    return Sandbox("standard" if proven else "process", layers, missing)


def _malformed(frame: dict[str, t.Any]) -> str:
    """What is wrong with the shape of a frame, empty where nothing is."""
    kind = frame.get("t")
    shape = _SHAPES.get(kind) if isinstance(kind, str) else None
    if shape is None:
        return "a frame of an unknown kind"
    if kind == "res":
        shape = {**shape, **({"value": object} if frame.get("ok") is True else {"error": dict})}
    if set(frame) != set(shape):
        return f"a {kind} frame with other keys"
    for name, wanted in shape.items():
        # bool is an int to isinstance
        if wanted is not object and type(frame[name]) is not wanted:
            return f"a {kind} frame whose {name} is of another type"
    return ""
