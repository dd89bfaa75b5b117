# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tools say becomes an error that helps."""

from __future__ import annotations

import errno
import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_failure
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_reference import parse

REMOTE = parse("docker://r.example.org:5000/a:1")
LOCAL = parse("oci:/srv/image:1")
LOG = 'time="2026-01-01T00:00:00Z" level={} msg={}\n'


def fatal(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return LOG.format("warning", '"something else"') + LOG.format("fatal", f'"{quoted}"')


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (fatal('Error parsing image name "docker://r/a:1": reading manifest'), "reading manifest"),
        (fatal("manifest unknown: manifest unknown"), "manifest unknown: manifest unknown"),
        (fatal("reading x: manifest unknown: manifest unknown"), "reading x: manifest unknown"),
        (fatal("Get https://u:p@proxy/: refused"), "Get https://***@proxy/: refused"),
        (LOG.format("fatal", "short"), "short"),
        (LOG.format("fatal", '"a \\q b"'), "a \\q b"),
        ("   \u2a2f unpack image: it broke\n\n", "unpack image: it broke"),
        ("", "no reason given"),
        ("x" * 1000, "x" * 400 + " …"),
    ],
)
def test_condense(errors: str, reason: str) -> None:
    assert image_failure.condense(errors) == reason


@pytest.mark.parametrize(
    ("text", "code", "message", "remedy"),
    [
        ("Source image rejected: Running image x is rejected by policy.", "E_POLICY", "signature policy", "policy.json"),
        ("x509: certificate signed by unknown authority", "E_REGISTRY", "certificate of r.example.org:5000", "certs.d/r.example.org:5000/ca.crt"),
        ("http: server gave HTTP response to HTTPS client", "E_REGISTRY", "plain HTTP", "registries.conf"),
        ("reading manifest 1: unauthorized: authentication required", "E_REGISTRY", "refuses", "credentials"),
        ("invalid status code from registry 403 (Forbidden)", "E_REGISTRY", "refuses", "credentials"),
        ("reading manifest 1: manifest unknown", "E_IMAGE", "no such image or tag", "check the name"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "E_REGISTRY", "cannot be reached", "is up"),
        ("something new", "E_IMAGE", "copying failed: something new", "skopeo inspect"),
        ("blob sha256:404a401b403c has the wrong size", "E_IMAGE", "copying failed", "skopeo inspect"),
    ],
)
def test_registry_failures(text: str, code: str, message: str, remedy: str) -> None:
    error = image_failure.tool_failure(REMOTE, "copying", fatal(text), "/")
    assert (error.code, error.option, error.value) == (code, "image", REMOTE.text)
    assert message in error.message
    assert text in error.message
    assert remedy in error.remedy


def test_local_failures() -> None:
    assert image_failure.tool_failure(LOCAL, "copying", fatal("x is rejected by policy."), "/").code == "E_POLICY"
    assert image_failure.tool_failure(LOCAL, "copying", fatal("unauthorized file"), "/").code == "E_IMAGE"


@pytest.mark.parametrize("text", ["write /x: no space left on device", "write /x: disk quota exceeded"])
def test_full_disk(tmp_path: pathlib.Path, text: str) -> None:
    error = image_failure.tool_failure(REMOTE, "copying", fatal(text), str(tmp_path))
    assert error.code == "E_SPACE"
    assert f"no space left in {tmp_path} while copying: " in error.message
    assert "files are free" in error.message
    assert error.details["free_bytes"] > 0


def test_full_disk_that_does_not_count_files(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.statvfs_result((4096, 4096, 100, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: status)
    assert image_failure.no_space(LOCAL, "copying", "/x").message == "no space left in /x while copying: 0.0 MiB are free there"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "E_SPACE"), (errno.EDQUOT, "E_SPACE"), (errno.EACCES, "E_PRIVILEGE"), (errno.EPERM, "E_PRIVILEGE"), (errno.EROFS, "E_STATE")],
)
def test_system_failures(tmp_path: pathlib.Path, number: int, code: str) -> None:
    error = image_failure.system_failure(LOCAL, "writing", OSError(number, os.strerror(number)), str(tmp_path))
    assert (error.code, error.option) == (code, "image")
    assert str(tmp_path) in error.message


def test_too_slow() -> None:
    error = image_failure.too_slow(REMOTE, "copying the image", 2.5)
    assert error.code == "E_TIMEOUT"
    assert error.message == "copying the image took longer than 2.5 s"
