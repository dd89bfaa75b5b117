# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of workers in namespaces share: who runs below a process, and other Pythons to start them from."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

REPORT = """
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import Limits
with strong.start(Limits(memory=128 << 20), "process") as worker:
    print(worker.sandbox.tier, worker.sandbox.missing)
"""


def environment() -> dict[str, str]:
    """In which another Python finds the collection, and nothing of this one's."""
    tree = next(path for path in sys.path if os.path.isdir(f"{path}/ansible_collections/nexcage/backends"))
    return {"PYTHONPATH": tree} if "site-packages" not in tree else {"PYTHONPATH": str(Path(__file__).parents[2] / ".venv/tree")}


def interpreters() -> list[str]:
    """Every Python from 3.9 on that is installed where Python usually is."""
    folders = [Path("/usr/bin"), Path("/usr/local/bin"), *Path.home().glob(".pyenv/versions/*/bin")]
    found = {str(path.resolve()): path for folder in folders for path in sorted(folder.glob("python3.*"))}
    return sorted(str(path) for path in found.values() if re.fullmatch(r"python3\.(9|\d\d)", path.name) and os.access(path, os.X_OK))


def descendants(pid: int) -> list[int]:
    """All processes below one, the nearest first."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop(0)
        try:
            children = [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += children
        waiting += children
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; dead and not yet reaped by a stranger is not alive."""
    try:
        return not Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False
