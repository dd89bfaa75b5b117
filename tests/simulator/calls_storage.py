# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Storages and their content: lists, allocation, deletion, uploads, downloads, OCI images."""

from __future__ import annotations

import hashlib
import re
import typing as t

from .errors import TaskError, bad, failed
from .formats import split_list
from .multipart import UPLOADED
from .service import Call, answers
from .tasks import Task, Work
from .volumes import NEW, VOLUME, allocate, content_of, path_of
from .world import Storage, Volume, in_bytes

BASE = "/nodes/{node}/storage/{storage}"
ENDINGS = {
    "vztmpl": re.compile(r".*\.tar(?:\.(?:gz|xz|zst|bz2))?"),
    "iso": re.compile(r".*\.(?:iso|img)", re.IGNORECASE),
    "import": re.compile(r".*\.(?:ova|ovf|qcow2|raw|vmdk)"),
}
AUDIT = ("Datastore.Audit", "Datastore.AllocateSpace")


def _used(call: Call, storage: Storage) -> int:
    return storage.used + sum(one.used for one in call.cluster.volumes if one.storage == storage.id and one.node in ("", call.node))


def _numbers(call: Call, storage: Storage) -> dict[str, t.Any]:
    used = min(_used(call, storage), storage.total)
    row: dict[str, t.Any] = {"type": storage.type, "content": ",".join(storage.content), "shared": int(storage.shared), "enabled": int(storage.enabled)}
    return {**row, "active": 1, "total": storage.total, "used": used, "avail": storage.total - used}


@answers("GET /nodes/{node}/storage")
def storages(call: Call) -> t.Any:
    wanted = set(split_list(call.get("content", "")))
    rows = []
    for one in call.cluster.storages.values():
        if not one.on(call.node) or not call.cluster.access.may(call.who, f"/storage/{one.id}", *AUDIT, any_of=True):
            continue
        if (wanted and not wanted & set(one.content)) or call.get("storage", one.id) != one.id:
            continue
        numbers = _numbers(call, one)
        rows.append({"storage": one.id, **numbers, "used_fraction": numbers["used"] / one.total})
    return rows


@answers(f"GET {BASE}/status")
def status(call: Call) -> t.Any:
    if call["storage"] not in call.cluster.storages:
        raise bad(storage="No such storage.")
    return _numbers(call, call.cluster.storages[call["storage"]])


@answers("GET /storage")
def configured(call: Call) -> t.Any:
    rows = [_config(one) for one in call.cluster.storages.values() if call.cluster.access.may(call.who, f"/storage/{one.id}", *AUDIT, any_of=True)]
    return [{**row, "digest": hashlib.sha1(repr(rows).encode()).hexdigest()} for row in rows]


def _config(one: Storage) -> dict[str, t.Any]:
    return {"storage": one.id, "type": one.type, "path": one.path, "content": ",".join(one.content)}


@answers("GET /storage/{storage}")
def one_configured(call: Call) -> t.Any:
    return {**_config(call.cluster.storage(call["storage"])), "digest": "0" * 40}


@answers("PUT /storage/{storage}")
def configure(call: Call) -> t.Any:
    found = call.cluster.storage(call["storage"])
    if "content" in call.params:
        found.content = split_list(call["content"])
    if "nodes" in call.params:
        found.nodes = tuple(split_list(call["nodes"]))
    return {"storage": found.id, "type": found.type}


@answers("DELETE /storage/{storage}")
def unconfigure(call: Call) -> t.Any:
    call.cluster.storage(call["storage"])
    del call.cluster.storages[call["storage"]]


# ---- content


def _row(call: Call, volume: Volume) -> dict[str, t.Any]:
    row: dict[str, t.Any] = {"volid": volume.volid, "content": volume.content, "format": volume.format, "size": volume.size, "ctime": volume.ctime}
    if volume.content == "snippets":
        row["format"] = "snippet"
    if volume.content in ("images", "rootdir"):
        row.update(vmid=volume.vmid, used=volume.used, parent=volume.base or None, content="rootdir" if _of_container(call, volume) else "images")
    elif volume.content == "backup":
        row.update(vmid=volume.vmid, subtype="lxc" if "-lxc-" in volume.name else "qemu")
    return row


def _of_container(call: Call, volume: Volume) -> bool:
    guest = call.cluster.guests.get(volume.vmid)
    return guest.kind == "lxc" if guest is not None else volume.content == "rootdir"


