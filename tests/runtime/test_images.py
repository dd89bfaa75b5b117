# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with the real skopeo and umoci."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tarfile
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_skopeo
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import images
from ansible_collections.nexcage.backends.tests.support.image_tools import make_store

pytestmark = pytest.mark.requires("linux", "root", "skopeo", "umoci", "busybox")

ABSENT = "sha256:" + "0" * 64
PACKAGE = "ansible_collections.nexcage.backends.plugins.module_utils"


def refused(store: ImageStore, reference: str, **options: t.Any) -> NexcageError:
    """The refusal; nothing may be left of the attempt."""
    with pytest.raises(NexcageError) as caught:
        store.ensure(reference, **options)
    assert left_behind(store) == []
    assert caught.value.remedy
    assert "level=" not in caught.value.message
    return caught.value


def left_behind(store: ImageStore) -> list[str]:
    names = os.listdir(store.folder) if os.path.isdir(store.folder) else []
    return [name for name in names if name != "references.json" and not re.fullmatch("[0-9a-f]{64}", name)]


def digest_of(reference: str) -> str:
    """What the layout says that a tag is."""
    _transport, path, tag = reference.split(":")
    entries = json.loads(pathlib.Path(path, "index.json").read_bytes())["manifests"]
    digests: list[str] = [entry["digest"] for entry in entries if entry["annotations"][images.TAG] == tag]
    return digests[0]


# ---- sources


def test_busybox_runs(store: ImageStore, tmp_path: pathlib.Path) -> None:
    reference = images.make_busybox_layout(tmp_path / "layout", User="1000", Entrypoint=["/bin/echo"])
    image = store.ensure(reference)
    assert image["digest"] == digest_of(reference)
    assert (image["config"]["User"], image["config"]["Entrypoint"], image["config"]["Cmd"]) == ("1000", ["/bin/echo"], ["/bin/sh"])
    assert os.stat(image["path"]).st_mode & 0o777 == 0o755
    said = subprocess.run(["chroot", image["path"], "/bin/sh", "-c", "echo hello"], capture_output=True, check=True)
    assert said.stdout == b"hello\n"
    assert sorted(os.listdir(os.path.dirname(image["path"]))) == ["image.json", "rootfs"]


