# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: their names, who may use which, and how they come and go."""

from __future__ import annotations

import re
import typing as t

from .access import Who
from .cluster import Cluster
from .errors import ApiError, TaskError, bad, failed
from .world import GIB, Guest, Storage, Volume, human

NEW = re.compile(r"([a-zA-Z][\w.\-]*[a-zA-Z0-9]):(\d+(?:\.\d+)?)")
VOLUME = re.compile(r"([a-zA-Z][\w.\-]*[a-zA-Z0-9]):(.+)")
PATH_ONLY_ROOT = "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 651."
FOLDERS = {"iso": "iso", "vztmpl": "vztmpl", "backup": "backup", "snippets": "snippets", "import": "import"}
PLACES = {
    "iso": "template/iso",
    "vztmpl": "template/cache",
    "backup": "dump",
    "snippets": "snippets",
    "import": "import",
    "images": "images",
    "rootdir": "images",
}
KINDS_OF = {"rootdir": "container directories", "images": "vm images"}


def content_of(storage: Storage, name: str) -> tuple[str, str]:
    """Content type and format of a volume by its name.

    Raises:
        ApiError: 500, for a name that the storage cannot have.
    """
    folder, slash, rest = name.partition("/")
    if slash and folder in FOLDERS:
        endings = {"gz": "tgz", "zst": "tzst", "xz": "txz", "tar": "tar"}
        return FOLDERS[folder], endings.get(rest.rpartition(".")[2], rest.rpartition(".")[2]) if folder == "vztmpl" else rest.rpartition(".")[2]
    match = re.fullmatch(r"(?:\d+/[^/]+/)?\d+/[^/]+\.(raw|qcow2|vmdk|subvol)", name)
    if not match:
        kind = "directory" if storage.type == "dir" else storage.type
        raise failed(f"unable to parse {kind} volume name '{name}'")
    return "images", match[1]


def path_of(storage: Storage, name: str) -> str:
    content, _form = content_of(storage, name)
    return f"{storage.path}/{PLACES[content]}/{name.split('/', 1)[1] if content != 'images' else name.split('/', 2)[-1] if name.count('/') > 1 else name}"


def check_storage(cluster: Cluster, who: Who, name: str, content: str, node: str = "") -> Storage:
    """A storage that new volumes of this content may be put on.

    Raises:
        ApiError: 500 for an unknown one, 400 for the wrong kind, 403.
    """
    storage = cluster.storage(name)
    if node and not storage.on(node):
        raise failed(f"storage '{name}' is not available on node '{node}'")
    if content not in storage.content:
        raise bad(storage=f"storage '{name}' does not support {KINDS_OF[content]}")
    cluster.access.check(who, f"/storage/{name}", "Datastore.AllocateSpace")
    return storage


def check_volume(cluster: Cluster, who: Who, volid: str, content: str = "", vmid: int = 0) -> None:
    """Refuses a volume that somebody may not use, or that cannot be one.

    Raises:
        ApiError: 500 or 403.
    """
    match = VOLUME.fullmatch(volid)
    if not match or volid.startswith("/"):
        if who.is_root:
            return
        raise failed(PATH_ONLY_ROOT)
    storage = cluster.storage(match[1])
    kind, _form = content_of(storage, match[2])
    if content and kind != content:
        raise failed(f"unable to use volume {volid} - content type needs to be '{content}'")
    owner = re.match(r"(\d+)/", match[2])
    if vmid and owner and int(owner[1]) == vmid:
        return
    cluster.access.check(who, f"/storage/{match[1]}", "Datastore.AllocateSpace", "Datastore.Audit", any_of=True)


def free_name(cluster: Cluster, storage: str, vmid: int, node: str, form: str, stem: str = "vm") -> str:
    """The volume id of the next disk of a guest on a storage."""
    used = {
        int(match[1])
        for one in cluster.volumes
        if one.storage == storage and one.node in ("", node) and (match := re.search(rf"(?:vm|base|subvol)-{vmid}-disk-(\d+)\.", one.name))
    }
    number = next(n for n in range(10000) if n not in used)
    return f"{storage}:{vmid}/{stem}-{vmid}-disk-{number}.{form}"


def allocate(cluster: Cluster, storage_id: str, vmid: int, node: str, size: int, content: str, form: str = "raw", volid: str = "") -> Volume:
    """A new volume.

    Raises:
        TaskError: The storage is full.
    """
    storage = cluster.storage(storage_id)
    taken = storage.used + sum(one.used for one in cluster.volumes if one.storage == storage_id)
    if taken >= storage.total:
        raise TaskError(f"unable to create image: No space left on device ({storage_id})")
    stem = "vm"
    if content == "rootdir" and size == 0:
        form, stem = "subvol", "subvol"
    made = Volume(volid or free_name(cluster, storage_id, vmid, node, form, stem), content, form, size, int(cluster.clock.now()), vmid=vmid)
    made.node = "" if storage.shared else node
    cluster.volumes.append(made)
    return made


def remove(cluster: Cluster, volid: str, node: str) -> bool:
    """Removes a volume; whether there was one."""
    found = cluster.volume(volid, node)
    if found is None:
        return False
    cluster.volumes.remove(found)
    return True


def used_by(config: dict[str, str], kind: str) -> dict[str, str]:
    """Key and volume id of each disk in a configuration, also of unused ones."""
    pattern = r"(?:rootfs|mp\d+|unused\d+)" if kind == "lxc" else r"(?:(?:ide|sata|scsi|virtio|unused)\d+|efidisk0|tpmstate0)"
    found = {}
    for key, value in sorted(config.items()):
        if re.fullmatch(pattern, key):
            bare = value.split(",")[0].partition("=")[2] if value.startswith(("volume=", "file=")) else value.split(",")[0]
            if VOLUME.fullmatch(bare) and not NEW.fullmatch(bare) and ("media=cdrom" not in value or "-cloudinit" in value):
                found[key] = bare
    return found


def keep_unused(config: dict[str, str], volid: str) -> None:
    """Notes a volume as unused, as the first free ``unusedN``."""
    if volid in used_by(config, "lxc").values() or volid in used_by(config, "qemu").values():
        return
    number = next(n for n in range(256) if f"unused{n}" not in config)
    config[f"unused{number}"] = volid


def formatted(cluster: Cluster, volume: Volume) -> str:
    """The line of a log that tells of a new disk."""
    return f"Formatting '{path_of(cluster.storage(volume.storage), volume.name)}', fmt={volume.format} size={volume.size} preallocation=off"


def destroy_all(cluster: Cluster, guest: Guest, unreferenced: bool) -> None:
    """Removes the volumes of a guest."""
    for config in [guest.config, guest.pending, *(one.config for one in guest.snapshots.values())]:
        for volid in used_by(config, guest.kind).values():
            owner = re.search(r"(?:^|/)(\d+)/[^/]+$", volid.partition(":")[2])
            if owner and int(owner[1]) == guest.vmid:
                remove(cluster, volid, guest.node)
    if unreferenced:
        for one in [each for each in cluster.volumes if each.vmid == guest.vmid and each.content in ("images", "rootdir") and each.node in ("", guest.node)]:
            cluster.volumes.remove(one)


def gib(text: str) -> int:
    return int(float(text) * GIB)


def sized(values: dict[str, str], size: int) -> dict[str, str]:
    return {**values, "size": human(size)}


def no_such(volid: str) -> t.NoReturn:
    raise ApiError(500, f"volume '{volid}' does not exist")
