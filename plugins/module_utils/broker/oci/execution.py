# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands inside a running container.

The runtime starts the command detached, on pipes of ours, and ends; the command then belongs to this process, which
for that moment adopts orphans (``PR_SET_CHILD_SUBREAPER``, prctl(2)). So the exit code is the command's own, and the
end of the command is seen as such: something it leaves running in the background may keep the pipes open for ever
without anybody waiting for it.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import os
import select
import subprocess
import threading
import time
import typing as t

from ...model.errors import NexcageError
from .. import store
from . import accounts, lifecycle, privileges, process, records, runtime, waiting

KILL_PATIENCE = 5.0  # seconds for a killed command to be gone; a paused one only dies when its container goes on
MOST_OUTPUT = 64 << 20  # bytes for each of stdout and stderr
_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37
_STEP = 0.005  # seconds, only where the kernel has no pidfd
_BLOCK = 1 << 16
_one_at_a_time = threading.Lock()  # adoption is a property of the whole process


class Outcome(t.NamedTuple):
    """How a command ended."""

    code: int
    output: bytes
    error: bytes
    timed_out: bool


def run(places: records.Places, tool: runtime.Runtime, name: str, request: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Run a command to its end.

    Args:
        places: The backend's folders.
        tool: The backend's runtime.
        name: The container; it runs.
        request: ``argv`` and optionally ``env``, ``secret_env``, ``user``, ``working_dir``, ``stdin`` (base64) and
            ``timeout`` (seconds, after which the command and what it started are killed).

    Returns:
        ``rc`` (128 + n after signal n), ``stdout``, ``stderr`` (base64), ``timed_out``.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INVALID`` where the container does not run or the command cannot be started,
            ``E_LIMIT`` for more than 64 MiB of output.
    """
    with lifecycle.locked(places, name, "exec"):  # only until the runtime is asked: commands may run side by side
        container = lifecycle.existing(places, name)
        status = lifecycle.situation(places, tool, container)
        if status != "running" or not tool.knows(container.id):
            what, remedy = (f"the container is {status}, not running", "start it first")
            if status == "running":
                what, remedy = "the runtime has lost its state of this container, which still runs", "stop and start it"
            raise NexcageError("E_INVALID", what, option="name", value=name, remedy=remedy)
        specification, uid = _specification(container, request)
        path = f"{places.conmon}/{container.id}/exec-{os.urandom(8).hex()}"
        store.write_json(path + ".json", specification, sync=False)
    try:
        feed = base64.b64decode(request.get("stdin") or b"")
        outcome = _execute(tool, container, path, feed, uid, request.get("timeout"))
    finally:
        store.remove(path + ".json")
        store.remove(path + ".pid")
        store.remove(path + ".inner")
    return {
        "rc": outcome.code,
        "stdout": base64.b64encode(outcome.output).decode("ascii"),
        "stderr": base64.b64encode(outcome.error).decode("ascii"),
        "timed_out": outcome.timed_out,
    }


def _specification(container: records.Container, request: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], int]:
    """The runtime's ``process``: like the container's own, with the request's values; and the user's number."""
    argv = request.get("argv") or []
    if not argv or not all(isinstance(part, str) and "\0" not in part for part in argv):
        raise NexcageError("E_INVALID", "not a command", option="argv", value=str(argv))
    base = (store.read_json(container.folder + "/config.json") or {}).get("process")
    if not base:
        raise NexcageError("E_STATE", "the bundle's config.json is gone", value=container.folder, remedy="create the container anew")
    limits = privileges.reachable(base.get("rlimits") or [])
    specification = {**base, "args": list(argv), "terminal": False, "rlimits": limits}
    user = request.get("user")
    if user is not None:
        who = accounts.resolve(container.folder + "/rootfs", user, [])
        specification["user"] = {**base.get("user", {}), "uid": who.uid, "gid": who.gid, "additionalGids": who.groups}
        bounds = [name.replace("CAP_", "", 1) for name in (base.get("capabilities") or {}).get("bounding") or []]
        added = bounds if who.uid == 0 else container.record["spec"].get("cap_add") or []
        specification["capabilities"] = privileges.process_sets(bounds, added, who.uid == 0)
    else:
        accounts.refuse_pipes(container.folder + "/rootfs")
        who = accounts.User(int((base.get("user") or {}).get("uid", 0)), 0, [], None)
    if request.get("working_dir"):
        specification["cwd"] = accounts.working_folder(str(request["working_dir"]))
    merged = {key: value for key, _equals, value in (line.partition("=") for line in base.get("env") or [])}
    if who.home and user is not None:
        merged["HOME"] = who.home
    merged.update(request.get("env") or {})
    merged.update(request.get("secret_env") or {})
    specification["env"] = [f"{key}={value}" for key, value in merged.items()]
    return specification, who.uid


class _Adoption:
    """Orphans of this process's children become its own children; the previous setting returns at the end."""

    def __enter__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        before = ctypes.c_int(0)
        self._libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
        self._before = before.value
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def __exit__(self, *_exception: object) -> None:
        for pid in waiting.children(os.getpid()):
            if _nested(pid):
                _end(pid)
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, self._before, 0, 0, 0)


