# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files that are old or new and never half, and the lock that keeps two runs apart."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
import threading
import time
import typing as t

from ..model.errors import NexcageError

TEMPORARY_SUFFIX = ".tmp"
LINKS_LIMIT = 40  # as many as the kernel follows in one path
_LOCK_STEPS = (0.002, 0.005, 0.01, 0.02, 0.05)  # seconds between two attempts; the last one repeats

# A test sets this to a function that is called with the name of every step of a write.
CHECKPOINT: t.Callable[[str], None] | None = None


def checkpoint(step: str) -> None:
    """Mark one step of a write, such as ``create:mounted``; tests kill the process here."""
    if CHECKPOINT is not None:
        CHECKPOINT(step)


def failure(error: OSError, what: str, path: str | None = None) -> NexcageError:
    """The refusal that stands for an operating system error.

    ``E_SPACE`` for a full disk, ``E_PRIVILEGE`` for what only root may and this process is not, else ``E_STATE``.
    """
    code = "E_SPACE" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "E_STATE"
    if error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() != 0:
        code = "E_PRIVILEGE"
    return NexcageError(code, f"{what}: {error.strerror or error}", value=path or error.filename)


def ensure_folder(path: str) -> None:
    """Make ``path`` and what is missing above it, for the owner alone (0700).

    Raises:
        NexcageError: ``E_SPACE`` or ``E_STATE``.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
    except OSError as error:
        raise failure(error, f"the folder {path} cannot be made") from error


def refuse_others(folder: str, links: int = 0) -> None:
    """Refuse a folder of ours that somebody else could write into, or put another one in its place.

    All folders on the way count, and who made a link on it. One with the sticky bit, such as ``/tmp``, is fine above it:
    others cannot replace what is not theirs there. What is not there yet is fine.

    Args:
        folder: Absolute.
        links: How many were followed on the way.

    Raises:
        NexcageError: ``E_STATE`` naming the folder, or what lies above it, and the command that mends it.
    """
    steps, here = [step for step in folder.split("/") if step], "/"
    for left in range(len(steps), -1, -1):
        try:
            facts = os.lstat(here)
        except OSError:  # whoever uses it next says what is wrong with it
            return
        if facts.st_uid not in (0, os.geteuid()):
            raise _exchangeable(folder, here, f"it belongs to the user with the id {facts.st_uid}", f"chown -h {os.geteuid()} {here}")
        if stat.S_ISLNK(facts.st_mode):
            refuse_others(_target(folder, here, steps[len(steps) - left :], links), links + 1)
            return
        if facts.st_mode & 0o022 and not (left and facts.st_mode & stat.S_ISVTX):
            raise _exchangeable(folder, here, f"others can write to it (mode {stat.S_IMODE(facts.st_mode):04o})", f"chmod go-w {here}")
        if left:
            here = os.path.join(here, steps[-left])


def _target(folder: str, link: str, rest: t.Sequence[str], links: int) -> str:
    """Where a way through a link leads. All above the link are folders: a leading ``..`` of its target means what it says."""
    target = os.readlink(link)
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if links >= LINKS_LIMIT or ".." in [part for index, part in enumerate(parts) if parts[:index] != [".."] * index]:
        raise _exchangeable(folder, link, "it is a link that leads too far", "use a folder, or a link to one")
    return os.path.join(os.path.normpath(os.path.join(os.path.dirname(link), target)), *rest)


def _exchangeable(folder: str, guilty: str, problem: str, remedy: str) -> NexcageError:
    return NexcageError("E_STATE", f"{folder} can be changed by others: {guilty}: {problem}", value=guilty, remedy=f"look at it, then: {remedy}")


def atomic_write(path: str, data: bytes, mode: int = 0o600, sync: bool = True) -> None:
    """Put ``data`` into ``path`` so that a reader, now or after a crash, sees the old or the new content.

    Args:
        path: The file; its folder exists.
        data: The whole new content.
        mode: Permission bits of the new file.
        sync: Also survive a power cut. ``False`` for what is worthless after one.

    Raises:
        NexcageError: ``E_SPACE`` or ``E_STATE``; the old content is still there.
    """
    temporary = f"{path}.{os.getpid()}-{threading.get_ident()}{TEMPORARY_SUFFIX}"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            _write_all(descriptor, data)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except OSError as error:
        with contextlib.suppress(NexcageError):
            remove(temporary)
        raise failure(error, f"{path} cannot be written", path) from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: str) -> None:
    """Make the names in a folder, such as a rename just done, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: str) -> None:
    """Remove a file; one that is not there is fine.

    Raises:
        NexcageError: ``E_STATE`` where it stays.
    """
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise failure(error, f"{path} cannot be removed") from error


def read_bytes(path: str) -> bytes | None:
    """The whole content of a small file, ``None`` where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = os.read(descriptor, 65536)
        if len(data) < 65536:
            return data
        parts = [data]
        while data:
            data = os.read(descriptor, 1 << 20)
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_json(path: str) -> t.Any:
    """The JSON value in ``path``, ``None`` where there is no such file.

    Raises:
        NexcageError: ``E_STATE`` where the file is there and is no JSON.
    """
    data = read_bytes(path)
    if data is None:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise NexcageError("E_STATE", f"{path} is damaged: {error}") from error


def write_json(path: str, value: t.Any, mode: int = 0o600, sync: bool = True) -> None:
    """:func:`atomic_write` of a JSON-able value."""
    atomic_write(path, encode_json(value), mode, sync)


def encode_json(value: t.Any) -> bytes:
    """The bytes that :func:`write_json` writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


class Lock:
    """An exclusive lock between processes, for a ``with`` block.

    The kernel gives it up when its holder ends in whatever way. The file says who holds it.

    Args:
        path: The lock file; made, with its folder, where missing.
        timeout: Seconds to wait for another holder.
        holder: One line that tells an operator who holds it, such as ``pid 4711: start web``.
        subject: The path of what is locked; where it does not exist at the end, the lock file goes too.

    Raises:
        NexcageError: ``E_LOCKED`` with the holder's description.
    """

    def __init__(self, path: str, timeout: float, holder: str, subject: str | None = None) -> None:
        self.path = path
        self.timeout = timeout
        self.holder = holder
        self.subject = subject
        self.discard = False  # set it to remove the file at the end in any case
        self._descriptor = -1

    def __enter__(self) -> Lock:
        """Wait for the lock and take it."""
        ensure_folder(os.path.dirname(self.path))
        deadline = time.monotonic() + self.timeout
        attempt = 0
        while not self._attempt():
            if time.monotonic() >= deadline:
                held_by = (read_bytes(self.path) or b"somebody unknown").decode("utf-8", "replace").strip()
                raise NexcageError("E_LOCKED", f"still locked after {self.timeout:g} s by {held_by}", value=self.path)
            time.sleep(_LOCK_STEPS[min(attempt, len(_LOCK_STEPS) - 1)])
            attempt += 1
        return self

    def _attempt(self) -> bool:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            same = os.path.samestat(os.fstat(descriptor), os.stat(self.path))  # not one just discarded
        except (BlockingIOError, FileNotFoundError):
            same = False
        if not same:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # on a full disk, which a removal may be about to empty, nobody is told who holds it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, self.holder.encode("utf-8", "replace"), 0)
        return True

    def __exit__(self, *_exception: object) -> None:
        """Give the lock up."""
        if self.discard or (self.subject is not None and not os.path.lexists(self.subject)):
            remove(self.path)
        os.close(self._descriptor)
        self._descriptor = -1
