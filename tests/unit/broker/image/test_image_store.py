# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store, with tools that are functions here: what it keeps, what it asks for, what it leaves when something fails."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import re
import shutil
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_pull, image_source
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_reference import parse
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import images
from ansible_collections.nexcage.backends.tests.support.image_tools import Tools

OTHER = "sha256:" + "0" * 64


def refused(function: t.Callable[..., object], *arguments: t.Any, **options: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        function(*arguments, **options)
    return caught.value


def left_behind(store: ImageStore) -> list[str]:
    """What lies in the images folder beside images and references."""
    names = os.listdir(store.folder) if os.path.isdir(store.folder) else []
    return [name for name in names if name != "references.json" and not re.fullmatch("[0-9a-f]{64}", name)]


def test_image_is_brought_once(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.manifest([], {"Cmd": ["/hello"], "Labels": {"b": "2", "a": "1"}, "Volumes": {"/v": {}}, "Unknown": 7})
    reference = layout.tag(manifest, "1")
    digest = manifest["digest"]
    assert store.resolve(reference) == {"reference": reference, "digest": digest, "present": False}
    assert not os.path.exists(store.folder)
    configuration = {
        "Entrypoint": [],
        "Cmd": ["/hello"],
        "Env": [],
        "WorkingDir": "",
        "User": "",
        "StopSignal": "",
        "Volumes": ["/v"],
        "ExposedPorts": [],
        "Labels": {"a": "1", "b": "2"},
    }
    path = f"{store.folder}/{digest[7:]}"
    assert store.ensure(reference) == {"digest": digest, "path": path + "/rootfs", "config": configuration, "changed": True}
    assert sorted(os.listdir(path)) == ["image.json", "rootfs"]
    assert os.stat(path).st_mode & 0o777 == 0o700
    record = json.loads(pathlib.Path(path, "image.json").read_bytes())
    assert {key: record[key] for key in ("schema_version", "digest", "reference", "architecture")} == {
        "schema_version": 1,
        "digest": digest,
        "reference": reference,
        "architecture": images.host_architecture(),
    }
    assert store.references() == {reference: digest}
    assert tools.started() == ["copy", "unpack"]

    assert store.resolve(reference) == {"reference": reference, "digest": digest, "present": True}
    assert store.ensure(reference)["changed"] is False
    assert store.ensure(reference, "never")["changed"] is False
    assert store.ensure(reference, "always")["changed"] is False
    again = layout.tag(manifest, "2")
    assert store.ensure(again)["changed"] is True  # a new name for the same image
    assert tools.started() == ["copy", "unpack"]
    assert store.references() == {reference: digest, again: digest}
    assert left_behind(store) == []


def test_moved_tag(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    first, second = layout.manifest([], {"User": "1"}), layout.manifest([], {"User": "2"})
    reference = layout.tag(first, "1")
    store.ensure(reference)
    layout.tag(second, "1")
    assert store.resolve(reference)["digest"] == first["digest"]
    assert store.resolve(reference, "always") == {"reference": reference, "digest": second["digest"], "present": False}
    assert store.ensure(reference)["config"]["User"] == "1"
    assert store.ensure(reference, "always")["config"]["User"] == "2"
    assert store.ensure(reference)["config"]["User"] == "2"
    assert store.has(first["digest"])  # containers may still stand on it


def test_a_pinned_reference_is_asked_for_once(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.manifest([])
    reference = f"{layout.tag(manifest, '1')}@{manifest['digest']}"
    store.ensure(reference, "always")
    shutil.rmtree(layout.folder)
    assert store.resolve(reference, "always")["present"]
    assert store.ensure(reference, "always")["changed"] is False


def test_a_registry_is_asked_only_by_always(store: ImageStore, tools: Tools) -> None:
    manifest = b'{"schemaVersion": 2}'
    tools.hooks["inspect"] = lambda _folder: manifest
    reference = "docker://r.example.org/a:1"
    for pull in ("missing", "never"):
        assert store.resolve(reference, pull) == {"reference": reference, "digest": None, "present": False}
    assert tools.calls == []
    assert store.resolve(reference, "always")["digest"] == image_source.digest_of(manifest)


def test_what_resolve_was_told_is_not_asked_again(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.manifest([])
    layout.tag(manifest, "1")
    raw = (layout.folder / "blobs/sha256" / manifest["digest"][7:]).read_bytes()
    tools.hooks["inspect"] = lambda _folder: raw
    tools.hooks["copy"] = lambda folder: bool(shutil.copytree(layout.folder, folder / "layout", dirs_exist_ok=True)) and b""
    reference = "docker://r.example.org/a:1"
    digest = store.resolve(reference, "always")["digest"]
    assert store.ensure(reference)["digest"] == digest
    assert tools.started() == ["inspect", "copy", "unpack"]
    store.ensure(reference, "always")
    assert tools.started()[3:] == ["inspect"]


def test_never(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    reference = layout.tag(layout.manifest([]), "1")
    assert store.resolve(reference, "never") == {"reference": reference, "digest": None, "present": False}
    error = refused(store.ensure, reference, "never")
    assert (error.code, error.option, error.value) == ("E_IMAGE", "image", reference)
    assert "pull is 'never'" in error.message
    assert tools.calls == []


@pytest.mark.parametrize("method", ["resolve", "ensure"])
def test_bad_arguments(store: ImageStore, tools: Tools, method: str) -> None:
    error = refused(getattr(store, method), "oci:/x:1", "sometimes")
    assert (error.code, error.option, error.value) == ("E_INVALID", "pull", "sometimes")
    assert refused(getattr(store, method), "busybox:1").code == "E_INVALID"


def test_unknown_digests(store: ImageStore) -> None:
    assert refused(store.configuration, OTHER).code == "E_NOT_FOUND"
    for digest in ("sha256:../../etc", "sha256:" + "A" * 64, "0" * 64, "md5:" + "0" * 64):
        assert refused(store.path, digest).code == "E_INVALID"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"schema_version": 2}'])
def test_damaged_references(store: ImageStore, content: str) -> None:
    os.makedirs(store.folder)
    pathlib.Path(store.references_file).write_text(content)
    error = refused(store.resolve, "oci:/x:1")
    assert error.code == "E_STATE"
    assert store.references_file in error.message


def test_unreadable_references(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_arguments: object) -> t.NoReturn:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr("builtins.open", forbidden)
    assert refused(store.resolve, "oci:/x:1").code == "E_PRIVILEGE"


def test_default_environment_is_that_of_the_process() -> None:
    assert ImageStore(Layout.for_user(0, {})).environment is os.environ


def test_removed_folder_is_brought_again(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    reference = layout.tag(layout.manifest([]), "1")
    path = store.ensure(reference)["path"]
    os.unlink(os.path.dirname(path) + "/image.json")
    assert store.resolve(reference)["present"] is False
    assert store.ensure(reference)["changed"] is True
    assert store.resolve(reference)["present"] is True
    assert left_behind(store) == []


def test_converted_manifest(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    """The copy of a docker manifest has another digest; the source has to say the same before and after."""
    layout.tag(layout.manifest([]), "1")
    manifest = b'{"schemaVersion": 2, "mediaType": "docker"}'
    tools.hooks["inspect"] = lambda _folder: manifest
    tools.hooks["copy"] = lambda folder: bool(shutil.copytree(layout.folder, folder / "layout", dirs_exist_ok=True)) and b""
    assert store.ensure("docker://r.example.org/a:1")["digest"] == image_source.digest_of(manifest)
    assert tools.started() == ["inspect", "copy", "inspect", "unpack"]


def test_reference_that_moves_while_it_is_copied(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    first, second = layout.manifest([], {"User": "1"}), layout.manifest([], {"User": "2"})
    reference = layout.tag(first, "1")

    def move_once(_folder: pathlib.Path) -> bytes:
        shutil.copy(layout.folder / "index.json", _folder / "layout/index.json")
        del tools.hooks["copy"]
        return b""

    other = images.Layout(layout.folder)
    tools.hooks["copy"] = lambda folder: (other.tag(second, "1"), move_once(folder))[1]
    assert store.ensure(reference)["config"]["User"] == "2"
    assert tools.started() == ["copy", "copy", "unpack"]
    assert not store.has(first["digest"])
    assert left_behind(store) == []


def test_reference_that_never_rests(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    reference = layout.tag(layout.manifest([], {"User": "0"}), "1")

    def move(folder: pathlib.Path) -> bytes:
        layout.tag(layout.manifest([], {"User": str(len(tools.calls))}), "1")
        shutil.rmtree(folder / "layout")
        shutil.copytree(layout.folder, folder / "layout")
        return b""

    tools.hooks["copy"] = move
    error = refused(store.ensure, reference)
    assert error.code == "E_IMAGE"
    assert "changed while it was being copied" in error.message
    assert left_behind(store) == []
    assert store.references() == {}


def test_layers_that_umoci_does_not_know(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.manifest([b"x"], None, "application/vnd.oci.image.layer.v1.tar+zstd")
    store.ensure(layout.tag(manifest, "1"))
    assert tools.started() == ["copy", "--dest-decompress", "copy", "unpack"]
    assert tools.calls[-1][-2:] == ["plain-layout:image", "rootfs"]


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"Cmd": "sh"}, "Cmd"),
        ({"Entrypoint": ["sh", 1]}, "Entrypoint"),
        ({"Env": ["A=\0"]}, "Env"),
        ({"User": 1000}, "User"),
        ({"Labels": {"a": 1}}, "Labels"),
        ({"Labels": []}, "Labels"),
        ({"Volumes": ["/v"]}, "Volumes"),
        ({"ExposedPorts": {"8\0/tcp": {}}}, "ExposedPorts"),
        ({"WorkingDir": "/\0"}, "WorkingDir"),
    ],
)
def test_hostile_configuration(store: ImageStore, layout: images.Layout, tools: Tools, configuration: dict[str, t.Any], message: str) -> None:
    error = refused(store.ensure, layout.tag(layout.manifest([], configuration), "1"))
    assert error.code == "E_IMAGE"
    assert message in error.message
    assert os.listdir(store.folder) == []


def test_image_without_a_configuration(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    nothing: dict[str, t.Any] = dict.fromkeys(("Cmd", "Env", "Labels", "Volumes", "User"))
    assert store.ensure(layout.tag(layout.manifest([], nothing), "1"))["config"]["Env"] == []
    assert image_pull.normalised(parse("oci:/x"), 7)["Cmd"] == []


def test_image_for_another_system(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    assert "made for windows" in refused(store.ensure, layout.tag(layout.manifest([], os="windows"), "1")).message


def test_damaged_copy(store: ImageStore, layout: images.Layout, tools: Tools) -> None:
    manifest = layout.json({"schemaVersion": 2, "config": None}, images.MANIFEST)
    assert "names no configuration" in refused(store.ensure, layout.tag(manifest, "1")).message
    manifest = layout.json({"schemaVersion": 2, "config": {"digest": "sha256:../../x"}}, images.MANIFEST)
    assert "names no configuration" in refused(store.ensure, layout.tag(manifest, "1")).message
    configuration = layout.json({"os": "linux"}, images.CONFIG)
    manifest = layout.json({"schemaVersion": 2, "config": configuration}, images.MANIFEST)
    (layout.folder / "blobs/sha256" / configuration["digest"][7:]).write_text("{}")
    assert "does not have that digest" in refused(store.ensure, layout.tag(manifest, "1")).message


def test_rootless_unpacking(store: ImageStore, layout: images.Layout, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    store.ensure(layout.tag(layout.manifest([]), "1"))
    assert "--rootless" in tools.calls[-1]


def test_variant_is_handed_to_skopeo(store: ImageStore, layout: images.Layout, tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "1", "aarch64")))
    store.ensure(layout.tag(layout.manifest([]), "1"))
    arguments = " ".join(tools.calls[0])
    assert "--override-os linux --override-arch arm64 --override-variant v8 copy" in arguments
