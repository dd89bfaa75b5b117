# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports from memory. Inside the worker no module of ours comes from a disk."""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


class MemoryImporter:
    """Finds and executes modules that are in a dictionary.

    Args:
        sources: Full module name to source or marshalled code. Packages need no entry: a name that others begin with is one.
    """

    def __init__(self, sources: dict[str, str | bytes]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The import system asks here; ``None`` for what is not ours."""
        if name in self.sources:
            return ModuleSpec(name, self, origin=f"<{name.rpartition('.')[2]}.py>")  # type: ignore[arg-type]
        if any(known.startswith(name + ".") for known in self.sources):
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system's own module object will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Compile where needed, and run; a package has nothing to run."""
        source = self.sources.get(module.__name__)
        if isinstance(source, str):
            file_name = f"<{module.__name__.rpartition('.')[2]}.py>"
            exec(compile(source, file_name, "exec", dont_inherit=True), module.__dict__)
        elif source is not None:
            exec(marshal.loads(source), module.__dict__)


def start(sources: dict[str, str | bytes]) -> None:
    """Put the importer first and hand over to the bootstrap; called by the line after ``-c``."""
    importer = MemoryImporter(sources)
    sys.meta_path.insert(0, importer)
    name = next(name for name in sources if name.endswith(".worker.bootstrap"))
    __import__(name)
    sys.modules[name].main(importer)
