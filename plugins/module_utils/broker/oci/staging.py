# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a new generation of a container beside whatever is there, up to the runtime's "created"."""

from __future__ import annotations

import os
import time
import typing as t

from ...model.container import SCHEMA_VERSION, ContainerSpec, key_id, mask
from ...model.errors import NexcageError
from .. import key, store
from . import bundle, cgroup_control, conmon, records, removal, rootfs
from .observe import timestamp
from .runtime import Runtime


def recorded_spec(spec: ContainerSpec, secrets: t.Mapping[str, str], own_key: bytes) -> ContainerSpec:
    """What may lie on disk: the spec with every secret as its HMAC."""
    names = {**(spec.get("secret_env") or {}), **secrets}
    if not names:
        return spec
    return ContainerSpec({**spec.values, "secret_env": {name: mask(value, own_key) for name, value in names.items()}})


class Request(t.NamedTuple):
    """A container to be made."""

    name: str
    spec: ContainerSpec
    secrets: t.Mapping[str, str]
    image: t.Mapping[str, t.Any] | None


def stage(places: records.Places, tool: Runtime, request: Request, step: str) -> records.Container:
    """Make a generation; on any error nothing of it stays.

    Args:
        places: The backend's folders.
        tool: The backend's runtime.
        request: What to make.
        step: ``create`` or ``replace``, for the names of checkpoints.

    Raises:
        NexcageError: Naming option, value and remedy.
    """
    identifier = os.urandom(8).hex()
    folder = f"{places.containers}/{request.name}/{identifier}"
    origin = bundle.source(request.spec, request.image)
    own_key = key.host_key(places.layout, make=True)
    spec = recorded_spec(request.spec, request.secrets, own_key)
    plan = bundle.Plan(request.name, identifier, folder, cgroup_control.path_for(identifier), spec.seal(own_key))
    config = bundle.render(plan, request.spec, _clear(request), origin)  # every refusal of a value comes from here
    if not tool.path or not os.path.isdir(origin.lower):
        raise NexcageError("E_IMAGE", f"the unpacked image {origin.lower} is missing", option="image", value=request.spec.get("image"))
    record = {**_record(places, tool, request, plan, origin, spec, own_key), "config_sha256": records.digest(config)}
    container = records.Container(request.name, identifier, folder, record)
    try:
        _fill(places, tool, container, config, bundle.own_files(request.spec, plan), step)
    except BaseException:
        _undo(places, container)
        raise
    return container


def _clear(request: Request) -> dict[str, str]:
    """The secrets' clear values; a masked one must never become the value itself."""
    missing = [name for name in request.spec.get("secret_env") or {} if name not in request.secrets]
    if missing:
        raise NexcageError("E_INVALID", f"the value of {', '.join(sorted(missing))} is not given", option="secret_env", remedy="give the values")
    return dict(request.secrets)


def _record(
    places: records.Places, tool: Runtime, request: Request, plan: bundle.Plan, origin: bundle.Source, spec: ContainerSpec, own_key: bytes
) -> dict[str, t.Any]:
    signal_number = request.spec.get("stop_signal")
    return {
        "schema_version": SCHEMA_VERSION,
        "name": request.name,
        "id": plan.id,
        "backend": places.backend,
        **tool.names(),
        "created": timestamp(time.time()),
        "image": request.spec.get("image"),
        "image_digest": origin.digest,
        "cgroup": plan.cgroup,
        "rootfs": {"kind": "overlay", "lower": origin.lower},
        "stop_signal": signal_number if signal_number is not None else _image_signal(origin.image),
        "stop_timeout": request.spec.get("stop_timeout") if request.spec.get("stop_timeout") is not None else 10,
        "spec": spec.values,
        "seal": plan.seal,
        "key": key_id(own_key),
    }


def _image_signal(image: t.Mapping[str, t.Any]) -> int:
    """The image's ``StopSignal``, a number or a name with or without ``SIG``; TERM where it has none, or names none."""
    from ...model import values

    try:
        return values.signal_number("image", str(image.get("StopSignal") or "TERM")[:16])
    except NexcageError:
        return values.SIGNALS["TERM"]


def _fill(places: records.Places, tool: Runtime, container: records.Container, config: dict[str, t.Any], files: dict[str, str], step: str) -> None:
    folder = container.folder
    try:
        store.ensure_folder(os.path.dirname(folder))
        os.mkdir(folder, 0o700)
        store.checkpoint(step + ":folder")
        # The record comes first: from here on a healing run knows what this is.
        store.write_json(folder + "/record.json", container.record, sync=False)
        store.checkpoint(step + ":recorded")
        kind = rootfs.prepare(folder, container.record["rootfs"]["lower"])
        store.checkpoint(step + ":mounted")
        if kind != container.record["rootfs"]["kind"]:
            container.record["rootfs"]["kind"] = kind
            store.write_json(folder + "/record.json", container.record, sync=False)
        for name, text in files.items():
            store.atomic_write(f"{folder}/{name}", text.encode(), mode=0o644, sync=False)
        store.write_json(folder + "/config.json", config, sync=False)
    except OSError as error:
        raise store.failure(error, "the container's folder cannot be filled") from error
    store.checkpoint(step + ":bundle")
    conmon.create(places, container, tool, meanwhile=lambda: sync(folder))


def sync(folder: str) -> None:
    """Let record and bundle survive a power cut; done while the runtime works, so that it costs no time."""
    for name in ("hosts", "hostname", "resolv.conf", "config.json", "record.json"):
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    store.sync_folder(folder)


def _undo(places: records.Places, container: records.Container) -> None:
    """Best effort after an error; what cannot be undone now is undone by the next call."""
    try:
        removal.discard(places, container)
        removal.erase(container.folder)
        os.rmdir(os.path.dirname(container.folder))
    except (NexcageError, OSError):
        pass


def commit(places: records.Places, container: records.Container) -> None:
    """Make a staged generation the one that counts: one rename, on disk when this returns."""
    base = f"{places.containers}/{container.name}"
    store.atomic_write(base + "/current", (container.id + "\n").encode())
    store.sync_folder(base)
    store.sync_folder(places.containers)
