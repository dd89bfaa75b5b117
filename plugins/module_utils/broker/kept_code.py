# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the collection's code on a host for the next task (``worker.delivered``): what was sent, and what was compiled of it.

As with Python's own ``__pycache__``, nothing is lost where it cannot be written or is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import time

from ..model.errors import NexcageError
from ..worker import bundle, delivered
from . import store

VERSIONS = 4  # of the collection; those kept longest are forgotten
_ABANDONED = 3600  # seconds after which a file half written is nobody's any more


def keep(cache: str) -> None:
    """Keep what this run was sent and what it compiled beside what is kept already; never fails.

    Args:
        cache: The cache folder of the layout.
    """
    code = delivered.code()
    if code is None or not (code.sent or code.compiled):
        return
    folder = cache + "/code"
    with contextlib.suppress(Exception):  # also no memory: what the task has done is what counts
        bundle.compile_all()
        for place in (cache, folder):
            store.ensure_folder(place)
        if not delivered.trusted(folder):  # where nothing would be read
            return
        if code.sent:
            store.atomic_write(f"{folder}/{code.digest}", code.sent)
        # Without a sync: a file cut short by a power cut does not have its digest, and is made anew.
        body = marshal.dumps({**code.kept, **code.compiled})
        store.atomic_write(f"{folder}/{delivered.compiled_name(code.digest)}", hashlib.sha256(body).digest() + body, sync=False)
        _sweep(folder, code.digest)


def _sweep(folder: str, current: str) -> None:
    """Remove what killed runs left, other versions than the newest few, and what was kept for those."""
    now, ages = time.time(), dict[str, float]()
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # another run has just put it in place, or removed it
            ages[entry.name] = abs(now - entry.stat(follow_symlinks=False).st_mtime)  # of the future: as doubtful as of the past
    archives = sorted((name for name in ages if "." not in name and name != current), key=lambda name: ages[name])
    wanted = {current, *archives[: VERSIONS - 1]}
    for name, age in ages.items():
        temporary = name.endswith(store.TEMPORARY_SUFFIX)  # maybe of a run that just brings another version
        if age > _ABANDONED if temporary else name.partition(".")[0] not in wanted:
            with contextlib.suppress(NexcageError):
                store.remove(f"{folder}/{name}")
