# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Removing a folder whose content a stranger chose: a container, or an image."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil


def remove(folder: str) -> None:
    """Remove a folder with all that is in it; one that is not there, or vanishes meanwhile, is fine.

    Nothing is followed out of it, and no tree is too deep: a container can nest folders deeper than a path may be
    long, and than Python recurses.

    Raises:
        OSError: Where something stays.
    """
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        if os.path.lexists(folder):
            _flatten(folder)
            os.rmdir(folder)


def _flatten(folder: str) -> None:
    """Empty a folder with three descriptors: every folder below it is first moved right into it."""
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        prefix, numbers = f".{os.urandom(8).hex()}-", itertools.count()
        todo = _unlink_files(top)
        while todo:
            name = todo.pop()
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for child in _unlink_files(inner):
                    moved = f"{prefix}{next(numbers)}"
                    os.rename(child, moved, src_dir_fd=inner, dst_dir_fd=top)
                    todo.append(moved)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)


def _unlink_files(descriptor: int) -> list[str]:
    """Unlink what is no folder; the names of the folders."""
    folders = []
    with os.scandir(descriptor) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if is_folder:
            folders.append(name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=descriptor)
    return folders