@answers(f"GET {BASE}/content")
def content(call: Call) -> t.Any:
    storage = call.cluster.storage(call["storage"])
    rows = [_row(call, one) for one in call.cluster.volumes if one.storage == storage.id and one.node in ("", call.node)]
    allocate_right = call.cluster.access.may(call.who, f"/storage/{storage.id}", "Datastore.Allocate")
    found = [row for row in rows if row["content"] in storage.content and (allocate_right or row["content"] != "snippets")]
    if "content" in call.params:
        found = [row for row in found if row["content"] == call["content"]]
    if "vmid" in call.params:
        found = [row for row in found if str(row.get("vmid")) == call["vmid"] or row["content"] == "import"]
    return sorted(found, key=lambda row: str(row["volid"]))


@answers(f"POST {BASE}/content")
def alloc(call: Call) -> t.Any:
    storage = call.cluster.storage(call["storage"])
    name = call["filename"]
    form = call.get("format") or (name.rpartition(".")[2] if "." in name else "raw")
    volid = f"{storage.id}:{call['vmid']}/{name}"
    if call.cluster.volume(volid, call.node) is not None:
        raise failed(f"disk image '{path_of(storage, volid.partition(':')[2])}' already exists")
    size = call["size"]
    try:
        return allocate(
            call.cluster, storage.id, int(call["vmid"]), call.node, in_bytes(size if size[-1].isalpha() else size + "K"), "images", form, volid
        ).volid
    except TaskError as error:
        raise failed(str(error)) from None


def _volid(call: Call) -> str:
    text = call["volume"]
    volid = text if VOLUME.fullmatch(text) and not NEW.fullmatch(text) else f"{call['storage']}:{text}"
    if volid.partition(":")[0] != call["storage"]:
        raise bad(volume=f"storage ID mismatch ({volid.partition(':')[0]} != {call['storage']})\n")
    return volid


@answers(f"GET {BASE}/content/{{volume}}")
def volume_info(call: Call) -> t.Any:
    storage, volid = call.cluster.storage(call["storage"]), _volid(call)
    call.check(f"/storage/{storage.id}", *AUDIT, any_of=True)
    found = call.cluster.volume(volid, call.node)
    if found is None:
        raise failed(f"volume_size_info on '{volid}' failed - no format\n")
    return {"path": path_of(storage, found.name), "format": "raw" if found.content != "images" else found.format, "size": found.size, "used": found.used}


@answers(f"DELETE {BASE}/content/{{volume}}")
def delete_volume(call: Call) -> t.Any:
    volid = _volid(call)
    storage = call.cluster.storage(call["storage"])
    kind, _form = content_of(storage, volid.partition(":")[2])
    owner = re.match(r"(?:\d+/[^/]+/)?(\d+)/", volid.partition(":")[2]) or re.search(r"vzdump-\w+-(\d+)-", volid)
    if kind == "backup" and owner and call.cluster.access.may(call.who, f"/vms/{owner[1]}", "VM.Backup"):
        call.check(f"/storage/{storage.id}", "Datastore.AllocateSpace")
    else:
        call.check(f"/storage/{storage.id}", "Datastore.Allocate")

    def work(task: Task) -> Work:
        yield 0.2
        found = call.cluster.volume(volid, call.node)
        if found is not None:
            call.cluster.volumes.remove(found)
        task.log(f"Removed volume '{volid}'")

    about = f"{owner[1]}@{storage.id}" if owner else storage.id
    upid = call.cluster.tasks.start(call.who, call.node, "imgdel", about, work)
    task = call.cluster.tasks.all[upid]
    if "delay" in call.params and call.cluster.clock.wait(float(call["delay"]), lambda: not task.running):
        return None
    return upid


# ---- what comes from outside


def _named(call: Call) -> tuple[str, str]:
    """Content type and file name of what is to come."""
    kind, name = call["content"], str(call["filename"]).replace("\\", "/").rpartition("/")[2]
    if not ENDINGS[kind].fullmatch(name) or (kind == "vztmpl" and name.endswith(".tar") and not call.cluster.nine):
        raise bad(filename="wrong file extension")
    if kind not in call.cluster.storage(call["storage"]).content:
        raise failed(f"storage '{call['storage']}' is not configured for content-type '{kind}'")
    return kind, name


def _arrive(call: Call, kind: str, name: str, size: int, traits: dict[str, t.Any]) -> None:
    volid = f"{call['storage']}:{kind}/{name}"
    old = call.cluster.volume(volid, call.node)
    if old is not None:
        call.cluster.volumes.remove(old)
    _content, form = content_of(call.cluster.storage(call["storage"]), f"{kind}/{name}")
    made = allocate(call.cluster, call["storage"], 0, call.node, size, kind, form, volid)
    made.used, made.traits = size, traits


