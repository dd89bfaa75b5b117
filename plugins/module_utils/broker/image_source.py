# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which manifest a reference stands for right now, on this platform. Reads only."""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t

from ..model.errors import NexcageError
from . import image_failure
from .image_process import OUTPUT_LIMIT
from .image_reference import Reference
from .image_skopeo import Access, manifest

# kernel's machine name -> GOARCH and the variants it runs, best first ("" is "none given"), as in
# containers/image internal/pkg/platform, because skopeo chooses by the same table
_MACHINES: dict[str, tuple[str, tuple[str, ...]]] = {
    "x86_64": ("amd64", ("",)),
    "aarch64": ("arm64", ("v8", "")),
    "armv7l": ("arm", ("v7", "v6", "v5", "")),
    "armv6l": ("arm", ("v6", "v5", "")),
    "i686": ("386", ("",)),
}
_TAG_ANNOTATION = "org.opencontainers.image.ref.name"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_Reader = t.Callable[[str], bytes]


def platform() -> tuple[str, str, tuple[str, ...]]:
    """This host as an image index names it: os, architecture, variants that run here."""
    machine = os.uname().machine
    architecture, variants = _MACHINES.get(machine, (machine, ("",)))
    return "linux", architecture, variants


def find(reference: Reference, access: Access) -> str:
    """The digest of the manifest for this platform.

    Raises:
        NexcageError: E_IMAGE where nothing is there, it is no image, it is not for this platform,
            or the digest is not the pinned one; E_REGISTRY, E_TIMEOUT as the registry answers.
    """
    direct = reference.transport in ("oci", "oci-archive")
    raw = _from_layout(reference) if direct else _from_skopeo(reference, access)
    top = digest_of(raw)
    content = parse_json(reference, raw, "the manifest")
    if content.get("schemaVersion") != 2:
        raise bad_image(reference, "its manifest is not of schema version 2", "push it again with a current tool")
    chosen = choose(reference, content["manifests"]) if isinstance(content.get("manifests"), list) else top
    if reference.pin not in (None, top, chosen):
        raise _wrong_digest(reference, chosen)
    return chosen


def choose(reference: Reference, manifests: list[t.Any]) -> str:
    """The digest of the entry of an image index that runs here, by the order that skopeo uses."""
    name, architecture, variants = platform()
    entries = [entry for entry in manifests if isinstance(entry, dict)]
    offered: list[tuple[str, ...]] = []
    for entry in entries:
        given = entry.get("platform")
        given = given if isinstance(given, dict) else {}
        offered.append(tuple(str(given.get(key, "")) for key in ("os", "architecture", "variant")))
    wanted: list[tuple[str, ...]] = [(name, architecture, variant) for variant in variants]
    for candidate in [*wanted, ("", "", "")]:  # last, an entry that names no platform at all
        if candidate in offered:
            return _checked_digest(reference, entries[offered.index(candidate)])
    there = ", ".join(sorted({"/".join(part for part in parts if part) for parts in offered})) or "nothing"
    raise bad_image(reference, f"it is not for {name}/{architecture}, only for {there}", "choose an image for this platform")


def digest_of(content: bytes) -> str:
    """``sha256:`` and the hex digest of ``content``."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def parse_json(reference: Reference, content: bytes, what: str) -> dict[str, t.Any]:
    """A JSON object out of an image, or E_IMAGE."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise bad_image(reference, f"{what} is not a JSON object")
    return value


def bad_image(reference: Reference, reason: str, remedy: str = "") -> NexcageError:
    """E_IMAGE for an image that is there and cannot be used."""
    remedy = remedy or "make the image again, or choose another one"
    return NexcageError("E_IMAGE", f"the image cannot be used: {reason}", "image", reference.text, remedy)


def _wrong_digest(reference: Reference, found: str) -> NexcageError:
    text = f"the digest is {found}, but {reference.pin} is asked for"
    remedy = "correct the digest, or find out who changed the image"
    return NexcageError("E_IMAGE", text, "image", reference.text, remedy, {"expected": reference.pin, "found": found})


def _missing(reference: Reference, path: str) -> NexcageError:
    remedy = "check the path on the managed host; an OCI layout has an index.json"
    return NexcageError("E_IMAGE", f"{path} does not exist", "image", reference.text, remedy)


def _from_skopeo(reference: Reference, access: Access) -> bytes:
    if reference.transport == "docker-archive" and not os.path.exists(reference.location):
        raise _missing(reference, reference.location)
    try:
        raw = manifest(reference, access)
    except NexcageError as error:
        if reference.transport == "docker" and reference.pin and reference.tag and error.code == "E_IMAGE":
            # the registry has no such digest: say what the tag stands for instead
            raise _wrong_digest(reference, digest_of(manifest(reference._replace(pin=None), access))) from None
        raise
    if reference.transport == "docker" and reference.pin not in (None, digest_of(raw)):
        raise _wrong_digest(reference, digest_of(raw))
    return raw


def _from_layout(reference: Reference) -> bytes:
    """The manifest or index of an OCI layout, in a folder or in an archive."""
    try:
        if reference.transport == "oci":
            return _read_layout(reference, lambda name: _read_file(f"{reference.location}/{name}"))
        import tarfile
        import zlib

        try:
            with tarfile.open(reference.location) as archive:
                return _read_layout(reference, lambda name: _read_member(archive, name))
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise bad_image(reference, "it is no archive of an OCI layout, or a damaged one") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(reference, error.filename or reference.location) from None
    except OSError as error:
        raise image_failure.system_failure(reference, "reading the image", error, reference.location) from error


def _read_layout(reference: Reference, read: _Reader) -> bytes:
    content = parse_json(reference, read("index.json"), "index.json")
    entries = content.get("manifests")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names = [str((entry.get("annotations") or {}).get(_TAG_ANNOTATION, "")) for entry in entries]
    if reference.tag is None and len(entries) == 1:
        entry = entries[0]
    elif reference.tag in names:
        entry = entries[names.index(reference.tag or "")]
    else:
        there = ", ".join(sorted(filter(None, names))[:10]) or "none"
        problem = "it has several images and no tag is given" if reference.tag is None else f"it has no tag '{reference.tag}'"
        raise bad_image(reference, f"{problem}; tags there: {there}", "name one of the tags after the path")
    digest = _checked_digest(reference, entry)
    raw = read("blobs/sha256/" + digest[7:])
    if digest_of(raw) != digest:
        raise bad_image(reference, f"the content of {digest} has the digest {digest_of(raw)}")
    return raw


def _checked_digest(reference: Reference, entry: t.Mapping[str, t.Any]) -> str:
    digest = entry.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise bad_image(reference, "it names a manifest by something else than a sha256 digest")
    return digest


def _read_file(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(OUTPUT_LIMIT)


def _read_member(archive: t.Any, name: str) -> bytes:
    for member in (name, "./" + name):
        try:
            stream = archive.extractfile(member)
        except KeyError:
            continue
        if stream is not None:
            content: bytes = stream.read(OUTPUT_LIMIT)
            return content
    raise FileNotFoundError(2, "not in the archive", name)
