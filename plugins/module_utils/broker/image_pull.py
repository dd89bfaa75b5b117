# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring an image into the store: copy, check, unpack, and appear by one rename.

Everything happens in ``images/.new-<hex>-<random>/`` under a lock for that digest. A run that was
killed leaves such a folder and no lock; the next one removes it. The random part keeps a dying
child of that run out of the new folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import time
import typing as t

from ..model.errors import NexcageError
from . import image_failure, image_skopeo, tree
from .image_process import OUTPUT_LIMIT
from .image_reference import Reference
from .image_skopeo import Access
from .image_source import bad_image, digest_of, find, parse_json, platform
from .store import Lock, checkpoint, write_json

if t.TYPE_CHECKING:
    from .image import ImageStore

STAGING = ".new-"
# what umoci 0.4 unpacks (OCI image specification, layer.md); others are decompressed first
_PLAIN_LAYERS = (".tar", ".tar+gzip")
_LISTS = ("Entrypoint", "Cmd", "Env")
_TEXTS = ("WorkingDir", "User", "StopSignal")
_SETS = ("Volumes", "ExposedPorts")


class ChangedError(Exception):
    """The reference stood for another image when it was copied than when it was asked for."""


def fetch(store: ImageStore, reference: Reference, access: Access) -> tuple[str, bool]:
    """Bring what ``reference`` stands for now into the store.

    Returns:
        The manifest digest, and whether anything in the store changed.

    Raises:
        NexcageError: As :meth:`ImageStore.ensure` says.
    """
    try:
        for _attempt in range(2):
            digest = store.found.pop(reference.text, None) or find(reference, access)
            with contextlib.suppress(ChangedError):
                brought = _bring(store, reference, access, digest)
                return digest, _remember(store, reference, digest) or brought
    except OSError as error:
        raise image_failure.system_failure(reference, "writing the image", error, store.folder) from error
    except NexcageError as error:
        if error.code == "E_SPACE":  # measured only now, when the half-made image is gone
            doing = error.details.get("doing", "writing the image")
            raise image_failure.no_space(reference, doing, error.details.get("folder", store.folder)) from None
        if error.option is None:
            error.option, error.value = "image", reference.text
        raise
    remedy = "try again when nobody is pushing to it, or name the digest"
    raise NexcageError("E_IMAGE", "the image changed while it was being copied, twice", "image", reference.text, remedy)


def forget_leftovers(store: ImageStore) -> None:
    """Remove the half-made folders of runs that are no more."""
    for name in os.listdir(store.folder):
        if name.startswith(STAGING):
            with contextlib.suppress(NexcageError), _lock(store, name[len(STAGING) :].partition("-")[0], 0.0) as lock:
                lock.discard = True
                _discard(f"{store.folder}/{name}")


def _lock(store: ImageStore, name: str, timeout: float) -> Lock:
    return Lock(f"{store.layout.runtime}/locks/image-{name}", timeout, f"image {name}, process {os.getpid()}")


def _bring(store: ImageStore, reference: Reference, access: Access, digest: str) -> bool:
    """Unpack the image of ``digest`` unless it is there; whether it had to be."""
    os.makedirs(store.layout.state, mode=0o700, exist_ok=True)
    os.makedirs(store.folder, mode=0o700, exist_ok=True)
    forget_leftovers(store)
    name = digest[7:]
    with _lock(store, name, access.timeout) as lock:
        lock.discard = True  # one lock file for every image there ever was would be a leak
        if store.has(digest):
            return False
        staging = f"{store.folder}/{STAGING}{name}-{os.urandom(4).hex()}"
        try:
            os.mkdir(staging, 0o700)
            _stage(reference, access, digest, staging, store.SCHEMA_VERSION)
            checkpoint("image:staged")
            _publish(store, staging, store.path(digest))
            checkpoint("image:published")
        finally:
            _discard(staging)
            _discard(staging + "-damaged")
    return True


def _discard(folder: str) -> None:
    """Best effort; what stays is removed by the next run."""
    with contextlib.suppress(OSError):
        tree.remove(folder)


