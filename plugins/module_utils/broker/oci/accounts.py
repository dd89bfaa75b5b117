# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups as the container's own files name them, read without ever leaving its root file system."""

from __future__ import annotations

import os
import stat
import typing as t

from ...model.errors import NexcageError

_MOST_LINKS = 40  # path_resolution(7)
_MOST_BYTES = 4 << 20
_O_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def refuse_pipes(root: str) -> None:
    """Refuse account files at which a runtime would wait or read for ever: runc reads them whenever it starts a process.

    Raises:
        NexcageError: ``E_INVALID`` naming the file.
    """
    for path in ("etc/passwd", "etc/group"):
        try:
            handle = open_inside(root, path)
        except OSError:
            continue
        mode = os.fstat(handle).st_mode
        os.close(handle)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise NexcageError(
                "E_INVALID", f"/{path} in the container is no file", option="name", remedy="use another image; recreate: true undoes what the container did"
            )


def working_folder(path: str) -> str:
    """The folder that a process starts in, absolute; a relative one of an image is relative to its root.

    Raises:
        NexcageError: ``E_INVALID`` for a place in /proc: links there lead to the host's files as long as the runtime
            still has some of them open (CVE-2024-21626).
    """
    folder = os.path.normpath("/" + path.lstrip("/"))
    if (folder + "/").startswith("/proc/"):
        raise NexcageError("E_INVALID", "a process cannot start in /proc", option="working_dir", value=path, remedy="choose another folder")
    return folder


class User(t.NamedTuple):
    """Who a process runs as: numbers, and the home folder where the files name one."""

    uid: int
    gid: int
    groups: list[int]
    home: str | None


def open_inside(root: str, path: str) -> int:
    """Open what ``path`` is inside ``root`` (``O_PATH``); links lead to where they would lead inside, never out.

    Step by step over descriptors, so that a container that swaps its files meanwhile wins nothing.

    Raises:
        OSError: Where it is missing or has too many links.
    """
    stack = [os.open(root, _O_PATH | os.O_DIRECTORY)]
    todo = path.split("/")[::-1]
    links = 0
    try:
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            descriptor = os.open(part, _O_PATH, dir_fd=stack[-1])
            if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
                stack.append(descriptor)
                continue
            target = os.readlink("", dir_fd=descriptor)
            os.close(descriptor)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(40, "too many links", path)
            if target.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
            todo += target.split("/")[::-1]
        return stack.pop()
    finally:
        for descriptor in stack:
            os.close(descriptor)


def read_inside(root: str, path: str) -> str:
    """The text of a regular file inside ``root``; empty where there is none."""
    try:
        handle = open_inside(root, path)
    except OSError:
        return ""
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return ""
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(handle)


def _entries(root: str, path: str, least: int) -> list[list[str]]:
    """The lines of an account file whose third field is a number; the container may have written anything there."""
    lines = [line.split(":") for line in read_inside(root, path).split("\n")]
    return [line for line in lines if len(line) >= least and _number(line[2])]


def resolve(root: str, user: str, groups: t.Sequence[str]) -> User:
    """Who ``user`` is in the container's files.

    Args:
        root: The root file system.
        user: ``uid``, ``name``, ``uid:gid``, ``name:group`` and so on; empty is root.
        groups: Further groups, names or numbers.

    Raises:
        NexcageError: ``E_INVALID`` for a name that the files do not have.
    """
    refuse_pipes(root)
    name, _colon, group = user.partition(":")
    accounts = _entries(root, "etc/passwd", 6)
    found = _lookup(accounts, name or "0")
    if found is None and not _number(name or "0"):
        raise NexcageError("E_INVALID", "the image's /etc/passwd has no such user", option="user", value=user, remedy="use a number, or another name")
    uid = int(found[2]) if found else int(name or "0")
    gid = int(found[3]) if found and _number(found[3]) else 0
    table = _entries(root, "etc/group", 3)
    if group:
        gid = _group(table, group, "user", user)
    extra = [_group(table, item, "groups", item) for item in groups]
    if found and not group:  # as initgroups(3) would
        extra += [int(line[2]) for line in table if len(line) > 3 and found[0] in line[3].split(",")]
    return User(uid, gid, sorted(set(extra) - {gid}), found[5] or None if found else None)


def _number(text: str) -> bool:
    """Whether a text is the number of a user or group; the highest one stands for none (chown(2))."""
    return len(text) <= 10 and text.isascii() and text.isdigit() and int(text) < (1 << 32) - 1


def _lookup(table: list[list[str]], wanted: str) -> list[str] | None:
    for line in table:
        if line[0] == wanted:
            return line
    return next((line for line in table if _number(wanted) and int(line[2]) == int(wanted)), None)


def _group(table: list[list[str]], wanted: str, option: str, value: str) -> int:
    found = _lookup(table, wanted)
    if found is not None:
        return int(found[2])
    if _number(wanted):
        return int(wanted)
    raise NexcageError("E_INVALID", f"the image's /etc/group has no group {wanted}", option=option, value=value, remedy="use a number, or another name")
