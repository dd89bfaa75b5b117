# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's side of a worker: start it, see it locked, send it a plugin, serve its calls, end it.

Frames, host (H) and worker (W), strictly in turn; only log frames get no answer. Anything else, and
anything above a limit, ends the worker::

    H  {"t": "init", "v": 1, "parent": pid, "uid": n, "gid": n, "limits": {...}, "preload": [...], "confined": ...}
    W  {"t": "ready", "v": 1, "layers": [...], "missing": {layer: reason}, "selftest": {...}}
    H  {"t": "load", "entry": "plugin.py", "files": {file: source}, "config": {...}}      and perhaps "program": {module: source}
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

import contextlib
import signal
import time
import typing as t

from ..model.errors import NexcageError
from . import channel
from .launch import Process
from .pipes import Pipes
from .sandbox import MESSAGE, PRELOADABLE, TIERS, Limits, Sandbox, clean, identity, judge

START = 30.0  # seconds from the start to the ready frame; an emulated guest is slow
CODES = frozenset(("E_PLUGIN", "E_INVALID", "E_NOT_FOUND", "E_EXISTS", "E_UNSUPPORTED", "E_RUNTIME", "E_LIMIT"))
_SHAPES: dict[str, dict[str, type]] = {
    "ready": {"t": str, "v": int, "layers": list, "missing": dict, "selftest": dict},
    "loaded": {"t": str, "operations": list},
    "failed": {"t": str, "error": dict},
    "call": {"t": str, "id": int, "n": int, "cap": str, "params": dict},
    "log": {"t": str, "level": str, "message": str},
    "res": {"t": str, "id": int, "ok": bool},
}
Handler = t.Callable[[str, "dict[str, t.Any]"], t.Any]


class Ended(NexcageError):
    """The worker is gone by its plugin's doing: it crashed, hung, broke the protocol or went over a limit."""


