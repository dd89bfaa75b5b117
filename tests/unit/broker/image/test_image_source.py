# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which manifest a reference stands for, read from layouts and archives or asked from a registry that is a function here."""

from __future__ import annotations

import io
import json
import os
import pathlib
import subprocess
import tarfile
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_skopeo, image_source
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_process import Outcome
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_reference import parse
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_skopeo import Access
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import images

ACCESS = Access(None, None, 5.0, {"HOME": "/nowhere"})
OTHER = "sha256:" + "0" * 64


def refused(text: str, access: Access = ACCESS) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        image_source.find(parse(text), access)
    assert caught.value.option in ("image", "authfile")
    return caught.value


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> images.Layout:
    return images.Layout(tmp_path / "layout")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], None]:
    def choose(name: str) -> None:
        monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "h", "6", "1", name)))

    return choose


def answers(monkeypatch: pytest.MonkeyPatch, *given: object) -> list[list[str]]:
    """Let skopeo answer with bytes, or fail with text, one after the other; the calls are recorded."""
    calls: list[list[str]] = []
    waiting = list(given)

    def run(arguments: list[str], timeout: float, environment: t.Mapping[str, str], folder: str) -> Outcome:
        calls.append(arguments)
        answer = waiting.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Outcome(0, answer, "") if isinstance(answer, bytes) else Outcome(1, b"", str(answer))

    monkeypatch.setattr(image_skopeo, "run", run)
    return calls


def test_layout_with_one_image_needs_no_tag(layout: images.Layout) -> None:
    manifest = layout.manifest([])
    layout.tag(manifest, "1")
    for text in (f"oci:{layout.folder}", f"oci:{layout.folder}:1", f"oci:{layout.folder}@{manifest['digest']}"):
        assert image_source.find(parse(text), ACCESS) == manifest["digest"]


def test_layout_with_several_images(layout: images.Layout) -> None:
    first, second = layout.manifest([], {"User": "1"}), layout.manifest([], {"User": "2"})
    layout.tag(first, "1")
    layout.tag(second, "2")
    assert image_source.find(parse(f"oci:{layout.folder}:2"), ACCESS) == second["digest"]
    assert "several images and no tag is given; tags there: 1, 2" in refused(f"oci:{layout.folder}").message
    assert "no tag '3'; tags there: 1, 2" in refused(f"oci:{layout.folder}:3").message


def test_empty_layout(layout: images.Layout) -> None:
    assert "tags there: none" in refused(f"oci:{layout.folder}").message


@pytest.mark.parametrize(("host", "chosen"), [("x86_64", 0), ("aarch64", 1), ("armv7l", 3), ("armv6l", 2), ("riscv64", 4)])
def test_platform_of_an_index(layout: images.Layout, machine: t.Callable[[str], None], host: str, chosen: int) -> None:
    platforms = ["linux/amd64", "linux/arm64/v8", "linux/arm/v6", "linux/arm/v7", "linux/riscv64", "unknown/unknown"]
    manifests = [layout.manifest([], {"User": name}) for name in platforms]
    index = layout.index(list(zip(manifests, platforms)))
    reference = layout.tag(index, "1")
    machine(host)
    found = manifests[chosen]["digest"]
    assert image_source.find(parse(reference), ACCESS) == found
    for pin in (index["digest"], found):
        assert image_source.find(parse(f"{reference}@{pin}"), ACCESS) == found


def test_platform_that_is_not_there(layout: images.Layout, machine: t.Callable[[str], None]) -> None:
    entries: list[tuple[images.Descriptor, str | None]] = [(layout.manifest([]), "linux/arm64/v8"), (layout.manifest([]), "windows/amd64")]
    reference = layout.tag(layout.index(entries), "1")
    machine("x86_64")
    error = refused(reference)
    assert error.code == "E_IMAGE"
    assert "not for linux/amd64, only for linux/arm64/v8, windows/amd64" in error.message
    assert "only for nothing" in refused(layout.tag(layout.index([]), "2")).message


