# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a worker: its own program, and a plugin's files, as source.

Source is read through the loaders, so that it is found in a payload's zip, in an exploded payload and
in an installed collection alike.
"""

from __future__ import annotations

import importlib.util
import marshal
import re
import typing as t
from types import ModuleType

from .channel import HEADER

BASE = __name__.rpartition(".worker.")[0] + "."
PROGRAM = (
    "worker.bootstrap",
    "worker.channel",
    "worker.lockdown",
    "worker.seccomp",
    "sdk.errors",
    "sdk.host",
    "sdk.backend",
)
# The whole command line after -c: take one frame from stdin and run the importer that is in it.
STUB = """
import marshal, os
def take(size):
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
sources = marshal.loads(take(int.from_bytes(take(4), "big")))
space = {"__name__": "importer"}
exec(sources["importer"], space)
space["start"](sources)
"""

_TEXT = re.compile(r'"""[^"]*(?:"{1,2}(?!")[^"]*)*"""')
_COMMENT = re.compile(r"^ *#.*$", re.MULTILINE)


def _ship() -> None:  # pragma: no cover
    """Never called: a payload carries what some file imports literally, and nothing else."""
    from ..sdk import backend, errors, host  # noqa: F401
    from . import bootstrap, importer, lockdown, seccomp  # noqa: F401


def source(name: str) -> str:
    """The source of a module of this collection, by its name below ``module_utils``.

    Raises:
        ImportError: There is none, or it cannot be read.
    """
    spec = importlib.util.find_spec(BASE + name)
    text = spec.loader.get_source(BASE + name) if spec and spec.loader else None  # type: ignore[attr-defined]
    if text is None:
        raise ImportError(f"no source for {name}")
    return text.decode() if isinstance(text, bytes) else t.cast("str", text)  # Ansible's own loader gives bytes


def slim(text: str) -> str:
    """Source without its documentation, line for line; only for our own files, which a test checks."""
    return _COMMENT.sub("", _TEXT.sub(lambda found: '""' + "\n" * found.group().count("\n"), text))


def program() -> bytes:
    """The first frame to a worker, header included: full module name to source."""
    sources = {BASE + name: slim(source(name)) for name in PROGRAM}
    sources["importer"] = slim(source("worker.importer"))
    data = marshal.dumps(sources, 2)  # a version that every Python reads
    return len(data).to_bytes(HEADER, "big") + data


def plugin_sources(module: ModuleType) -> dict[str, str]:
    """A built-in plugin's files for :meth:`spawn.Worker.load`.

    Args:
        module: One of ``backends``; the first name in its ``FILES`` is the entry.
    """
    names: tuple[str, ...] = module.FILES
    files = {name + ".py": source("backends." + name) for name in names[1:]}
    return {"plugin.py": source("backends." + names[0]), **files}
