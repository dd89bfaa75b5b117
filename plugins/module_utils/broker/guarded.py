# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading files that nobody but root and this user can have changed, and nobody can swap while they are read."""

from __future__ import annotations

import os
import stat

from ..model.errors import NexcageError
from . import store

LINKS_LIMIT = 40  # as many as the kernel follows in one path
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe is opened without waiting, and then refused


def read(path: str, limit: int) -> bytes:
    """The whole content of a regular file, read once and through one descriptor.

    The file belongs to root or this user, and so does every folder above it; none can be written by others. A folder
    with the sticky bit, such as ``/tmp``, is fine further up: others cannot replace what is not theirs there.

    Args:
        path: Of a file, not of a link to one.
        limit: Bytes that it may have.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INTEGRITY`` naming what others could change, ``E_PRIVILEGE``,
            ``E_LIMIT``, ``E_STATE``.
    """
    try:
        folder = open_folder(os.path.dirname(os.path.abspath(path)))
        try:
            descriptor = os.open(os.path.basename(path), _FILE, dir_fd=folder)
        finally:
            os.close(folder)
        try:
            return _content(descriptor, path, limit)
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        raise NexcageError("E_NOT_FOUND", "there is no such file", value=path, remedy="check the path") from None
    except PermissionError:
        raise NexcageError("E_PRIVILEGE", f"{path} cannot be read", value=path) from None
    except OSError as error:
        if os.path.islink(path):
            raise _bad(path, "a link, and no regular file", "put the file itself there") from None
        raise store.failure(error, f"{path} cannot be read") from error


def read_any(path: str, limit: int) -> bytes:
    """The same of whoever's file, for what is judged by its content alone, such as a package with a signature.

    Args:
        path: Of a file, or of a link to one.
        limit: Bytes that it may have.

    Raises:
        NexcageError: ``E_NOT_FOUND``, ``E_INTEGRITY`` for what is no regular file, ``E_PRIVILEGE``, ``E_LIMIT``, ``E_STATE``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NexcageError("E_NOT_FOUND", "there is no such file", value=path, remedy="check the path") from None
    except PermissionError:
        raise NexcageError("E_PRIVILEGE", f"{path} cannot be read", value=path) from None
    except OSError as error:
        raise store.failure(error, f"{path} cannot be read") from error
    try:
        return _content(descriptor, path, limit, anybody=True)
    finally:
        os.close(descriptor)


def _content(descriptor: int, path: str, limit: int, anybody: bool = False) -> bytes:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise _bad(path, "no regular file", "put a regular file there")
    if not anybody:
        _check(facts, path)
    if facts.st_size > limit:
        raise NexcageError("E_LIMIT", f"{path} has {facts.st_size} bytes, and {limit} are allowed", value=path, remedy="raise the limit, or make it smaller")
    parts, left = [], limit + 1
    while left and (part := os.read(descriptor, left)):
        parts.append(part)
        left -= len(part)
    if not left:
        raise NexcageError("E_LIMIT", f"{path} grew to more than {limit} bytes while it was read", value=path, remedy="try again")
    return b"".join(parts)


def open_folder(path: str, links: int = 0) -> int:
    """A descriptor of a folder that only root and this user can change, nor anything above it; for ``dir_fd``.

    Args:
        path: Absolute. Links in it are followed where only root or this user can have made them.
        links: How many were followed so far.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming the folder that others can change.
        OSError: As the system says.
    """
    parts = [part for part in path.split("/") if part]
    descriptor = os.open("/", _FOLDER)
    try:
        _check(os.fstat(descriptor), "/", sticky=bool(parts))
        for index, name in enumerate(parts):
            here = "/" + "/".join(parts[: index + 1])
            facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(facts.st_mode):
                _owner(facts, here)
                target = _target(here, os.readlink(name, dir_fd=descriptor), links)
                os.close(descriptor)
                descriptor = -1
                return open_folder("/".join([target, *parts[index + 1 :]]), links + 1)
            above, descriptor = descriptor, os.open(name, _FOLDER, dir_fd=descriptor)
            os.close(above)
            _check(os.fstat(descriptor), here, sticky=index < len(parts) - 1)
        found, descriptor = descriptor, -1
        return found
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _target(link: str, target: str, links: int) -> str:
    """The absolute path that a link stands for. All above the link are folders: a leading ``..`` means what it says."""
    parts = [part for part in target.split("/") if part not in ("", ".")]
    if links >= LINKS_LIMIT or ".." in [part for index, part in enumerate(parts) if parts[:index] != [".."] * index]:
        raise _bad(link, "a link that leads too far", "give the path without links")
    return os.path.normpath(os.path.join(os.path.dirname(link), target))


def _check(facts: os.stat_result, path: str, sticky: bool = False) -> None:
    _owner(facts, path)
    if facts.st_mode & 0o022 and not (sticky and facts.st_mode & stat.S_ISVTX):
        raise _bad(path, f"others can write to it (mode {stat.S_IMODE(facts.st_mode):04o})", f"look at it, then: chmod go-w {path}")


def _owner(facts: os.stat_result, path: str) -> None:
    if facts.st_uid not in (0, os.geteuid()):
        raise _bad(path, f"it belongs to the user with the id {facts.st_uid}", f"look at it, then: chown {os.geteuid()} {path}")


def _bad(path: str, problem: str, remedy: str) -> NexcageError:
    return NexcageError("E_INTEGRITY", f"{path}: {problem}", value=path, remedy=remedy)
