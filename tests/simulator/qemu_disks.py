# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks in the configuration of a machine: made, imported, attached."""

from __future__ import annotations

import re

from .cluster import Cluster
from .errors import TaskError, failed, wrong
from .service import Call
from .volumes import NEW, PATH_ONLY_ROOT, VOLUME, allocate, check_storage, check_volume, content_of, formatted, gib, keep_unused, path_of, remove, used_by
from .world import Guest, Volume, human

KEY = re.compile(r"(?:ide|sata|scsi|virtio)\d+|efidisk0|tpmstate0")
CLOUDINIT = re.compile(r"([\w.\-]+):cloudinit")
EFI_SIZE, EFI_SMALL, TPM_SIZE, IMPORT_SIZE = 528 << 10, 128 << 10, 4 << 20, 300 << 20


def allowed(call: Call, disks: dict[str, str], vmid: int) -> None:
    """Refuses disks that cannot be, before anything is made."""
    for key, text in sorted(disks.items()):
        parts = call.cluster.verifier.parse("qemu-drive", text)
        file = parts["file"]
        if file in ("none", "cdrom"):
            continue
        match = NEW.fullmatch(file) or CLOUDINIT.fullmatch(file)
        if match:
            check_storage(call.cluster, call.who, match[1], "images", call.node)
        elif not VOLUME.fullmatch(file) or file.startswith("/"):
            if not call.who.is_root:
                raise failed(PATH_ONLY_ROOT)
        else:
            check_volume(call.cluster, call.who, file, vmid=vmid)
        if "import-from" in parts:
            _import_allowed(call, key, parts["import-from"])


def _import_allowed(call: Call, key: str, source: str) -> None:
    if source.startswith("/"):
        if not call.who.is_root:
            raise failed(PATH_ONLY_ROOT)
        return
    check_volume(call.cluster, call.who, source)
    kind, _form = content_of(call.cluster.storage(source.partition(":")[0]), source.partition(":")[2])
    if kind not in ("images", "import"):
        raise wrong({key: f"{source} has wrong type '{kind}' - needs to be 'images' or 'import'"})


def realise(cluster: Cluster, guest: Guest, key: str, text: str, log: list[str]) -> str:
    """Makes, imports or attaches what a disk says; what the configuration then has.

    Raises:
        TaskError: There is no such volume, or no room.
    """
    parts = cluster.verifier.parse("qemu-drive", text)
    file, form = parts["file"], parts.pop("format", None)
    drive = CLOUDINIT.fullmatch(file)
    new = NEW.fullmatch(file)
    if drive:
        name = f"{drive[1]}:{guest.vmid}/vm-{guest.vmid}-cloudinit.qcow2"
        if cluster.volume(name, guest.node) is None:
            allocate(cluster, drive[1], guest.vmid, guest.node, 4 << 20, "images", "qcow2", name)
        parts.update(file=name, media="cdrom")
    elif new:
        made = _made(cluster, guest, key, new, parts.pop("import-from", None), form, parts.get("efitype") == "4m")
        log.append(formatted(cluster, made))
        log.append(f"{key}: successfully created disk '{made.volid},size={human(made.size)}'")
        parts.update(file=made.volid, size=human(made.size))
    elif VOLUME.fullmatch(file) and not file.startswith("/"):
        volume = cluster.volume(file, guest.node)
        if volume is None:
            raise TaskError(f"volume '{file}' does not exist")
        parts["size"] = human(volume.size)
        for unused in [name for name, volid in used_by(guest.config, "qemu").items() if name.startswith("unused") and volid == file]:
            guest.config.pop(unused)
    return cluster.verifier.join("qemu-drive", parts)


def custom_files(cluster: Cluster, guest: Guest) -> None:
    """What a cloud-init drive is made of must be there."""
    for volid in cluster.verifier.parse("cicustom", guest.config.get("cicustom", "")).values():
        if cluster.volume(volid, guest.node) is None:
            raise TaskError(f"volume '{volid}' does not exist")


def _made(cluster: Cluster, guest: Guest, key: str, new: re.Match[str], source: str | None, form: str | None, large: bool) -> Volume:
    size = gib(new[2])
    if source is not None:
        origin = None if source.startswith("/") else cluster.volume(source, guest.node)
        if origin is None and not source.startswith("/"):
            raise TaskError(f"failed to stat '{path_of(cluster.storage(source.partition(':')[0]), source.partition(':')[2])}'")
        size = origin.traits.get("virtual", IMPORT_SIZE) if origin else IMPORT_SIZE
        form = form or (origin.format if origin else "raw")
    elif key == "efidisk0":
        size = EFI_SIZE if large else EFI_SMALL
    elif key == "tpmstate0":
        size = TPM_SIZE
    return allocate(cluster, new[1], guest.vmid, guest.node, size, "images", form or "raw")


def drop(cluster: Cluster, guest: Guest, key: str) -> None:
    """Takes a key out; a disk of it stays as unused, and an unused one is destroyed."""
    old = guest.config.pop(key, None)
    if old is None:
        return
    volume = used_by({key: old}, "qemu").get(key)
    if volume and (key.startswith("unused") or "cloudinit" in volume):
        remove(cluster, volume, guest.node)
    elif volume:
        keep_unused(guest.config, volume)
    if KEY.fullmatch(key) or key.startswith("net"):
        _boot_without(guest, key)


def _boot_without(guest: Guest, key: str) -> None:
    boot = guest.config.get("boot", "")
    if boot.startswith("order="):
        guest.config["boot"] = "order=" + ";".join(one for one in boot[6:].split(";") if one != key)


def default_boot(config: dict[str, str]) -> str:
    """The first disk, the first drive for media, the first network; one space for none."""
    order = []
    disks = sorted(
        (key for key in config if re.fullmatch(r"(?:ide|sata|scsi|virtio)\d+", key)), key=lambda key: (re.sub(r"\d", "", key), int(re.sub(r"\D", "", key)))
    )
    order += [key for key in disks if "media=cdrom" not in config[key]][:1]
    order += [key for key in disks if "media=cdrom" in config[key] and "cloudinit" not in config[key]][:1]
    order += sorted(key for key in config if re.fullmatch(r"net\d+", key))[:1]
    return "order=" + ";".join(order) if order else " "