def _execute(tool: runtime.Runtime, container: records.Container, path: str, feed: bytes, uid: int, timeout: float | None) -> Outcome:
    pipes = [os.pipe2(os.O_CLOEXEC) for _number in range(3)]
    ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    try:
        for descriptor in theirs:
            os.fchown(descriptor, uid, -1)  # /dev/stdout is opened anew by name, with the command's own rights
        with _one_at_a_time, _Adoption():
            deadline = None if timeout is None else time.monotonic() + timeout
            inner = ["--internal-pid-file", path + ".inner"] if tool.sandboxed else []
            line = tool.argv("exec", "--detach", *inner, "--process", path + ".json", "--pid-file", path + ".pid", container.id)
            child = subprocess.Popen(  # pylint: disable=ansible-bad-function
                line, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], env=runtime.ENVIRONMENT, cwd="/"
            )
            while theirs:
                os.close(theirs.pop())
            return _Conversation(tool, child, path + ".pid", ours, feed, deadline, lambda: _kill_inside(tool, container.id, path + ".inner")).hold()
    finally:
        for descriptor in theirs + ours:
            if descriptor >= 0:
                os.close(descriptor)


class _Conversation:
    """Feeds and drains the pipes until the command has ended."""

    def __init__(
        self,
        tool: runtime.Runtime,
        child: subprocess.Popen[bytes],
        pid_file: str,
        pipes: list[int],
        feed: bytes,
        deadline: float | None,
        reach: t.Callable[[], None] = lambda: None,
    ) -> None:
        self._tool = tool
        self._reach = reach  # ends what killing a process of this host does not end
        self._child = child
        self._pid_file = pid_file
        self._pipes = pipes  # stdin, stdout, stderr; -1 once closed
        self._feed = memoryview(feed)
        self._deadline = deadline
        self._parts: list[list[bytes]] = [[], []]
        self._sizes = [0, 0]
        self._timed_out = False
        for descriptor in pipes:
            os.set_blocking(descriptor, False)

    def hold(self) -> Outcome:
        """Until the command has ended."""
        try:
            return self._hold()
        except BaseException:
            if self._child.poll() is None:  # the command is still a child of the runtime, not of ours
                waiting.kill_tree(self._child.pid)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._child.wait(KILL_PATIENCE)
            raise

    def _hold(self) -> Outcome:
        """The runtime's call comes first, then the command itself."""
        if not feed_left(self._feed):
            self._close(0)
        self._until(self._child.pid, self._child.poll)
        pid = int(store.read_bytes(self._pid_file) or b"0")
        code = self._child.poll()
        if code != 0 or pid <= 0:
            self._drain()
            words = runtime.message(b"".join(self._parts[1] + self._parts[0]).decode("utf-8", "replace"))
            if self._timed_out:
                return self._outcome(124)
            raise NexcageError("E_INVALID", f"the command cannot be started: {words}", option="argv", remedy="check command, user and working_dir")
        ended = self._until(pid, lambda: _wait(pid))
        self._drain()
        return self._outcome(ended)

    def _outcome(self, code: int | None) -> Outcome:
        return Outcome(code if code is not None else 137, b"".join(self._parts[0]), b"".join(self._parts[1]), self._timed_out)

    def _until(self, pid: int, ended: t.Callable[[], int | None]) -> int | None:
        """Serve the pipes until ``ended`` gives a code; past the deadline the process and its descendants are killed.

        ``None`` where not even that ends it.
        """
        descriptor = _open(pid)
        try:
            while True:
                code = ended()
                if code is not None:
                    return code
                left = None if self._deadline is None else self._deadline - time.monotonic()
                if left is not None and left <= 0 and not self._timed_out:
                    self._timed_out = True
                    self._reach()
                    waiting.kill_tree(pid)
                    self._deadline = time.monotonic() + KILL_PATIENCE
                    left = KILL_PATIENCE
                elif left is not None and left <= 0:
                    return None
                self._serve(descriptor, left)
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def _serve(self, ending: int, left: float | None) -> None:
        poller = select.poll()
        for number, descriptor in enumerate(self._pipes):
            if descriptor >= 0:
                poller.register(descriptor, select.POLLOUT if number == 0 else select.POLLIN)
        if ending >= 0:
            poller.register(ending, select.POLLIN)
        else:
            left = _STEP if left is None else min(left, _STEP)
        ready = {descriptor for descriptor, _event in poller.poll(None if left is None else left * 1000 + 1)}
        if self._pipes[0] in ready:
            self._write()
        for number in (1, 2):
            if self._pipes[number] in ready:
                self._read(number)

    def _write(self) -> None:
        try:
            self._feed = self._feed[os.write(self._pipes[0], self._feed[:_BLOCK]) :]
        except BlockingIOError:
            return
        except OSError:  # the command reads no more
            self._feed = self._feed[:0]
        if not feed_left(self._feed):
            self._close(0)

    def _read(self, number: int) -> bool:
        """One block of output; ``False`` where there is none just now, or no more."""
        try:
            data = os.read(self._pipes[number], _BLOCK)
        except BlockingIOError:
            return False
        if not data:
            self._close(number)
            return False
        self._sizes[number - 1] += len(data)
        if self._sizes[number - 1] > MOST_OUTPUT:
            raise NexcageError("E_LIMIT", f"the command wrote more than {MOST_OUTPUT >> 20} MiB", option="argv", remedy="let it write to a file")
        self._parts[number - 1].append(data)
        return True

    def _drain(self) -> None:
        """What the command wrote before it ended; not what others may write later."""
        for number in (1, 2):
            while self._pipes[number] >= 0 and self._read(number):
                pass

    def _close(self, number: int) -> None:
        os.close(self._pipes[number])
        self._pipes[number] = -1


