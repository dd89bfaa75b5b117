# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether somebody else could put another file in the place of one that we trust."""

from __future__ import annotations

import errno
import os
import stat
import typing as t

_LINKS = 40  # as many as Linux follows in one path


def changeable(path: str, owners: t.Container[int] = (0,)) -> str:
    """The first folder, link or file on the way to ``path`` that others than ``owners`` can change; empty where there is none.

    Every link is followed by hand, so what it leads through counts too. A sticky folder such as ``/tmp`` counts as
    safe on the way: nobody else can rename or remove what one of the owners has in it.

    Args:
        path: An absolute path.
        owners: User ids that are trusted.

    Raises:
        OSError: As for opening the path, such as a missing file or a circle of links.
    """
    place, links = "", 0
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    if _bad(os.lstat("/"), owners, last=not waiting):
        return "/"
    while waiting:
        part = waiting.pop()
        if part == "..":
            place = place.rpartition("/")[0]
            continue
        following = f"{place}/{part}"
        facts = os.lstat(following)
        if stat.S_ISLNK(facts.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if facts.st_uid not in owners:
                return following
            target = os.readlink(following)
            place = "" if target.startswith("/") else place
            waiting += [step for step in reversed(target.split("/")) if step not in ("", ".")]
            continue
        if _bad(facts, owners, last=not waiting):
            return following
        place = following
    return ""


def _bad(facts: os.stat_result, owners: t.Container[int], last: bool) -> bool:
    """Whether others can change a file or folder, or what lies in it."""
    if facts.st_uid not in owners:
        return True
    sticky = stat.S_ISDIR(facts.st_mode) and bool(facts.st_mode & stat.S_ISVTX) and not last
    return bool(facts.st_mode & 0o022) and not sticky
