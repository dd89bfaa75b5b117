# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling each of our modules once.

Python's zipimport compiles a module's source twice where there is no bytecode, as in Ansible's payload: once
only to learn its file name while it is looked for (``zipimporter.get_filename``, called by
``importlib.util.spec_from_loader``), and again to run it. Who names the file himself saves the first time,
which is about half of what our imports cost. Measured by ``make bench``.
"""

from __future__ import annotations

import sys
import typing as t
import zipimport
from importlib.util import spec_from_file_location

if t.TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

COLLECTION = __name__.rpartition(".plugins.")[0] + "."


class Finder:
    """Finds modules of this collection in a zip file, and leaves all others to Python."""

    def __init__(self) -> None:
        self._importers: dict[str, zipimport.zipimporter] = {}

    def find_spec(self, name: str, path: t.Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The import system asks here first."""
        if path is None or not name.startswith(COLLECTION):
            return None
        for folder in path:
            try:
                importer = self._importers.get(folder) or zipimport.zipimporter(folder)
                package = importer.is_package(name)
            except zipimport.ZipImportError:
                continue
            self._importers[folder] = importer
            place = f"{folder}/{name.rpartition('.')[2]}"
            file = place + ("/__init__.py" if package else ".py")
            return spec_from_file_location(name, file, loader=importer, submodule_search_locations=[place] if package else None)
        return None


def compile_once() -> None:
    """Begin, where this very module came out of a zip file; call it before the other imports."""
    if isinstance(globals().get("__loader__"), zipimport.zipimporter) and not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
