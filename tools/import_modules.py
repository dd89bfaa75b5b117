# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports all of plugins/module_utils with nothing but this Python: what a managed host with the oldest one has to bear."""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = "ansible_collections.nexcage.backends."


def main() -> int:
    """Compiles every plugin, imports every module utility; returns the exit status."""
    for path in sorted(ROOT.glob("plugins/**/*.py")):
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder, "ansible_collections", "nexcage")
        place.mkdir(parents=True)
        (place / "backends").symlink_to(ROOT)
        sys.path.insert(0, folder)
        names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(ROOT.glob("plugins/module_utils/**/*.py"))]
        for name in names:
            importlib.import_module(PACKAGE + name)
    print(f"{len(names)} modules import under Python {sys.version.split()[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
