# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages of plugins, right ones and wrong ones, made member by member."""

from __future__ import annotations

import gzip
import json
import tarfile
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing

Member = tuple[str, bytes]
Members = list[tuple[t.Union[str, tarfile.TarInfo], bytes]]
ENTRY = b"def backend():\n    raise RuntimeError('never imported')\n"


def manifest(name: str = "sample-backend", version: str = "1.0.0", **fields: t.Any) -> dict[str, t.Any]:
    """A small manifest that is right."""
    facts = {"name": name, "version": version, "description": "d", "api_version": 1, "nexcage_version": "0.7.0"}
    return {**facts, "dependencies": [], "capabilities": [], "resource_requirements": {}, **fields}


def files(document: dict[str, t.Any] | None = None, **more: bytes) -> dict[str, bytes]:
    """The files of a plugin; names of further ones with ``__`` for the dot."""
    text = json.dumps(document or manifest()).encode()
    return {"plugin.json": text, "plugin.py": ENTRY, **{name.replace("__", "."): content for name, content in more.items()}}


def members(content: dict[str, bytes] | None = None) -> Members:
    """What ``tar`` takes, of the files and their sums."""
    content = files() if content is None else content
    return [*content.items(), ("SHA256SUMS", packing.sums(content))]


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, **attributes: t.Any) -> tarfile.TarInfo:
    """The description of one member."""
    made = tarfile.TarInfo(name)
    made.size, made.type = size, kind
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def tar(entries: Members, form: int = tarfile.USTAR_FORMAT, end: bytes = bytes(1024)) -> bytes:
    """A tar of exactly these members, whatever they are."""
    parts = []
    for entry, content in entries:
        described = header(entry, len(content)) if isinstance(entry, str) else entry
        parts += [described.tobuf(form), content, bytes(-len(content) % 512)]
    return b"".join(parts) + end


def package(entries: Members | None = None, **options: t.Any) -> bytes:
    """A gzip'ed tar, as other programs make it."""
    return gzip.compress(tar(members() if entries is None else entries, **options), mtime=1)
