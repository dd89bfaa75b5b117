# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The body of an upload: its fields have a fixed order."""

from __future__ import annotations

import hashlib
import re
import typing as t

from .errors import ApiError

ORDER = ("content", "checksum-algorithm", "checksum", "filename")
ALGORITHMS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


def fields(content_type: str, body: bytes) -> dict[str, t.Any]:
    """The parameters of an upload; ``tmpfilename`` stands for the file: its digests and its size.

    Raises:
        ApiError: 400 without a body, where the fields are not in the one order that is understood.
    """
    match = re.search(r'boundary="?([^";]+)"?', content_type)
    if not match:
        raise ApiError(400, "Bad Request", plain=None)
    given: dict[str, t.Any] = {}
    last = -1
    for part in body.split(b"--" + match[1].encode())[1:-1]:
        head, _blank, content = part.strip(b"\r\n").partition(b"\r\n\r\n") if b"\r\n\r\n" in part else (part, b"", b"")
        name = re.search(rb'name="([^"]+)"', head)
        place = ORDER.index(name[1].decode()) if name and name[1].decode() in ORDER else -1
        if name is None or place <= last:
            raise ApiError(400, "Bad Request", plain=None)
        last = place
        file = re.search(rb'filename="([^"]*)"', head)
        given[name[1].decode()] = file[1].decode() if file else content.decode()
        if file:
            given["tmpfilename"] = remember(content)
    return given


UPLOADED: dict[str, dict[str, t.Any]] = {}


def remember(content: bytes) -> str:
    """Keeps what is needed of a file that was uploaded; the name it goes by."""
    name = "/var/tmp/pveupload-" + hashlib.sha256(content).hexdigest()[:32]
    UPLOADED[name] = {"size": len(content), "digests": {one: hashlib.new(one, content).hexdigest() for one in ALGORITHMS}, "content": content[:65536]}
    return name