def test_index_without_platforms(layout: images.Layout) -> None:
    manifest = layout.manifest([])
    reference = layout.tag(layout.index([({"digest": "x"}, "plan9/amd64"), (manifest, None)]), "1")
    assert image_source.find(parse(reference), ACCESS) == manifest["digest"]


def test_wrong_digest_names_both(layout: images.Layout) -> None:
    manifest = layout.manifest([])
    error = refused(f"{layout.tag(manifest, '1')}@{OTHER}")
    assert error.code == "E_IMAGE"
    assert error.message == f"the digest is {manifest['digest']}, but {OTHER} is asked for"
    assert error.details == {"expected": OTHER, "found": manifest["digest"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "index.json is not a JSON object"),
        ("[]", "index.json is not a JSON object"),
        ("[" * 100000, "index.json is not a JSON object"),
        ('{"manifests": 1}', "tags there: none"),
        ('{"manifests": [1, {"digest": 5}]}', "something else than a sha256 digest"),
        ('{"manifests": [{"digest": "sha256:../../../etc/passwd"}]}', "something else than a sha256 digest"),
        ('{"manifests": [{"digest": "sha512:' + "0" * 128 + '"}]}', "something else than a sha256 digest"),
    ],
)
def test_damaged_index(layout: images.Layout, content: str, message: str) -> None:
    (layout.folder / "index.json").write_text(content)
    error = refused(f"oci:{layout.folder}")
    assert error.code == "E_IMAGE"
    assert message in error.message


@pytest.mark.parametrize(("content", "message"), [(b"nothing", "manifest is not a JSON object"), (b'{"schemaVersion": 1}', "not of schema version 2")])
def test_damaged_manifest(layout: images.Layout, content: bytes, message: str) -> None:
    assert message in refused(layout.tag(layout.blob(content, images.MANIFEST), "1")).message


def test_changed_blob(layout: images.Layout) -> None:
    manifest = layout.manifest([])
    reference = layout.tag(manifest, "1")
    (layout.folder / "blobs/sha256" / manifest["digest"][7:]).write_text("{}")
    assert f"the content of {manifest['digest']} has the digest" in refused(reference).message


@pytest.mark.parametrize("form", ["oci:{}:1", "oci-archive:{}:1", "docker-archive:{}:1", "oci:{}/file:1"])
def test_missing_path(tmp_path: pathlib.Path, form: str) -> None:
    (tmp_path / "file").write_text("")
    error = refused(form.format(tmp_path if "file" in form else tmp_path / "gone"))
    assert error.code == "E_IMAGE"
    assert "does not exist" in error.message
    assert str(tmp_path) in error.message


def test_folder_as_an_archive(tmp_path: pathlib.Path) -> None:
    assert refused(f"oci-archive:{tmp_path}").code == "E_STATE"


def archive(path: pathlib.Path, layout: images.Layout, mode: t.Any = "w", prefix: str = "") -> str:
    with tarfile.open(str(path), mode) as stream:
        for file in layout.folder.rglob("*"):
            stream.add(file, prefix + str(file.relative_to(layout.folder)), recursive=False)
    return f"oci-archive:{path}"


@pytest.mark.parametrize(("mode", "prefix"), [("w", ""), ("w", "./"), ("w:gz", "")])
def test_archive(tmp_path: pathlib.Path, layout: images.Layout, mode: str, prefix: str) -> None:
    manifest = layout.manifest([])
    layout.tag(manifest, "1")
    assert image_source.find(parse(archive(tmp_path / "a", layout, mode, prefix) + ":1"), ACCESS) == manifest["digest"]


def test_damaged_archives(tmp_path: pathlib.Path, layout: images.Layout) -> None:
    layout.tag(layout.manifest([]), "1")
    path = tmp_path / "a"
    reference = archive(path, layout, "w:gz")
    content = path.read_bytes()
    middle = 100
    for damaged in (b"", b"no archive", content[:middle], content[:middle] + b"\xff" * 64 + content[middle + 64 :]):
        path.write_bytes(damaged)
        error = refused(reference)
        assert error.code == "E_IMAGE"
        assert "no archive of an OCI layout" in error.message


