# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the code that a run compiled, for the next run to take (``worker.once``).

As with Python's own ``__pycache__``, nothing is lost where it cannot be written or is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import time

from ..worker import bundle, once
from . import store

LIMIT = 4 << 20  # bytes; above, what this run did not use is forgotten
_ABANDONED = 3600  # seconds after which a file half written is nobody's any more


def keep(cache: str) -> None:
    """Keep what this run compiled beside what is kept already; never fails.

    Args:
        cache: The cache folder of the layout.
    """
    finder = once.finder()
    if finder is None or not finder.compiled:
        return
    folder = cache + "/code"
    with contextlib.suppress(Exception):  # also no memory, or no payload any more: what the task has done is what counts
        bundle.compile_all()
        for place in (cache, folder):
            store.ensure_folder(place)
            store.refuse_others(place)
        _sweep(folder)
        # Without a sync: a file cut short by a power cut does not have its digest, and is not read.
        store.atomic_write(f"{folder}/{once.file_name()}", _content(finder), sync=False)


def _content(finder: once.Finder) -> bytes:
    entries = {**finder.kept, **finder.compiled}
    if sum(map(len, entries.values())) > LIMIT:
        entries = {key: code for key, code in entries.items() if key in finder.used or key in finder.compiled}
    body = marshal.dumps(entries)
    return hashlib.sha256(body).digest() + body


def _sweep(folder: str) -> None:
    """Remove what killed runs left."""
    for entry in os.scandir(folder):
        if entry.name.endswith(store.TEMPORARY_SUFFIX) and time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED:
            store.remove(entry.path)
