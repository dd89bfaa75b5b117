# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``nexcage_plugin_package`` does: a folder becomes a package in its place, and the same content changes nothing."""

from __future__ import annotations

import base64
import os
import tempfile
import typing as t

from ..broker import store
from ..model.errors import NexcageError
from . import archive, packing, schema_check
from . import signature as signatures
from .archive import Archive
from .package import file_name
from .packing import Content

README = "README.md"
MODE = 0o644
_ANYBODY = "anybody"  # the principal of one verification, which asks for the key and nothing else


def make(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Package a folder; the module's result.

    Args:
        parameters: Of the module.
        check_mode: Do everything but write.

    Raises:
        NexcageError: As :func:`packing.collect` and :func:`packing.sign`; ``E_INVALID`` for a ``dest`` of another
            name; ``E_STATE``, ``E_SPACE``. With ``E_MANIFEST``, ``details`` has all ``violations`` of the schema.
        ImportError: ``jsonschema`` is not installed.
    """
    content = validated(parameters["src"])
    path = _place(parameters["dest"], file_name(content.manifest))
    before = packing.read_file(path, archive.PACKED_LIMIT) if os.path.lexists(path) else None
    old = _content(before)
    sums = packing.sums(content.files)
    same = old if old is not None and old.sums == sums else None
    signature = _signature(sums, same and same.signature, parameters["key_file"])
    after = packing.pack(content.files, signature)
    if after != before and not check_mode:
        store.atomic_write(path, after, MODE)
    package = {
        "path": path,
        "name": content.manifest["name"],
        "version": content.manifest["version"],
        "digest": archive.digest(sums),
        "files": sorted(content.files),
        "left_out": content.left_out,
        "signed_by": _signer(signature),
    }
    return {"changed": after != before, "package": package, "notes": _notes(content), "diff": _difference(path, (before, old), (after, archive.read(after)))}


def validated(folder: str) -> Content:
    """What both validators take. The parser speaks first, for its bounds hold for any text.

    Raises:
        NexcageError: As :func:`packing.collect`; with ``E_MANIFEST``, ``details`` has all ``violations`` of the schema.
        ImportError: ``jsonschema`` is not installed.
    """
    try:
        content = packing.collect(folder)
    except NexcageError as error:
        if error.code == "E_MANIFEST":
            error.details["violations"] = schema_check.violations(packing.read_file(error.details["file"], archive.FILE_LIMIT))
        raise
    faults = schema_check.violations(content.files[archive.MANIFEST])
    if faults:
        path = os.path.join(folder, archive.MANIFEST)
        raise NexcageError("E_MANIFEST", f"{path}: {faults[0]}", details={"file": path, "violations": faults})
    return content


def _place(dest: str, name: str) -> str:
    """The path of the package: in a folder, or as given where it has the right name."""
    path = os.path.join(dest, name) if os.path.isdir(dest) or dest.endswith("/") else dest
    if os.path.basename(path) != name:
        raise NexcageError("E_INVALID", "not the name of this package", option="dest", value=dest, remedy=f"give a folder, or a path that ends with /{name}")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise NexcageError("E_NOT_FOUND", f"there is no folder {folder}", option="dest", value=dest, remedy="make the folder first")
    return path


def _content(data: bytes | None) -> Archive | None:
    """What is in a file that may be anything."""
    try:
        return None if data is None else archive.read(data)
    except NexcageError:
        return None


def _signature(sums: bytes, present: bytes | None, key_file: str | None) -> bytes | None:
    """The signature to put in. One that the same key made of the same sums stays: some kinds of key never give two alike."""
    if key_file is None:
        return present
    made = signatures.sign(sums, key_file, signatures.PLUGIN)
    return present if present is not None and _same_key(sums, present, made) else made


def _same_key(sums: bytes, present: bytes, made: bytes) -> bool:
    try:
        seal = signatures.inspect(made)
        with tempfile.TemporaryDirectory() as folder:
            signers = f"{_ANYBODY} {seal.kind} {base64.b64encode(seal.key).decode()}\n".encode()
            signatures.verify(sums, present, signers, signatures.PLUGIN, lambda _principal: True, folder)
        return True
    except NexcageError:
        return False


def _signer(signature: bytes | None) -> str | None:
    """The fingerprint of the key that a signature names."""
    try:
        return None if signature is None else signatures.inspect(signature).fingerprint
    except NexcageError:
        return "unreadable"


def _notes(content: Content) -> list[str]:
    missing = [] if README in content.files else [f"there is no {README}: say what the plugin does, and what it needs"]
    return [*missing, *content.manifest.notes]


def _difference(path: str, before: tuple[bytes | None, Archive | None], after: tuple[bytes, Archive]) -> dict[str, str]:
    texts = [_text(*before), _text(*after)]
    if texts[0] == texts[1] and before[0] != after[0]:
        texts[0] += "# packed in another way\n"
    return {"before_header": path, "after_header": path, "before": texts[0], "after": texts[1]}


def _text(data: bytes | None, content: Archive | None) -> str:
    """A file as the diff shows it."""
    if data is None:
        return ""
    if content is None:
        return f"# {len(data)} bytes that are no package\n"
    signer = _signer(content.signature)
    return content.sums.decode("ascii") + (f"# signed by {signer}\n" if signer else "# not signed\n")
