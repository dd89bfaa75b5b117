# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the disk a plugin's files take: an account of what it wrote, kept across runs."""

from __future__ import annotations

import contextlib
import typing as t

from ..model.container import check_name
from ..model.errors import NexcageError
from .store import Lock, ensure_folder, read_json, write_json

if t.TYPE_CHECKING:
    from ..model.config import Layout

SCHEMA_VERSION = 1
BLOCK = 4096  # bytes that even an empty file is counted with
ENTRIES = 50_000  # files and folders
LOCK_SECONDS = 10.0


class Quota:
    """The account of one plugin.

    Args:
        layout: The folders of this host and user.
        plugin: The plugin's name.
        limit: Bytes.
        measure: The real size in bytes of what was written under a name, ``None`` where it is gone.
    """

    def __init__(self, layout: Layout, plugin: str, limit: int, measure: t.Callable[[str], int | None]) -> None:
        self.plugin = check_name(plugin, "plugin")
        self.limit = limit
        self._measure = measure
        self._folder = f"{layout.state}/plugins/{plugin}"
        self._path = self._folder + "/files.json"
        self._lock = f"{layout.runtime}/plugins/{plugin}.files.lock"

    @contextlib.contextmanager
    def charge(self, name: str, size: int) -> t.Iterator[None]:
        """Around the write of ``size`` bytes under ``name``: counted before it is done, and not where it fails.

        A run that is killed in between leaves too much on the account, until the next time that it is full.

        Raises:
            NexcageError: ``E_LIMIT`` before anything is written; ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
        """
        with Lock(self._lock, LOCK_SECONDS, f"files of {self.plugin}"):
            before = self._read()
            after = {**before, name: _blocks(size)}
            if self._full(after):
                after = {**self._recount(before), name: _blocks(size)}
                if self._full(after):
                    raise NexcageError(
                        "E_LIMIT",
                        f"the files of {self.plugin} would take {sum(after.values())} bytes, and {self.limit} are allowed",
                        option="max_disk_usage_mb",
                        remedy="let the plugin remove files, or raise max_disk_usage_mb in its resource requirements",
                    )
            self._write(after)
            try:
                yield
            except BaseException:
                self._write(before)
                raise

    def release(self, name: str) -> None:
        """Take what is gone off the account.

        Raises:
            NexcageError: ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
        """
        with Lock(self._lock, LOCK_SECONDS, f"files of {self.plugin}"):
            entries = self._read()
            if entries.pop(name, None) is not None:
                self._write(entries)

    def _full(self, entries: t.Mapping[str, int]) -> bool:
        return sum(entries.values()) > self.limit or len(entries) > ENTRIES

    def _recount(self, entries: t.Mapping[str, int]) -> dict[str, int]:
        """What is really there: others may have removed or shortened files."""
        sizes = {name: self._measure(name) for name in entries}
        return {name: _blocks(size) for name, size in sizes.items() if size is not None}

    def _read(self) -> dict[str, int]:
        kept = read_json(self._path)
        if kept is None:
            return {}
        files = kept.get("files") if isinstance(kept, dict) and kept.get("schema_version") == SCHEMA_VERSION else None
        if not isinstance(files, dict) or not all(isinstance(size, int) for size in files.values()):
            raise NexcageError(
                "E_STATE",
                f"{self._path} is not an account of schema version {SCHEMA_VERSION}",
                remedy="use the collection that wrote it, or remove the file: what the plugin wrote so far is then not counted",
            )
        return t.cast("dict[str, int]", files)

    def _write(self, entries: t.Mapping[str, int]) -> None:
        ensure_folder(self._folder)
        write_json(self._path, {"schema_version": SCHEMA_VERSION, "files": entries}, sync=False)


def _blocks(size: int) -> int:
    return max(1, -(-size // BLOCK)) * BLOCK
