# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What skopeo and umoci say when they fail, turned into our errors."""

from __future__ import annotations

import errno
import json
import os
import re

from ..model.errors import NexcageError
from .image_reference import Reference, mask

LONGEST_REASON = 400  # characters

_LOG_LINE = re.compile(r'^time="[^"]*" level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+)', re.MULTILINE)
_NOISE = re.compile(r'(?:(?:Error|FATA\[\d+\]|fatal:|error:)\s*)?(?:Error parsing image name|initializing source|trying to reuse blob) "?\S+"?:\s*')
_TWICE = re.compile(r"(: [^:]+)\1$")
_NO_SPACE = ("no space left on device", "disk quota exceeded")

# part of the tool's text -> code, what it means, remedy; {registry} is filled in. The first wins.
_MEANINGS: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (
        ("rejected by policy", "signature was required"),
        "E_POLICY",
        "the host's signature policy rejects the image",
        "see containers-policy.json(5) and the host's policy.json",
    ),
    (
        ("x509:", "tls: failed to verify"),
        "E_REGISTRY",
        "the certificate of {registry} cannot be verified",
        "put the authority's certificate into /etc/containers/certs.d/{registry}/ca.crt; validate_certs: false is for tests alone",
    ),
    (
        ("server gave HTTP response to HTTPS client",),
        "E_REGISTRY",
        "{registry} speaks plain HTTP",
        "set up TLS on the registry, list it as insecure in the host's registries.conf, or set validate_certs: false",
    ),
    (
        (
            *("unauthorized", "authentication required", "access to the resource is denied", "invalid username"),
            *("401 (", "403 (", "StatusCode: 401", "StatusCode: 403"),
        ),
        "E_REGISTRY",
        "{registry} refuses the request",
        "check the name and the credentials; 'skopeo login' on the managed host stores them",
    ),
    (
        ("manifest unknown", "name unknown", "repository name not known", "404 (", "StatusCode: 404"),
        "E_IMAGE",
        "{registry} has no such image or tag",
        "check the name, the tag and the digest",
    ),
    (
        ("dial tcp", "connection refused", "connection reset", "no such host", "unreachable", "timeout", "EOF", "pinging container registry"),
        "E_REGISTRY",
        "{registry} cannot be reached",
        "check that the registry is up, and that its name, its port and the proxy settings are right",
    ),
)


def condense(errors: str) -> str:
    """The one sentence that matters of a tool's stderr: no log dressing, no credentials."""
    fatal = [text for level, text in _LOG_LINE.findall(errors) if level in ("fatal", "error")]
    if fatal:
        reason = fatal[-1]
        if reason.startswith('"'):
            try:
                reason = json.loads(reason)
            except ValueError:
                reason = reason.strip('"')
    else:
        lines = [line.strip(" \t\u2a2f\u2022") for line in errors.splitlines()]
        reason = next((line for line in reversed(lines) if line), "no reason given")
    reason = _TWICE.sub(r"\1", _NOISE.sub("", mask(" ".join(reason.split()))))
    return reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + " …"


def tool_failure(reference: Reference, doing: str, errors: str, folder: str) -> NexcageError:
    """The error for a tool that failed.

    Args:
        reference: The image that was asked for.
        doing: What was going on, such as ``copying``.
        errors: The tool's stderr.
        folder: Where it was writing to, for a full disk.
    """
    reason = condense(errors)
    if any(text in errors for text in _NO_SPACE):
        return no_space(reference, doing, folder)
    registry = reference.registry()
    if registry:
        for needles, code, message, remedy in _MEANINGS:
            if any(needle in reason for needle in needles):
                text = f"{message.format(registry=registry)}: {reason}"
                return NexcageError(code, text, "image", reference.text, remedy.format(registry=registry))
    elif any(needle in reason for needle in _MEANINGS[0][0]):
        return NexcageError("E_POLICY", f"{_MEANINGS[0][2]}: {reason}", "image", reference.text, _MEANINGS[0][3])
    remedy = "check that the path, the tag and the archive are right; 'skopeo inspect' shows what is there"
    return NexcageError("E_IMAGE", f"{doing} failed: {reason}", "image", reference.text, remedy)


def system_failure(reference: Reference, doing: str, error: OSError, folder: str) -> NexcageError:
    """The error for a system call of our own that failed."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space(reference, doing, folder)
    code = "E_PRIVILEGE" if error.errno in (errno.EACCES, errno.EPERM) else "E_STATE"
    return NexcageError(code, f"{doing} failed: {error.filename or folder}: {error.strerror}", "image", reference.text)


def too_slow(reference: Reference, doing: str, timeout: float) -> NexcageError:
    """The error for a tool that was ended because its time was up."""
    remedy = "check the registry and the disk, or raise the timeout"
    return NexcageError("E_TIMEOUT", f"{doing} took longer than {timeout:g} s", "image", reference.text, remedy)


def no_space(reference: Reference, doing: str, folder: str) -> NexcageError:
    """The error for a full disk. Where something half-made was removed, call it again afterwards."""
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    facts = {"folder": folder, "free_bytes": free, "free_inodes": space.f_favail, "doing": doing}
    files = f" and room for {space.f_favail} files" if space.f_files else ""  # some filesystems do not count
    text = f"no space left in {folder} while {doing}: {free / 1048576:.1f} MiB{files} are free there"
    return NexcageError("E_SPACE", text, "image", reference.text, f"free some space in {folder}", facts)
