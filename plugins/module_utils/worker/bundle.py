# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a worker: its own program, as source or compiled, and a plugin's files, as source.

Source is read through the loaders, so that it is found in an installed collection and in what was delivered alike.
"""

from __future__ import annotations

import importlib.util
import marshal
import re
import typing as t
from types import ModuleType

from . import delivered
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
CONFINED = "worker.inside"  # sent to a worker in namespaces, beside the program
EXTRA = "sdk.host_extra"  # sent with a plugin that may do more than containers
IMPORTER = "worker.importer"
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
first = sources["importer"]
exec(marshal.loads(first) if isinstance(first, bytes) else first, space)
space["start"](sources)
"""

_UNREAD = re.compile(r'(^ *)?"""[^"]*(?:"{1,2}(?!")[^"]*)*"""|^ *#.*$', re.MULTILINE)


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
    """Source without its documentation and comments, line for line; only for our own files, which a test checks."""
    return _UNREAD.sub(_without, text)


def _without(found: re.Match[str]) -> str:
    """Nothing of a comment, of a text that is a statement an empty one of as many lines, and any other text as it is."""
    text = found.group()
    if found[1] is None:
        return text if text.startswith('"') else ""
    return found[1] + '""' + "\n" * text.count("\n")


def program(portable: bool = False, confined: bool = False) -> bytes:
    """The first frame to a worker, header included: full module name to source, or to marshalled code.

    Args:
        portable: Source only, for a worker that is another Python than this one.
        confined: With what a worker in namespaces looks around with.
    """
    part = _source if portable else _part
    names = (*PROGRAM, CONFINED) if confined else PROGRAM
    sources: dict[str, str | bytes] = {BASE + name: part(name) for name in names}
    sources["importer"] = part(IMPORTER)
    data = marshal.dumps(sources, 2)  # a version that every Python reads
    return len(data).to_bytes(HEADER, "big") + data


def extra() -> dict[str, str]:
    """The SDK's parts beyond containers, for :meth:`spawn.Worker.load`."""
    return {BASE + EXTRA: _source(EXTRA)}


def _source(name: str) -> str:
    return slim(source(name))


def _part(name: str) -> str | bytes:
    """Compiled code where it is kept, so that the worker need not compile it while the module waits."""
    code = delivered.code()
    return (code and code.kept_code(BASE + name)) or _source(name)


def compile_all() -> None:
    """Compile the worker's program in this process too, so that it can be kept with the rest."""
    code = delivered.code()
    if code is not None:
        for name in (IMPORTER, CONFINED, *PROGRAM):
            code.get_code(BASE + name)


def plugin_sources(module: ModuleType) -> dict[str, str]:
    """A built-in plugin's files for :meth:`spawn.Worker.load`.

    Args:
        module: One of ``backends``; the first name in its ``FILES`` is the entry.
    """
    names: tuple[str, ...] = module.FILES
    files = {name + ".py": source("backends." + name) for name in names[1:]}
    return {"plugin.py": source("backends." + names[0]), **files}