def _kill_inside(tool: runtime.Runtime, identifier: str, file: str) -> None:
    """Kill the command where it is a process of the sandbox's own kernel, by the number it has there."""
    number = (store.read_bytes(file) or b"").decode("ascii", "replace").strip()
    if number.isdigit():
        with contextlib.suppress(NexcageError):  # its waiting process is killed all the same
            tool.call("kill", "--pid", number, "--", identifier, "KILL")


def feed_left(feed: memoryview) -> bool:
    """Whether there is still input to hand over."""
    return len(feed) > 0


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _wait(pid: int) -> int | None:
    """The exit code of an adopted process, ``None`` while it runs."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None if process.start_time(pid) is not None else 255
    if not done:
        return None
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _nested(pid: int) -> bool:
    """Whether a child of ours lives in a pid namespace below ours: then it came from a container."""
    status = store.read_bytes(f"{process.PROC}/{pid}/status") or b""
    numbers = [line.split()[1:] for line in status.splitlines() if line.startswith(b"NSpid:")]
    return bool(numbers) and len(numbers[0]) > 1


def _end(pid: int) -> None:
    """Kill and reap an adopted process: unreaped, it would keep its container from ever ending.

    One that does not die now is left to the first process of the host, which reaps it.
    """
    waiting.kill_tree(pid)
    waiting.wait_end(pid, process.start_time(pid), KILL_PATIENCE)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