def test_demo_image(store: ImageStore, tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    command = ["sh", str(repository / "playbooks/files/make_demo_image.sh"), str(tmp_path / "demo/layout"), "1"]
    first, second = (subprocess.run(command, capture_output=True, check=True, text=True).stdout for _attempt in range(2))
    assert (first.split(":")[0], second.split(":")[0]) == ("made", "unchanged")
    image = store.ensure(f"oci:{tmp_path}/demo/layout:1")
    assert image["config"]["Cmd"] == ["/bin/sh"]
    assert os.stat(image["path"] + "/tmp").st_mode & 0o7777 == 0o1777
    assert subprocess.run(["chroot", image["path"], "/bin/true"], check=False).returncode == 0


@pytest.mark.parametrize("arguments", [[], ["/srv/images/web"], ["images/web", "1"]])
def test_the_script_that_makes_it_says_how_it_is_used(repository: pathlib.Path, tmp_path: pathlib.Path, arguments: list[str]) -> None:
    command = ["sh", str(repository / "playbooks/files/make_demo_image.sh"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 2 and ("not an absolute path" if len(arguments) == 2 else "usage: ") in ended.stderr, ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("transport", ["oci-archive", "docker-archive"])
def test_archives(store: ImageStore, tmp_path: pathlib.Path, transport: str) -> None:
    source = images.make_small_layout(tmp_path / "layout", User="7")
    name = "r.example.org/small:1" if transport == "docker-archive" else "1"
    reference = f"{transport}:{tmp_path}/an archive.tar:{name}"
    images.skopeo("copy", source, reference)
    digest = store.resolve(reference)["digest"]
    image = store.ensure(reference)
    assert image["digest"] == digest
    assert image["config"]["User"] == "7"
    assert pathlib.Path(image["path"], "hello").read_text() == "hello\n"
    if transport == "oci-archive":
        assert digest == digest_of(source)
    assert store.ensure(reference, "always")["changed"] is False
    assert "is asked for" in refused(store, f"{reference}@{ABSENT}").message
    os.truncate(f"{tmp_path}/an archive.tar", 700)
    assert refused(store, reference, pull="always").code == "E_IMAGE"


def test_archive_with_a_damaged_layer(store: ImageStore, tmp_path: pathlib.Path) -> None:
    source = images.make_small_layout(tmp_path / "layout")
    layer = max((tmp_path / "layout/blobs/sha256").iterdir(), key=lambda path: path.read_bytes()[:2] == b"\x1f\x8b")
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    with tarfile.open(tmp_path / "archive", "w") as archive:
        archive.add(tmp_path / "layout", ".")
    for reference in (source, f"oci-archive:{tmp_path}/archive:1"):
        error = refused(store, reference)
        assert (error.code, error.option, error.value) == ("E_IMAGE", "image", reference)


def test_compression_that_umoci_does_not_know(store: ImageStore, tmp_path: pathlib.Path) -> None:
    source = images.make_small_layout(tmp_path / "layout")
    images.skopeo("copy", "--dest-compress", "--dest-compress-format", "zstd", source, f"dir:{tmp_path}/dir")
    images.skopeo("copy", f"dir:{tmp_path}/dir", f"oci:{tmp_path}/zstd:1")
    assert b"zstd" in b"".join(path.read_bytes() for path in (tmp_path / "zstd/blobs/sha256").iterdir() if path.stat().st_size < 2000)
    image = store.ensure(f"oci:{tmp_path}/zstd:1")
    assert pathlib.Path(image["path"], "hello").read_text() == "hello\n"
    assert image["digest"] == digest_of(f"oci:{tmp_path}/zstd:1")


def test_uncompressed_layers(store: ImageStore, tmp_path: pathlib.Path) -> None:
    layout = images.Layout(tmp_path / "layout")
    content = images.layer(images.member("hello", b"plain"))
    reference = layout.tag(layout.manifest([content], None, "application/vnd.oci.image.layer.v1.tar"), "1")
    image = store.ensure(reference)
    assert image["digest"] == digest_of(reference)
    assert pathlib.Path(image["path"], "hello").read_text() == "plain"


# ---- the host's signature policy


def test_host_without_a_policy(store: ImageStore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_skopeo, "POLICY_FILES", ())
    assert store.ensure(images.make_small_layout(tmp_path / "layout"))["changed"] is True


def test_host_whose_policy_rejects(store: ImageStore, tmp_path: pathlib.Path) -> None:
    policy = tmp_path / ".config/containers/policy.json"
    policy.parent.mkdir(parents=True)
    policy.write_text('{"default": [{"type": "reject"}]}')
    error = refused(store, images.make_small_layout(tmp_path / "layout"))
    assert error.code == "E_POLICY"
    assert "rejected by policy" in error.message


# ---- what a layer may hold


def test_what_is_kept(store: ImageStore, tmp_path: pathlib.Path) -> None:
    layout = images.Layout(tmp_path / "layout")
    capability = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)  # cap_net_bind_service, permitted
    lower = images.layer(
        images.folder_member("d", uid=5, gid=6, mode=0o2750),
        images.member("d/program", b"x", uid=1000, gid=1001, mode=0o4755, mtime=1000000000),
        images.member("d/capable", b"x", pax_headers={"SCHILY.xattr.security.capability": capability.decode("latin-1")}),
        images.member("d/gone", b"x"),
        images.member("old/a", b"x"),
        images.member("hard", type=tarfile.LNKTYPE, linkname="d/program"),
        images.member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        images.member("pipe", type=tarfile.FIFOTYPE),
    )
    upper = images.layer(images.member("d/.wh.gone"), images.member("old/.wh..wh..opq"), images.member("old/b", b"x"))
    root = pathlib.Path(store.ensure(layout.tag(layout.manifest([lower, upper]), "1"))["path"])
    status = os.stat(root / "d/program")
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777, status.st_mtime) == (1000, 1001, 0o4755, 1000000000)
    assert (os.stat(root / "d").st_uid, os.stat(root / "d").st_gid, os.stat(root / "d").st_mode & 0o7777) == (5, 6, 0o2750)
    assert os.getxattr(root / "d/capable", "security.capability") == capability
    assert os.stat(root / "hard").st_ino == status.st_ino
    assert os.stat(root / "null").st_rdev == os.makedev(1, 3)
    assert sorted(os.listdir(root / "d")) == ["capable", "program"]
    assert os.listdir(root / "old") == ["b"]


def hostile_layers(outside: pathlib.Path) -> list[bytes]:
    """Layers that try to make, change or remove something in ``outside``, where the file ``kept`` lies."""
    up = "../" * 20
    return [
        images.layer(images.member(f"{up}{outside}/dots", b"x"), images.member(f"{outside}/absolute", b"x")),
        images.layer(images.link_member("link", str(outside)), images.member("link/through", b"x")),
        images.layer(images.link_member("a", f"{up}{outside}"), images.member("a/through-dots", b"x"), images.member("a/kept", b"x")),
        images.layer(images.member("hard", type=tarfile.LNKTYPE, linkname=f"{up}{outside}/kept"), images.member("hard", b"y")),
        images.layer(images.link_member("w", str(outside)), images.member("w/.wh.kept")),
        images.layer(images.link_member("o", str(outside)), images.member("o/.wh..wh..opq")),
        images.layer(images.member("../.wh.rootfs"), images.member("../image.json", b"{}")),
        images.layer(images.member("..", type=tarfile.SYMTYPE, linkname=str(outside)), images.member("../x", b"x")),
    ]


def test_hostile_layers(store: ImageStore, tmp_path: pathlib.Path) -> None:
    """Names with .., absolute names and writes through links stay in the root filesystem, or are refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    layout = images.Layout(tmp_path / "layout")
    layers = hostile_layers(outside)
    for number in range(len(layers)):
        for chosen in ([layers[number]], layers[: number + 1]):
            with contextlib.suppress(NexcageError):
                store.ensure(layout.tag(layout.manifest(chosen), f"{number}-{len(chosen)}"))
            assert os.listdir(outside) == ["kept"]
            assert (outside / "kept").read_text() == "kept"
            assert os.stat(outside / "kept").st_nlink == 1
    assert left_behind(store) == []
    known = set(store.references().values())
    assert {f"sha256:{name}" for name in os.listdir(store.folder) if len(name) == 64} == known
    assert all(store.configuration(digest) for digest in known)


def test_hostile_layers_get_out_where_nobody_takes_care(tmp_path: pathlib.Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (outside / "kept").write_text("kept")
    for layer in hostile_layers(outside)[:4]:
        subprocess.run(["tar", "-xPf", "-", "-C", str(target)], input=layer, capture_output=True, check=False)
    assert {"dots", "absolute", "through", "through-dots"} <= set(os.listdir(outside))
    assert (outside / "kept").read_text() != "kept"


# ---- full disks


@pytest.mark.parametrize(
    ("content", "doing"), [(os.urandom(6_000_000), "copying the image"), (bytes(12_000_000), "unpacking the image")], ids=["copy", "unpack"]
)
def test_full_disk(tmp_path: pathlib.Path, content: bytes, doing: str) -> None:
    store = make_store(tmp_path)
    os.makedirs(store.folder)
    reference = images.make_small_layout(tmp_path / "layout", content=content)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", store.folder], check=True)
    try:
        small = store.ensure(images.make_small_layout(tmp_path / "other"))
        error = refused(store, reference)
        assert (error.code, error.option, error.value) == ("E_SPACE", "image", reference)
        assert f"no space left in {store.folder} while {doing}" in error.message
        assert 2_000_000 < error.details["free_bytes"] < 4_194_304
        assert f"{error.details['free_bytes'] / 1048576:.1f} MiB and room for" in error.message
        assert list(store.references().values()) == [small["digest"]]
        assert len(os.listdir(store.folder)) == 2
    finally:
        subprocess.run(["umount", store.folder], check=True)


def test_no_inodes_left(tmp_path: pathlib.Path) -> None:
    store = make_store(tmp_path)
    os.makedirs(store.folder)
    layout = images.Layout(tmp_path / "layout")
    reference = layout.tag(layout.manifest([images.layer(*(images.member(str(number)) for number in range(60)))]), "1")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=40,mode=0700", "none", store.folder], check=True)
    try:
        error = refused(store, reference)
        assert error.code == "E_SPACE"
        assert re.search(r"while unpacking the image: 4.0 MiB and room for 3\d files are free", error.message)
    finally:
        subprocess.run(["umount", store.folder], check=True)


# ---- two at once, and killed ones

WORKER = f"""
import json, os, signal, sys
from {PACKAGE}.broker import store as files
from {PACKAGE}.broker.image import ImageStore
from {PACKAGE}.model.config import Layout
root, reference, step = sys.argv[1:]
def checkpoint(name):
    if name == step:
        os.kill(os.getpid(), signal.SIGKILL)
files.CHECKPOINT = checkpoint
if step.startswith("child"):
    from {PACKAGE}.broker import image_process
    collect, started = image_process._collect, []
    def kill(child, arguments, timeout):
        started.append(child.pid)
        if len(started) == int(step[5:]):
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return collect(child, arguments, timeout)
    image_process._collect = kill
store = ImageStore(Layout.for_user(0, {{"NEXCAGE_ROOT": root}}), {{"HOME": root}})
print(json.dumps(store.ensure(reference)))
"""


def start_worker(root: pathlib.Path, reference: str, step: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(root), reference, step], stdout=subprocess.PIPE, text=True)


def test_parallel_runs_unpack_once(tmp_path: pathlib.Path) -> None:
    reference = images.make_busybox_layout(tmp_path / "layout")
    again = images.make_busybox_layout(tmp_path / "layout", "2")
    workers = [start_worker(tmp_path, name) for name in (reference, reference, again)]
    results = [json.loads(worker.communicate(timeout=30)[0]) for worker in workers]
    assert len({result["path"] for result in results}) == 1
    store = ImageStore(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}))
    assert set(store.references()) == {reference, again}
    assert len(os.listdir(store.folder)) == 2
    record = json.loads(pathlib.Path(results[0]["path"], "../image.json").resolve().read_bytes())
    assert record["reference"] in (reference, again)
    assert sum(result["changed"] for result in results) == 2  # one image, two references


@pytest.mark.parametrize("step", ["child1", "image:copied", "child2", "image:unpacked", "image:staged", "image:published"])
def test_killed_run_is_healed(tmp_path: pathlib.Path, step: str) -> None:
    reference = images.make_busybox_layout(tmp_path / "layout")
    worker = start_worker(tmp_path, reference, step)
    said = worker.communicate(timeout=30)[0]
    assert worker.returncode == -signal.SIGKILL
    if step.startswith("child"):
        assert wait_dead(int(said))
    store = ImageStore(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), {"HOME": str(tmp_path)})
    assert store.has(digest_of(reference)) is (step == "image:published")
    assert bool(left_behind(store)) is (step != "image:published")
    image = store.ensure(reference)
    assert subprocess.run(["chroot", image["path"], "/bin/true"], check=False).returncode == 0
    assert left_behind(store) == []
    assert store.resolve(reference)["present"] is True


def wait_dead(pid: int) -> bool:
    for _attempt in range(300):
        try:
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


# ---- what a converged run costs


def test_known_image_costs_next_to_nothing(store: ImageStore, tmp_path: pathlib.Path) -> None:
    reference = images.make_small_layout(tmp_path / "layout")
    store.ensure(reference)
    source = f"""
import sys, typing, json, os, re
before = set(sys.modules)
from {PACKAGE}.broker.image import ImageStore
from {PACKAGE}.model.config import Layout
store = ImageStore(Layout.for_user(0, {{"NEXCAGE_ROOT": {str(tmp_path / "a host")!r}}}))
assert store.resolve({reference!r})["present"]
print(*sorted(name.rpartition(".")[2] for name in set(sys.modules) - before if sys.modules[name].__spec__.origin))
"""
    said = subprocess.run([sys.executable, "-S", "-c", source], capture_output=True, check=True, text=True, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    assert set(said.stdout.split()) <= {"config", "errors", "image", "broker", "model", "module_utils", "plugins", "__future__"}
