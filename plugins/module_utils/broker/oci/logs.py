# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's output from conmon's log file (format ``k8s-file``).

``<time> <stream> F|P <text>``: ``P`` is a part of a line, which conmon cuts every 8 KiB.
"""

from __future__ import annotations

import os

from ...model.errors import NexcageError
from . import records

MOST_BYTES = 16 << 20  # of the end of the file
_BLOCK = 64 << 10


def read(places: records.Places, name: str, tail: int | None = None) -> list[dict[str, str]]:
    """The last ``tail`` lines, oldest first; all of the last 16 MiB where ``tail`` is ``None``.

    Raises:
        NexcageError: ``E_NOT_FOUND``.
    """
    container = records.find(places, name)
    if container is None or container.record["backend"] != places.backend:
        raise NexcageError("E_NOT_FOUND", "there is no such container", option="name", value=name)
    lines = parse(_end(container.folder + "/container.log", tail))
    return lines if tail is None else lines[-tail:] if tail > 0 else []


def parse(data: bytes) -> list[dict[str, str]]:
    """Log lines with their parts put together again; what is no log line is left out."""
    lines: list[dict[str, str]] = []
    parts: dict[str, list[bytes]] = {}
    begun: dict[str, str] = {}
    for raw in data.split(b"\n"):
        fields = raw.split(b" ", 3)
        if len(fields) != 4 or fields[2] not in (b"F", b"P"):
            continue
        stream = fields[1].decode("ascii", "replace")
        begun.setdefault(stream, fields[0].decode("ascii", "replace"))
        parts.setdefault(stream, []).append(fields[3])
        if fields[2] == b"F":
            lines.append(_line(begun.pop(stream), stream, parts.pop(stream)))
    lines += [_line(begun[stream], stream, parts[stream]) for stream in sorted(parts)]
    return lines


def _line(time: str, stream: str, parts: list[bytes]) -> dict[str, str]:
    return {"time": time.replace("+00:00", "Z"), "stream": stream, "text": b"".join(parts).decode("utf-8", "replace")}


def _end(path: str, tail: int | None) -> bytes:
    """Whole lines from the end of the file, enough for ``tail`` of them."""
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        position = file.seek(0, os.SEEK_END)
        data = b""
        whole = 0
        while position > 0 and len(data) < MOST_BYTES and (tail is None or whole <= tail + 1):
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            whole += block.count(b" F ")
            data = block + data
    return data if position == 0 else data.partition(b"\n")[2]