def _stage(reference: Reference, access: Access, digest: str, staging: str, schema_version: int) -> None:
    """Make ``rootfs`` and ``image.json`` in the staging folder."""
    name, architecture, variants = platform()
    image_skopeo.copy(reference, access, staging, (name, architecture, variants[0]))
    checkpoint("image:copied")
    found, manifest = _staged(reference, staging)
    # A manifest in docker's format is converted by the copy and has another digest then.
    if found != digest and find(reference, access) != digest:
        raise ChangedError
    configuration = _blob(reference, staging, manifest.get("config"))
    if configuration.get("os", "linux") != "linux":
        raise bad_image(reference, f"it is made for {configuration['os']}", "choose an image for linux")
    record = {
        "schema_version": schema_version,
        "digest": digest,
        "reference": reference.text,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "architecture": str(configuration.get("architecture", "")),
        "config": normalised(reference, configuration.get("config")),
    }
    layers = manifest.get("layers") or []
    layout = image_skopeo.LAYOUT
    if not all(str(layer.get("mediaType")).endswith(_PLAIN_LAYERS) for layer in layers):
        image_skopeo.decompress(reference, access, staging)
        layout = "plain-" + layout
    image_skopeo.unpack(reference, access, staging, layout)
    checkpoint("image:unpacked")
    write_json(f"{staging}/image.json", record)


def normalised(reference: Reference, given: object) -> dict[str, t.Any]:
    """The image's configuration with every known field, of the type it must have.

    Raises:
        NexcageError: E_IMAGE for a field of another type, or text with a NUL.
    """
    source = given if isinstance(given, dict) else {}
    result: dict[str, t.Any] = {}
    for name in _LISTS:
        result[name] = [_text(reference, name, item) for item in _typed(reference, name, source.get(name), list)]
    for name in _TEXTS:
        result[name] = _text(reference, name, _typed(reference, name, source.get(name), str))
    for name in _SETS:
        result[name] = sorted(_text(reference, name, key) for key in _typed(reference, name, source.get(name), dict))
    labels = _typed(reference, "Labels", source.get("Labels"), dict)
    result["Labels"] = {key: _text(reference, "Labels", labels[key]) for key in sorted(labels)}
    return result


def _typed(reference: Reference, name: str, value: t.Any, kind: type) -> t.Any:
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise bad_image(reference, f"{name} in its configuration is of the wrong type")
    return value


def _text(reference: Reference, name: str, value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise bad_image(reference, f"{name} in its configuration holds something else than text")
    return value


def _staged(reference: Reference, staging: str) -> tuple[str, dict[str, t.Any]]:
    """Digest and content of the manifest that the copy has written."""
    with open(f"{staging}/layout/index.json", "rb") as stream:
        descriptor = parse_json(reference, stream.read(OUTPUT_LIMIT), "the copy's index")["manifests"][0]
    return descriptor["digest"], _blob(reference, staging, descriptor)


def _blob(reference: Reference, staging: str, descriptor: t.Any) -> dict[str, t.Any]:
    """A JSON blob of the copy; its digest has been verified by skopeo."""
    name = str(descriptor["digest"]).partition(":")[2] if isinstance(descriptor, dict) else ""
    if not name.isalnum():
        raise bad_image(reference, "its manifest names no configuration")
    with open(f"{staging}/layout/blobs/sha256/{name}", "rb") as stream:
        content = stream.read(OUTPUT_LIMIT)
    if digest_of(content) != f"sha256:{name}":
        raise bad_image(reference, f"the content of {name} does not have that digest")
    return parse_json(reference, content, "its configuration")


def _publish(store: ImageStore, staging: str, target: str) -> None:
    """Let the image appear: nothing but rootfs and record, safe on disk, then one rename."""
    for name in os.listdir(staging):
        if name not in ("rootfs", "image.json"):
            shutil.rmtree(f"{staging}/{name}", ignore_errors=True)
    folder = os.open(store.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # After a power cut the folder must not be there with empty files in it, so everything is
        # on disk before the rename is.
        if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), store.folder)
        if os.path.lexists(target):  # without its record: damaged by hand
            os.rename(target, f"{staging}-damaged")
        os.rename(staging, target)
        os.fsync(folder)
    finally:
        os.close(folder)


def _remember(store: ImageStore, reference: Reference, digest: str) -> bool:
    """Note what the reference stands for; whether that is news."""
    with _lock(store, "references", 30.0):
        known = store.references()
        if known.get(reference.text) == digest:
            return False
        known[reference.text] = digest
        write_json(store.references_file, {"schema_version": store.SCHEMA_VERSION, "references": known})
    return True