class Worker:
    """One locked process that serves one plugin. Make it early: it starts while the caller goes on.

    Args:
        limits: May also come later, with :meth:`start`.
        required: The tier below which nothing is loaded: "process", "standard" or "strong".
        process: One that runs already.

    Raises:
        NexcageError: ``E_SANDBOX`` where no process can be started.

    After any error but those of the plugin and its calls the worker is dead and reaped. Use it from the
    thread that made it.
    """

    def __init__(self, limits: Limits | None = None, required: str = "standard", process: Process | None = None) -> None:
        self.limits = limits or Limits()
        self.required = required
        self.sandbox = Sandbox("process", (), {})
        self.operations: tuple[str, ...] = ()
        self._request = 0
        self._refusals: dict[int, NexcageError] = {}
        self._logs = 0
        self._patience = START
        self._ready = False
        self._stopped = ""  # why it ended
        self._process = process or Process()
        outgoing, incoming, errors = self._process.descriptors
        self._pipes = Pipes(outgoing, incoming, errors, self._process.unsent)

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

    def start(self, limits: Limits | None = None, preload: t.Iterable[str] = (), patience: float = START) -> Sandbox:
        """Let it lock itself down and see the result.

        Args:
            limits: Instead of those given before.
            preload: Names out of ``PRELOADABLE`` that the plugin imports.
            patience: Seconds it may take.

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
                "parent": self._process.parent,
                "uid": uid,
                "gid": gid,
                "limits": {name: getattr(self.limits, name) for name in ("memory", "cpu", "descriptors", "frame")},
                "preload": [name for name in preload if name in PRELOADABLE],
                "confined": self._process.confined,
            }
        )
        try:
            frame = self._receive(self._within(patience), ("ready",))
        except NexcageError as error:
            details = {**error.details, "stderr": self.stderr[-MESSAGE:]}
            raise NexcageError("E_SANDBOX", f"the worker did not start: {error.message}", details=details) from error
        self.sandbox = judge(frame)
        if TIERS.index(self.sandbox.tier) < TIERS.index(self.required):
            self._end("its sandbox was too weak")
            missing = "; ".join(f"{name}: {reason}" for name, reason in self.sandbox.missing.items())
            raise NexcageError(
                "E_SANDBOX",
                f"this host offers the sandbox tier {self.sandbox.tier}, {self.required} is required" + (f" ({missing})" if missing else ""),
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
        meanwhile: t.Callable[[], object] = lambda: None,
        program: t.Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        """Send a plugin's files; the first bytes of it that the worker sees.

        Args:
            name: The plugin's name, for messages.
            sources: File name to source. The files are modules of one package, so ``from .other import x`` works.
            config: The operator's settings for it.
            entry: The file that has ``backend()``.
            meanwhile: Work to do while the worker compiles them.
            program: Modules of ours that this plugin needs beyond what every worker has, by full name.

        Returns:
            The operations that the plugin's backend has.

        Raises:
            NexcageError: ``E_PLUGIN`` where it cannot be imported; as :meth:`request` otherwise.
        """
        if not self._ready:
            self.start()
        self._send({"t": "load", "entry": entry, "files": dict(sources), "config": dict(config or {}), **({"program": dict(program)} if program else {})})
        meanwhile()
        frame = self._receive(self._within(self.limits.timeout), ("loaded", "failed"), self._no_calls)
        if frame["t"] == "failed":
            self._end("the plugin could not be loaded")
            raise self._plugin_error(frame["error"], f"the plugin {name} cannot be loaded")
        self.operations = tuple(clean(operation) for operation in frame["operations"])
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
        self._logs = 0
        self._send({"t": "req", "id": self._request, "op": operation, "params": dict(params)})
        deadline = self._within(self.limits.timeout if deadline_s is None else deadline_s)
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
            self._pipes.send(answer)

    def close(self) -> None:
        """End and reap it; there is nothing in it to save."""
        self._end("it was closed")

    def _call(self, handler: Handler, frame: dict[str, t.Any]) -> bytes:
        """One brokered call; returns the frame that answers it."""
        if self._pipes.pending():
            raise self._violation("a second frame while a call was outstanding")
        answer = {"t": "ret", "n": frame["n"]}
        try:
            value = handler(frame["cap"], frame["params"])
            return channel.encode({**answer, "ok": True, "value": value}, channel.TO_WORKER)
        except channel.FrameError as error:
            refusal = NexcageError("E_INTERNAL", f"{clean(frame['cap'])}: the answer cannot be sent: {error}")
        except NexcageError as error:
            refusal = error
        except BaseException:
            self._end("the module was interrupted")
            raise
        self._refusals[frame["n"]] = refusal
        error_object = {"code": refusal.code, "message": refusal.message, "remedy": refusal.remedy}
        return channel.encode({**answer, "ok": False, "error": error_object}, channel.TO_WORKER)

    def _within(self, seconds: float) -> float:
        """The deadline that many seconds from now."""
        self._patience = seconds
        return time.monotonic() + seconds

    def _no_calls(self, _cap: str, _params: dict[str, t.Any]) -> None:
        """Log lines of an import go nowhere."""

    def _result(self, frame: dict[str, t.Any]) -> t.Any:
        if frame["ok"]:
            return frame["value"]
        error = frame["error"]
        refusal = self._refusals.get(error["call"]) if isinstance(error.get("call"), int) else None
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
        while True:
            frame = self._frame(deadline)
            if frame["t"] in expected:
                return frame
            if frame["t"] != "log" or handler is None:
                raise self._violation(f"an unexpected frame {frame['t']}")
            self._logs += 1
            if self._logs > self.limits.logs:
                raise self._violation(f"more than {self.limits.logs} log lines", "E_LIMIT")
            with contextlib.suppress(NexcageError):  # a refused line is dropped
                handler("log", {"level": frame["level"], "message": clean(frame["message"])})

    def _frame(self, deadline: float) -> dict[str, t.Any]:
        try:
            data = self._pipes.receive(deadline)
            frame = channel.decode(data) if data is not None else None
        except channel.FrameError as error:
            raise self._violation(str(error)) from None
        except NexcageError as error:
            self._end("it did not answer in time")
            message = f"the plugin did not answer within {self._patience:g} seconds"
            raise Ended(error.code, message, details={"stderr": self.stderr[-MESSAGE:]}) from None
        if frame is None:
            raise self._crash()
        reason = _malformed(frame)
        if reason:
            raise self._violation(reason)
        return frame

    def _violation(self, what: str, code: str = "E_PROTOCOL") -> Ended:
        what = clean(what)
        self._end(what)
        return Ended(code, f"the plugin's worker was ended: {what}", details={"stderr": self.stderr[-MESSAGE:]})

    def _crash(self) -> Ended:
        """Why the worker closed its pipes."""
        status, processor = self._end("it crashed", grace=0.2)
        details = {"stderr": self.stderr[-MESSAGE:]}
        # The kernel's two clocks differ: by what it has charged at a tick and not yet measured.
        close = processor >= self.limits.cpu - max(0.2, self.limits.cpu * 0.05)
        if status == -signal.SIGXCPU or (close and status == -signal.SIGKILL) or processor >= self.limits.cpu:
            message = f"the plugin used up its {self.limits.cpu} seconds of processor time"
            return Ended("E_LIMIT", message, details=details)
        what = f"ended with code {status}"
        if status < 0:
            what = f"was killed by {signal.Signals(-status).name}"
        return Ended("E_CRASH", f"the plugin's worker {what}", details=details)

    def _end(self, reason: str, grace: float = 0.0) -> tuple[int, float]:
        if self._stopped:
            return 0, 0.0
        self._stopped = reason
        ended = self._process.end(grace)
        self._pipes.drain()
        self._process.close()
        return ended


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
        # to isinstance a bool is an int
        if not isinstance(frame[name], wanted) or (wanted is int and isinstance(frame[name], bool)):
            return f"a {kind} frame whose {name} is of another type"
    return ""