def test_archive_without_a_layout(tmp_path: pathlib.Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as stream:
        info = tarfile.TarInfo("index.json")
        info.type = tarfile.DIRTYPE
        stream.addfile(info, io.BytesIO())
    assert "index.json does not exist" in refused(f"oci-archive:{tmp_path / 'a'}").message


def test_registry_is_asked_for_the_raw_manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "auth.json").write_text("{}")
    manifest = b'{"schemaVersion": 2}'
    calls = answers(monkeypatch, manifest, manifest)
    access = Access(str(tmp_path / "auth.json"), False, 5.0, {})
    assert image_source.find(parse("docker://r.example.org/a:1"), access) == image_source.digest_of(manifest)
    assert calls.pop() == [
        *("skopeo", "inspect", "--raw", "--authfile", str(tmp_path / "auth.json"), "--tls-verify=false"),
        "docker://r.example.org/a:1",
    ]
    image_source.find(parse("docker://r.example.org/a:1"), Access(None, True, 5.0, {}))
    assert calls.pop() == ["skopeo", "inspect", "--raw", "--tls-verify=true", "docker://r.example.org/a:1"]


@pytest.mark.parametrize("path", ["/no/such/file", "relative.json"])
def test_authfile_that_is_not_there(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    calls = answers(monkeypatch)
    error = refused("docker://r.example.org/a:1", ACCESS._replace(authfile=path))
    assert (error.code, error.option, error.value, calls) == ("E_INVALID", "authfile", path, [])


def test_registry_that_serves_something_else_than_the_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = b'{"schemaVersion": 2}'
    answers(monkeypatch, manifest)
    error = refused(f"docker://r.example.org/a@{OTHER}")
    assert error.details == {"expected": OTHER, "found": image_source.digest_of(manifest)}


def test_registry_without_the_pinned_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = b'{"schemaVersion": 2}'
    answers(monkeypatch, "manifest unknown", manifest, "manifest unknown", "manifest unknown", "manifest unknown", "unauthorized")
    error = refused(f"docker://r.example.org/a:1@{OTHER}")
    assert error.details == {"expected": OTHER, "found": image_source.digest_of(manifest)}
    assert "no such image or tag" in refused(f"docker://r.example.org/a:1@{OTHER}").message  # the tag is unknown as well
    assert "no such image or tag" in refused(f"docker://r.example.org/a@{OTHER}").message
    assert refused(f"docker://r.example.org/a:1@{OTHER}").code == "E_REGISTRY"


def test_registry_that_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, subprocess.TimeoutExpired("skopeo", 5))
    error = refused("docker://r.example.org/a:1")
    assert (error.code, error.message) == ("E_TIMEOUT", "asking for the image took longer than 5 s")


def test_tool_that_fails_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "")
    assert "skopeo ended with code 1" in refused("docker://r.example.org/a:1").message


def test_docker_archive_is_left_to_skopeo(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.tar").write_text("")
    manifest = json.dumps({"schemaVersion": 2}).encode()
    calls = answers(monkeypatch, manifest)
    assert image_source.find(parse(f"docker-archive:{tmp_path}/a.tar:x:1"), ACCESS) == image_source.digest_of(manifest)
    assert calls == [["skopeo", "inspect", "--raw", f"docker-archive:{tmp_path}/a.tar:x:1"]]


def test_signature_policy_is_the_operators(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    host, home = tmp_path / "policy.json", tmp_path / ".config/containers/policy.json"
    monkeypatch.setattr(image_skopeo, "POLICY_FILES", ("{home}/.config/containers/policy.json", str(host)))
    environment = {"HOME": str(tmp_path)}
    assert image_skopeo.policy_options(environment) == ["--insecure-policy"]
    host.symlink_to("nowhere")  # there, and unreadable: skopeo has to stop
    assert image_skopeo.policy_options(environment) == ["--policy", str(host)]
    home.parent.mkdir(parents=True)
    home.write_text("{}")
    assert image_skopeo.policy_options(environment) == ["--policy", str(home)]
    assert image_skopeo.policy_options({}) == ["--policy", str(host)]