def _checksum(call: Call, digests: dict[str, str]) -> None:
    wanted, algorithm = call.get("checksum"), call.get("checksum-algorithm", "sha256")
    if wanted and wanted.lower() != digests.get(algorithm, ""):
        raise TaskError(f"checksum mismatch: got '{digests.get(algorithm, '')}' != expect '{wanted}'")


@answers(f"POST {BASE}/upload")
def upload(call: Call) -> t.Any:
    kind, name = _named(call)
    file = UPLOADED.get(call.get("tmpfilename", ""))
    if file is None:
        raise failed("temporary file not given or not found")

    def work(task: Task) -> Work:
        task.log(f"starting file import from: {call['tmpfilename']}")
        yield 0.2
        _checksum(call, file["digests"])
        _arrive(call, kind, name, file["size"], dict(file.get("traits", {"ostype": "alpine"})))

    return call.cluster.tasks.start(call.who, call.node, "imgcopy", "", work)


@answers(f"POST {BASE}/download-url")
def download(call: Call) -> t.Any:
    kind, name = _named(call)
    url, storage = call["url"], call.cluster.storage(call["storage"])

    def work(task: Task) -> Work:
        source = call.cluster.urls.get(url, {"exit": 8})
        here = path_of(storage, f"{kind}/{name}")
        if call.cluster.volume(f"{storage.id}:{kind}/{name}", call.node) is not None:
            if "checksum" not in call.params:
                raise TaskError(f"refusing to override existing file '{here}'")
            _checksum(call, source.get("digests", {}))
            task.log("file already exists, no need to download")
            return
        yield source.get("seconds", 0.5)
        if "error" in source:
            raise TaskError(f"download failed: {source['error']}")
        if "exit" in source:
            raise TaskError(f"download failed: exit code {source['exit']}")
        _checksum(call, source.get("digests", {}))
        _arrive(call, kind, name, source.get("size", 1 << 20), source.get("traits", {}))

    return call.cluster.tasks.start(call.who, call.node, "download", name, work)


@answers("GET /nodes/{node}/query-url-metadata")
def url_metadata(call: Call) -> t.Any:
    found = call.cluster.urls.get(call["url"])
    if found is None or "exit" in found or "error" in found:
        raise failed("invalid server response: '404 File not found'")
    return {"filename": call["url"].rpartition("/")[2], "mimetype": found.get("mime", "application/gzip"), "size": found.get("size", 1 << 20)}


@answers(f"POST {BASE}/oci-registry-pull")
def pull(call: Call) -> t.Any:
    reference, storage = call["reference"], call.cluster.storage(call["storage"])
    name = re.sub(r"[^\w.\-]", "_", call.get("filename") or reference.rpartition("/")[2]) + ".tar"
    volid = f"{storage.id}:vztmpl/{name}"
    if call.cluster.volume(volid, call.node) is not None:
        raise failed(f"refusing to override existing file '{name}'")

    def work(task: Task) -> Work:
        image = call.cluster.registry.get(reference)
        yield (image or {}).get("seconds", 1.0)
        if image is None:
            task.log(f'time="..." level=fatal msg="initializing source docker://{reference}: reading manifest: manifest unknown"')
            target = path_of(storage, f"vztmpl/{name}")
            raise TaskError(f"command 'skopeo copy docker://{reference} oci-archive:{target}.tmp.{task.pid}' failed: exit code 1")
        _arrive(call, "vztmpl", name, image.get("size", 1 << 20), {"ostype": image.get("ostype", "alpine"), "oci": image})

    return call.cluster.tasks.start(call.who, call.node, "ociregistrypull", name, work)


@answers("GET /nodes/{node}/query-oci-repo-tags")
def repo_tags(call: Call) -> t.Any:
    found = [one.rpartition(":")[2] for one in call.cluster.registry if one.rpartition(":")[0] == call["reference"]]
    if not found:
        raise failed(f"command 'skopeo list-tags docker://{call['reference']}' failed: exit code 1")
    return sorted(found)


@answers("GET /nodes/{node}/aplinfo")
def appliances(call: Call) -> t.Any:
    return call.cluster.aplinfo


@answers("POST /nodes/{node}/aplinfo")
def appliance(call: Call) -> t.Any:
    found = next((one for one in call.cluster.aplinfo if one.get("template") == call["template"]), None)
    if found is None:
        raise bad(template="no such template")

    def work(task: Task) -> Work:
        task.log(f"downloading {call['template']}")
        yield 0.8
        _arrive(call, "vztmpl", call["template"], 1 << 20, {"ostype": found.get("os", "unmanaged").partition("-")[0]})

    return call.cluster.tasks.start(call.who, call.node, "download", call["template"], work)
