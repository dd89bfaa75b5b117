# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator may write as ``image``, taken apart."""

from __future__ import annotations

import re
import typing as t

from ..model.errors import NexcageError

# The forms stand in containers-transports(5), the grammar of registry names in the reference
# package of the distribution project.
FORMS = "docker://REGISTRY[:PORT]/NAME[:TAG][@sha256:DIGEST], oci:PATH[:TAG], oci-archive:PATH[:TAG] or docker-archive:PATH[:REF]"
LOCAL_TRANSPORTS = ("oci", "oci-archive", "docker-archive")
OTHER_TRANSPORTS = ("containers-storage", "dir", "docker-daemon", "http", "https", "ostree", "sif", "tarball")

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[A-Fa-f0-9:]+\])(?::[0-9]{{1,5}})?")
_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"({_WORD}(?:/{_WORD})*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?")
_PIN = re.compile(r"@(sha256:[0-9a-f]{64})\Z")
_CREDENTIALS = re.compile(r"[^/@:\s]*:[^/@\s]*@(?!sha256:)")
_LONGEST = 4096  # PATH_MAX; names in a registry are far shorter


class Reference(t.NamedTuple):
    """One image reference.

    ``text`` as the operator typed it; ``transport`` docker, oci, oci-archive or docker-archive;
    ``location`` ``registry/name`` or an absolute path; ``tag`` and ``pin`` (``sha256:…``) or None.
    """

    text: str
    transport: str
    location: str
    tag: str | None
    pin: str | None

    def for_skopeo(self) -> str:
        """The name in skopeo's words. A pin outranks the tag: skopeo refuses both together."""
        if self.transport == "docker":
            return f"docker://{self.location}" + (f"@{self.pin}" if self.pin else f":{self.tag or 'latest'}")
        return f"{self.transport}:{self.location}" + (f":{self.tag}" if self.tag else "")

    def registry(self) -> str:
        """The registry's host and port; empty for a local transport."""
        return self.location.partition("/")[0] if self.transport == "docker" else ""


def mask(text: str) -> str:
    """``text`` with every ``user:password@`` replaced."""
    return _CREDENTIALS.sub("***@", text)


def parse(text: str) -> Reference:
    """Take a reference apart.

    ``registry.example.org/name:1`` means the same with ``docker://`` before it, as in podman and
    docker; a first component is a registry when it has a dot or a port, or is ``localhost``. A name
    without a registry is refused rather than guessed.

    Raises:
        NexcageError: E_INVALID for option ``image``, naming the forms; credentials are masked.
    """
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _LONGEST:
        raise _invalid(repr(text)[:80], "an image reference is one line of printable text")
    if _CREDENTIALS.search(text):
        raise _invalid(text, "an image reference carries no credentials", "log in with an authfile instead")
    pin = _PIN.search(text)
    bare = text[: pin.start()] if pin else text
    digest = pin.group(1) if pin else None
    transport, colon, rest = bare.partition(":")
    if colon and transport in LOCAL_TRANSPORTS:
        return _local(text, transport, rest, digest)
    if colon and transport in OTHER_TRANSPORTS:
        raise _invalid(text, f"the transport '{transport}' is not supported")
    if transport == "docker" and not rest.startswith("//"):
        raise _invalid(text, "a registry reference begins with 'docker://'")
    return _remote(text, rest[2:] if transport == "docker" else bare, digest)


def _local(text: str, transport: str, rest: str, pin: str | None) -> Reference:
    # the path ends at the first colon, as in containers/image: a path with a colon cannot be named
    path, _colon, tag = rest.partition(":")
    if not path.startswith("/"):
        raise _invalid(text, "the path of an image is absolute", f"write {transport}:/full/path[:tag]")
    return Reference(text, transport, path.rstrip("/") or "/", tag or None, pin)


def _remote(text: str, name: str, pin: str | None) -> Reference:
    host, slash, path = name.partition("/")
    registry = "." in host or ":" in host or host == "localhost"
    if not slash or not registry:
        known = _NAME.fullmatch(name)
        example = f"docker://docker.io/{name if slash else 'library/' + name}" if known else ""
        raise _invalid(
            text,
            "the reference names no registry, and short names are never guessed",
            f"write {example} if that is what you mean, or one of {FORMS}" if example else "",
        )
    if not _HOST.fullmatch(host):
        raise _invalid(text, f"'{host}' is no registry's host[:port]")
    match = _NAME.fullmatch(path)
    if match is None or len(match.group(1)) > 255:
        raise _invalid(text, f"'{path}' is no image's name[:tag][@sha256:64 hex digits] in lower case")
    return Reference(text, "docker", f"{host}/{match.group(1)}", match.group(2), pin)


def _invalid(text: str, message: str, remedy: str = "") -> NexcageError:
    return NexcageError("E_INVALID", mask(message), option="image", value=mask(text), remedy=remedy or f"write {FORMS}")
