# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worker's main program: lock down, prove it, then take a plugin and serve it, one request at a time.

The frames are described in spawn.py, the other end.
"""

from __future__ import annotations

import os
import sys

from . import lockdown
from .channel import Channel, FrameError, FrameTooLarge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..sdk.backend import BackendExtension
    from .importer import MemoryImporter

PACKAGE = __name__.rpartition("worker.")[0] + "backends."
# Codecs are looked up when first used, which is too late once the filter is loaded.
ALWAYS = ("encodings.ascii", "encodings.latin_1")
LONGEST = 4096  # characters of an error's message
WAITING, ENDED = 0, 1  # exit codes: the module went away; the protocol was broken


def preload(names: list[str]) -> None:
    """Import what the plugin may use, then forget the disk."""
    for name in (*ALWAYS, *names):
        try:  # noqa: SIM105 - contextlib would cost the worker its import
            __import__(name)
        except ImportError:
            pass  # this Python lacks it; the plugin is told when it asks
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "PathFinder"]


def lock(system: lockdown.System, init: dict[str, Any]) -> dict[str, Any]:
    """Go through every layer in order and test the result. Returns the ready frame."""
    missing: dict[str, str] = {}
    layers = []

    def layer(name: str, reason: str) -> None:
        if reason:
            missing[name] = reason
        else:
            layers.append(name)

    if init["confined"]:
        from . import inside

        view = inside.System()
        seen = inside.prove(view)
        if not seen["pid_namespace"]:
            inside.divide(view)
    layer("rlimits", lockdown.limit(system, init["limits"]))
    preload(init["preload"])
    layer("uid", lockdown.drop_identity(system, init["uid"], init["gid"]))
    if init["confined"]:
        seen["capabilities"] = seen["capabilities"] or inside.forget(view)
        for name, reason in seen.items():
            layer(name, reason)
    layer("pdeathsig", lockdown.follow_parent(system, init["parent"]))
    layer("no_new_privs", lockdown.renounce(system))
    layer("seccomp", lockdown.filter_calls(system))
    tested = lockdown.self_test(system) if "seccomp" in layers else {}
    return {"t": "ready", "v": 1, "layers": layers, "missing": missing, "selftest": tested}


def describe(error: BaseException) -> str:
    """An exception as an author wants to see it: type, text, and the last line of the plugin it passed."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if trace.tb_frame.f_globals.get("__name__", "").startswith(PACKAGE):
            place = f" ({code.co_filename.strip('<>')} line {trace.tb_lineno}, in {code.co_name})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{place}"


def failure(error: BaseException) -> dict[str, Any]:
    """The error object of a frame; always one that can be sent."""
    from ..sdk.errors import HostError, PluginError

    code = "E_LIMIT" if isinstance(error, (MemoryError, FrameTooLarge)) else "E_PLUGIN"
    texts = {"code": code, "message": describe(error), "remedy": ""}
    if isinstance(error, (HostError, PluginError)):
        texts = {"code": error.code, "message": error.message, "remedy": error.remedy}
    clean = {name: str(text)[:LONGEST].encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    return {**clean, "call": error.call if isinstance(error, HostError) else 0}


class Server:
    """Serves one plugin over one channel.

    Args:
        channel: The worker's end of the pipes.
        importer: Where the plugin's sources go.
    """

    def __init__(self, channel: Channel, importer: MemoryImporter) -> None:
        self._channel = channel
        self._importer = importer
        self._request = 0
        self._calls = 0

    def load(self, frame: dict[str, Any]) -> BackendExtension:
        """Import the plugin from memory and make its backend object."""
        self._importer.sources.update(frame.get("program", {}))
        for name, source in frame["files"].items():
            self._importer.sources[PACKAGE + name[: -len(".py")]] = source
        name = PACKAGE + frame["entry"][: -len(".py")]
        __import__(name)
        extension: BackendExtension = sys.modules[name].backend()
        extension.config = frame["config"]
        return extension

    def call(self, name: str, params: dict[str, Any]) -> Any:
        """One brokered call; the host's refusal is raised as a ``HostError``."""
        from ..sdk.errors import host_error

        self._calls += 1
        self._channel.send({"t": "call", "id": self._request, "n": self._calls, "cap": name, "params": params})
        answer = self._channel.receive()
        if answer["ok"]:
            return answer["value"]
        raise host_error(answer["error"], self._calls)

    def log(self, level: str, message: str) -> None:
        """One line for the operator, not answered."""
        self._channel.send({"t": "log", "level": level, "message": message})

    def answer(self, extension: BackendExtension, frame: dict[str, Any]) -> None:
        """Run one operation and send its result; whatever the plugin raises becomes an error."""
        from ..sdk.backend import perform
        from ..sdk.host import Host

        self._request, self._calls = frame["id"], 0
        result = {"t": "res", "id": frame["id"]}
        try:
            value = perform(extension, Host(self.call, self.log), frame["op"], frame["params"])
            self._channel.send({**result, "ok": True, "value": value})
        except EOFError:
            raise
        except BaseException as error:  # sys.exit in a plugin is a failure like any other
            self._channel.send({**result, "ok": False, "error": failure(error)})

    def serve(self) -> None:
        """Load, then answer requests until the module goes away (``EOFError``)."""
        try:
            extension = self.load(self._channel.receive())
        except EOFError:
            raise
        except BaseException as error:
            self._channel.send({"t": "failed", "error": failure(error)})
            return
        self._channel.send({"t": "loaded", "operations": extension.operations()})
        while True:
            self.answer(extension, self._channel.receive())


def run(system: lockdown.System, importer: MemoryImporter) -> int:
    """Everything from the pipes to the last answer. Returns the exit code."""
    channel = Channel(*lockdown.take_pipes(system))
    try:
        init = channel.receive()
        channel.limit = init["limits"]["frame"]
        channel.send(lock(system, init))
        Server(channel, importer).serve()
    except EOFError:
        return WAITING
    except (FrameError, OSError):
        return ENDED
    return ENDED


def main(importer: MemoryImporter) -> None:
    """Entry point; never returns, and skips the interpreter's tear-down, for there is nothing to save."""
    os._exit(run(lockdown.System(), importer))
