# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""OCI images made by hand, and a registry on loopback, for tests."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import time
import typing as t

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
TAG = "org.opencontainers.image.ref.name"
REGISTRY_USER, REGISTRY_PASSWORD = "user", "password"
_PASSWORD_FILE = "user:$2b$04$lM61dpih7W0XBhz.EzUkZ.RPbhIqfBV8AnQVQbJB2ycnrLmgWIt06\n"
_APPLETS = ("sh", "cat", "echo", "env", "false", "grep", "head", "id", "kill", "ls", "mount", "ps", "sleep", "tail", "true", "touch", "wc")

Descriptor = dict[str, t.Any]


def member(name: str, content: bytes = b"", **fields: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer: a file, or what ``type`` and the other fields of TarInfo say."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o755
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder_member(name: str, **fields: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **fields)


def link_member(name: str, target: str, **fields: t.Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target, **fields)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """The tar file of a layer."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def busybox_layer() -> bytes:
    """A root filesystem of this machine's static busybox."""
    program = pathlib.Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    return layer(
        *(folder_member(name) for name in ("bin", "etc", "proc", "sys", "dev", "root")),
        folder_member("tmp", mode=0o1777),
        member("bin/busybox", program),
        *(link_member(f"bin/{name}", "busybox") for name in _APPLETS),
        member("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode=0o644),
        member("etc/group", b"root:x:0:\nnogroup:x:65534:\n", mode=0o644),
    )


class Layout:
    """An OCI image layout that is written by hand, so that it can also be wrong."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = pathlib.Path(folder)
        (self.folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        if not (self.folder / "index.json").exists():
            self._write_index([])

    def blob(self, content: bytes, media_type: str) -> Descriptor:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def json(self, content: object, media_type: str) -> Descriptor:
        return self.blob(json.dumps(content).encode(), media_type)

    def manifest(
        self,
        layers: t.Sequence[bytes],
        config: dict[str, t.Any] | None = None,
        media_type: str = LAYER,
        **platform: str,
    ) -> Descriptor:
        """An image of some tar files; ``platform`` overrides ``os`` and ``architecture`` in its configuration."""
        packed = [gzip.compress(content, 1, mtime=0) if media_type.endswith("gzip") else content for content in layers]
        configuration = {
            "architecture": host_architecture(),
            "os": "linux",
            **platform,
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest() for content in layers]},
        }
        return self.json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self.json(configuration, CONFIG),
                "layers": [self.blob(content, media_type) for content in packed],
            },
            MANIFEST,
        )

    def index(self, entries: t.Sequence[tuple[Descriptor, str | None]]) -> Descriptor:
        """An index of manifests, each with its ``os/architecture[/variant]`` or without any."""
        manifests = []
        for descriptor, name in entries:
            entry = dict(descriptor)
            if name is not None:
                entry["platform"] = dict(zip(("os", "architecture", "variant"), name.split("/")))
            manifests.append(entry)
        return self.json({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}, INDEX)

    def tag(self, descriptor: Descriptor, name: str) -> str:
        """Give a manifest or an index a tag, in place of what had it; the reference."""
        entries = json.loads((self.folder / "index.json").read_bytes())["manifests"]
        entries = [entry for entry in entries if entry.get("annotations", {}).get(TAG) != name]
        self._write_index([*entries, {**descriptor, "annotations": {TAG: name}}])
        return f"oci:{self.folder}:{name}"

    def _write_index(self, entries: list[Descriptor]) -> None:
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


def host_architecture() -> str:
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def make_busybox_layout(folder: str | os.PathLike[str], tag: str = "1", **config: t.Any) -> str:
    """A busybox image as ``oci:folder:tag``; ``config`` has the OCI names, such as ``Cmd=["sleep", "60"]``."""
    config = {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"], **config}
    layout = Layout(folder)
    return layout.tag(layout.manifest([busybox_layer()], config), tag)


def make_small_layout(folder: str | os.PathLike[str], tag: str = "1", content: bytes = b"hello\n", **config: t.Any) -> str:
    """An image of the one file ``/hello``, for tests that run nothing in it."""
    layout = Layout(folder)
    return layout.tag(layout.manifest([layer(member("hello", content))], config), tag)


def skopeo(*arguments: str) -> None:
    """Copy or push something in a test; fails loudly."""
    subprocess.run(["skopeo", "--insecure-policy", *arguments], check=True, capture_output=True, timeout=30)


class Registry(t.NamedTuple):
    """A registry that runs: ``address`` is host:port, ``certificate`` its own authority's file or None."""

    address: str
    certificate: pathlib.Path | None
    folder: pathlib.Path

    def push(self, source: str, name: str, *options: str) -> str:
        """Push ``oci:…`` as ``name:tag``; the ``docker://`` reference."""
        reference = f"docker://{self.address}/{name}"
        credentials = ["--dest-creds", f"{REGISTRY_USER}:{REGISTRY_PASSWORD}"] if self.certificate else []
        skopeo("copy", "--quiet", "--dest-tls-verify=false", *credentials, *options, source, reference)
        return reference


@contextlib.contextmanager
def running_registry(folder: str | os.PathLike[str], secure: bool = False) -> t.Iterator[Registry]:
    """Debian's docker-registry on a free port of loopback; ``secure`` with TLS and a password."""
    home = pathlib.Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    configuration: dict[str, t.Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
    }
    certificate = None
    if secure:
        certificate = make_certificate(home)
        (home / "htpasswd").write_text(_PASSWORD_FILE)
        configuration["http"]["tls"] = {"certificate": str(certificate), "key": str(home / "registry.key")}
        configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(home / "htpasswd")}}
    (home / "config.yml").write_text(json.dumps(configuration))  # JSON is YAML
    # the log goes to a file: a pipe that nobody reads would fill up and stop the registry
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(home / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        yield Registry(_listening_address(process, home / "log"), certificate, home)
    finally:
        process.kill()
        process.wait()


def _listening_address(process: subprocess.Popen[bytes], log: pathlib.Path) -> str:
    """Where the registry listens, by its own log; it chose the port itself."""
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"listening on ([0-9.]+:[0-9]+)", log.read_text())
        if found:
            return found.group(1)
        time.sleep(0.01)
    raise RuntimeError(f"docker-registry did not start: {log.read_text()}")


def make_certificate(folder: pathlib.Path) -> pathlib.Path:
    """A certificate for 127.0.0.1 that nobody knows, ``registry.crt`` beside ``registry.key``."""
    certificate = folder / "registry.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(folder / "registry.key"), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate
