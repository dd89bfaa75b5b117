# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""conmon: the small process that keeps a container's output, log and exit code.

It is started through two pipes (conmon's ``_OCI_STARTPIPE`` and ``_OCI_SYNCPIPE``): it waits on the
first until it has been moved out of the caller's control group, and tells on the second whether the
runtime has made the container. Nothing polls.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import time
import typing as t

from ...model.errors import NexcageError
from .. import store
from . import cgroup_control, privileges, process, records, runtime

TIMEOUT = 120.0  # seconds until the runtime must have made a container
LOG_LIMIT = 64 << 20  # bytes; conmon starts the file anew beyond
MARKER = records.MARKER
unfinished = records.unfinished


def argv(places: records.Places, container: records.Container, tool: runtime.Runtime) -> list[str]:
    """conmon's command line for one container."""
    launcher, *arguments = cgroup_control.creator(tool.argv())
    work = f"{places.conmon}/{container.id}"
    line = [runtime.program("conmon"), "--api-version", "1", "-c", container.id, "-u", container.id, "-n", container.id]
    line += ["-r", launcher]
    for argument in arguments:
        line += ["--runtime-arg", argument]
    line += ["-b", container.folder, "-p", work + "/pid", "-P", work + "/conmon.pid", "--full-attach"]
    line += ["--exit-dir", places.exits, "--persist-dir", container.folder, "--log-level", "error"]
    line += ["-l", f"k8s-file:{container.folder}/container.log", "--log-size-max", str(LOG_LIMIT)]
    return line


def begin(places: records.Places, container: records.Container) -> None:
    """Leave the mark that says: from here on, processes of this container may exist that nobody recorded."""
    for folder in (places.root, places.exits, f"{places.conmon}/{container.id}"):
        store.ensure_folder(folder)
    store.atomic_write(f"{places.conmon}/{container.id}/{MARKER}", b"", sync=False)


def create(
    places: records.Places,
    container: records.Container,
    tool: runtime.Runtime,
    meanwhile: t.Callable[[], None] = lambda: None,
) -> dict[str, t.Any]:
    """Have the runtime create the container under a conmon of its own.

    Args:
        places: The backend's folders.
        container: The generation; its bundle is complete.
        tool: The runtime.
        meanwhile: Work to do while the runtime is busy.

    Returns:
        The facts of :func:`records.last_process`, already on disk.

    Raises:
        NexcageError: ``E_RUNTIME`` with the runtime's words, ``E_TIMEOUT``, ``E_BINARY``. The caller removes what is there.
    """
    privileges.fit(container.folder, container.record)
    begin(places, container)
    store.checkpoint("conmon:begun")
    written = f"{places.conmon}/{container.id}/.pid"  # by a runc that was killed before it renamed it; the next one refuses it
    for stale in (f"{places.exits}/{container.id}", container.folder + "/exit", container.folder + "/oom", written):
        store.remove(stale)
    sync_read, sync_write = os.pipe2(os.O_CLOEXEC)
    start_read, start_write = os.pipe2(os.O_CLOEXEC)
    try:
        child = _spawn(places, container, tool, (sync_write, start_read))
        with child:
            os.close(sync_write)
            os.close(start_read)
            sync_write = start_read = -1
            store.checkpoint("conmon:spawned")
            privileges.free(child.pid)
            cgroup_control.leave(child.pid, container.record["cgroup"])
            os.write(start_write, b"\0")
            store.checkpoint("conmon:released")
            meanwhile()
            pid = _answer(sync_read, tool.name)
    finally:
        for descriptor in (sync_read, sync_write, start_read, start_write):
            if descriptor >= 0:
                os.close(descriptor)
    store.checkpoint("conmon:created")
    return _record(places, container.id, pid)


def _spawn(places: records.Places, container: records.Container, tool: runtime.Runtime, pipes: tuple[int, int]) -> subprocess.Popen[bytes]:
    cgroup_control.settle(container.record["cgroup"])
    line = cgroup_control.supervised(argv(places, container, tool), container.record["cgroup"], container.record)
    environment = {**runtime.ENVIRONMENT, "_OCI_SYNCPIPE": str(pipes[0]), "_OCI_STARTPIPE": str(pipes[1])}
    return subprocess.Popen(  # pylint: disable=ansible-bad-function
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        pass_fds=pipes,
    )


# crun's and runc's words for a program that is missing or cannot be executed
_NO_PROGRAM = re.compile(r'executable file|open executable|exec: "[^"]*": (stat |permission denied)')


def _answer(descriptor: int, name: str) -> int:
    """The first process's pid from the sync pipe."""
    deadline = time.monotonic() + TIMEOUT
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    data = b""
    while b"\n" not in data:
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise NexcageError("E_TIMEOUT", f"{name} did not create the container within {TIMEOUT:g} s")
        part = os.read(descriptor, 65536)
        if not part:
            break
        data += part
    try:
        answer = json.loads(data)
        pid = int(answer["data"])
    except (ValueError, TypeError, KeyError):
        raise NexcageError("E_RUNTIME", f"conmon ended without an answer from {name}") from None
    if pid <= 0:
        words = runtime.message(str(answer.get("message", "")))
        if _NO_PROGRAM.search(words):
            raise NexcageError("E_INVALID", words, option="command", remedy="name a program that is in the image")
        raise NexcageError("E_RUNTIME", f"{name} create: {words}")
    return pid


def _record(places: records.Places, identifier: str, pid: int) -> dict[str, t.Any]:
    work = f"{places.conmon}/{identifier}"
    conmon_pid = int(store.read_bytes(work + "/conmon.pid") or b"0")
    facts = {
        "boot_id": process.boot_id(),
        "pid": pid,
        "start_time": process.start_time(pid),
        "conmon_pid": conmon_pid,
        "conmon_start_time": process.start_time(conmon_pid),
        "started": None,
    }
    remember(places, identifier, facts)
    store.remove(f"{work}/{MARKER}")
    return facts


def remember(places: records.Places, identifier: str, facts: t.Mapping[str, t.Any]) -> None:
    """Write the facts of the last process; worthless after a reboot, so never synced."""
    store.write_json(records.process_file(places, identifier), facts, sync=False)
