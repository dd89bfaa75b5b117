# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of real registries on loopback: indexes, credentials, authorities, proxies, and registries that fail."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.tests.runtime.test_images import ABSENT, digest_of, refused
from ansible_collections.nexcage.backends.tests.support import images
from ansible_collections.nexcage.backends.tests.support.image_tools import make_store

pytestmark = pytest.mark.requires("linux", "root", "skopeo", "umoci", "busybox", "docker-registry", "openssl")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[images.Registry]:
    with images.running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def secure_registry(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[images.Registry]:
    with images.running_registry(tmp_path_factory.mktemp("secure"), secure=True) as running:
        running.push(images.make_small_layout(running.folder / "source"), "small:1")
        yield running


# ---- a registry


def test_registry(store: ImageStore, tmp_path: pathlib.Path, registry: images.Registry) -> None:
    source = images.make_small_layout(tmp_path / "layout", content=b"one")
    reference = registry.push(source, "moving:1")
    image = store.ensure(reference, tls_verify=False)
    assert image["digest"] == digest_of(source)
    name = reference.removeprefix("docker://")
    assert store.ensure(name, tls_verify=False)["digest"] == image["digest"]
    pinned = f"{reference}@{image['digest']}"
    assert store.ensure(pinned, tls_verify=False)["digest"] == image["digest"]

    second = images.make_small_layout(tmp_path / "layout", "2", content=b"two")
    registry.push(second, "moving:1")
    assert store.ensure(reference, tls_verify=False)["digest"] == image["digest"]
    assert store.resolve(reference, "always", tls_verify=False) == {
        "reference": reference,
        "digest": digest_of(second),
        "present": False,
    }
    moved = store.ensure(reference, "always", tls_verify=False)
    assert pathlib.Path(moved["path"], "hello").read_text() == "two"
    assert store.ensure(pinned, "always", tls_verify=False)["digest"] == image["digest"]

    error = refused(store, f"{reference}@{ABSENT}", tls_verify=False)
    assert error.code == "E_IMAGE"
    assert ABSENT in error.message
    assert moved["digest"] in error.message


@pytest.mark.parametrize("name", ["moving:gone", "gone:1", f"gone@{ABSENT}"])
def test_unknown_image(store: ImageStore, registry: images.Registry, name: str) -> None:
    reference = f"docker://{registry.address}/{name}"
    error = refused(store, reference, tls_verify=False)
    assert (error.code, error.option, error.value) == ("E_IMAGE", "image", reference)
    assert f"{registry.address} has no such image or tag" in error.message


def test_docker_format(store: ImageStore, tmp_path: pathlib.Path, registry: images.Registry) -> None:
    """The digest is the registry's, though the copy is converted and has another one."""
    source = images.make_small_layout(tmp_path / "layout", Cmd=["/hello"], content=b"docker")
    reference = registry.push(source, "docker:1", "--format", "v2s2")
    image = store.ensure(reference, tls_verify=False)
    assert image["digest"] != digest_of(source)
    blob = registry.folder / "data/docker/registry/v2/blobs/sha256" / image["digest"][7:9] / image["digest"][7:] / "data"
    assert image["digest"] == "sha256:" + hashlib.sha256(blob.read_bytes()).hexdigest()
    assert image["config"]["Cmd"] == ["/hello"]
    assert store.ensure(f"{reference}@{image['digest']}", "always", tls_verify=False)["changed"] is True
    assert store.ensure(reference, "always", tls_verify=False)["changed"] is False


def test_index(store: ImageStore, tmp_path: pathlib.Path, registry: images.Registry) -> None:
    layout = images.Layout(tmp_path / "layout")
    here, other = (layout.manifest([images.layer(images.member(name))], os="linux", architecture=name) for name in (images.host_architecture(), "mips"))
    index = layout.index([(other, "linux/mips"), (here, f"linux/{images.host_architecture()}")])
    local = layout.tag(index, "1")
    reference = registry.push(local, "index:1", "--all")
    for text in (local, reference, f"{reference}@{index['digest']}", f"{reference}@{here['digest']}"):
        image = store.ensure(text, tls_verify=False)
        assert image["digest"] == here["digest"]
        assert os.listdir(image["path"]) == [images.host_architecture()]
    foreign = registry.push(layout.tag(layout.index([(other, "linux/mips")]), "2"), "index:2", "--all")
    error = refused(store, foreign, tls_verify=False)
    assert error.code == "E_IMAGE"
    assert f"not for linux/{images.host_architecture()}, only for linux/mips" in error.message


def test_unknown_authority(store: ImageStore, secure_registry: images.Registry) -> None:
    error = refused(store, f"docker://{secure_registry.address}/small:1")
    assert error.code == "E_REGISTRY"
    assert "certificate signed by unknown authority" in error.message
    assert f"certs.d/{secure_registry.address}/ca.crt" in error.remedy


def test_plain_http_where_tls_is_wanted(store: ImageStore, registry: images.Registry) -> None:
    error = refused(store, f"docker://{registry.address}/small:1")
    assert error.code == "E_REGISTRY"
    assert "HTTP" in error.message


def test_known_authority_and_credentials(store: ImageStore, tmp_path: pathlib.Path, secure_registry: images.Registry) -> None:
    reference = f"docker://{secure_registry.address}/small:1"
    trusted = tmp_path / ".config/containers/certs.d" / secure_registry.address
    trusted.mkdir(parents=True)
    shutil.copy(t.cast("pathlib.Path", secure_registry.certificate), trusted / "ca.crt")
    error = refused(store, reference)
    assert error.code == "E_REGISTRY"
    assert "refuses the request" in error.message
    authfile = tmp_path / "auth.json"
    for password, code in (("wrong-password", "E_REGISTRY"), (images.REGISTRY_PASSWORD, None)):
        auth = subprocess.run(["base64"], input=f"{images.REGISTRY_USER}:{password}".encode(), capture_output=True, check=True).stdout
        authfile.write_text(json.dumps({"auths": {secure_registry.address: {"auth": auth.decode().strip()}}}))
        if code:
            error = refused(store, reference, authfile=str(authfile))
            assert error.code == code
            assert password not in json.dumps(error.as_dict())
    assert store.ensure(reference, authfile=str(authfile), tls_verify=True)["changed"] is True
    assert store.resolve(reference, "always", authfile=str(authfile))["present"] is True


def test_registry_that_is_down(store: ImageStore) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    error = refused(store, f"docker://{address}/a:1")
    assert error.code == "E_REGISTRY"
    assert "connection refused" in error.message


def test_registry_that_forbids(store: ImageStore) -> None:
    class Forbid(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(403)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Forbid)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        error = refused(store, f"docker://127.0.0.1:{server.server_port}/a:1", tls_verify=False)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert error.code == "E_REGISTRY"
    assert "403" in error.message
    assert "refuses" in error.message


def test_registry_that_never_answers(store: ImageStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refused(store, f"docker://127.0.0.1:{silent.getsockname()[1]}/a:1", timeout=0.3)
    assert error.code == "E_TIMEOUT"
    assert "0.3 s" in error.message


def test_proxy_is_passed_on(tmp_path: pathlib.Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    store = make_store(tmp_path, https_proxy=f"http://me:geheim@127.0.0.1:{port}")
    error = refused(store, "docker://registry.example.org/a:1")
    assert error.code == "E_REGISTRY"
    assert f"127.0.0.1:{port}" in error.message
    assert "geheim" not in json.dumps(error.as_dict())
