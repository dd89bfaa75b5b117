# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make one program out of health.py and the collection's own code, for a host where nothing else of it is: make_health.py FILE

A zip file that Python runs (PEP 441). The same files give the same bytes, whoever makes it: nothing is compressed, and
there are no times in it.
"""

from __future__ import annotations

import pathlib
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
CODE = HERE.parents[2] / "plugins" / "module_utils"
PACKAGE = "ansible_collections/nexcage/backends/plugins/module_utils"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file knows


def contents() -> dict[str, bytes]:
    """Path in the program to content, in order."""
    parts = PACKAGE.split("/")
    found = {"/".join(parts[: count + 1]) + "/__init__.py": b"" for count in range(len(parts))}
    for path in CODE.rglob("*.py"):
        found[f"{PACKAGE}/{path.relative_to(CODE).as_posix()}"] = path.read_bytes()
    found["__main__.py"] = (HERE / "health.py").read_bytes()
    return dict(sorted(found.items()))


def main(target: str) -> None:
    """Write it."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents().items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # Unix, whatever this is
            archive.writestr(entry, content)


if __name__ == "__main__":
    main(sys.argv[1])
