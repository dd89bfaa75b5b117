# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of skopeo and umoci that the image store needs."""

from __future__ import annotations

import os
import subprocess
import typing as t

from ..model.errors import NexcageError
from . import image_failure
from .image_process import Outcome, run
from .image_reference import Reference

# Where containers-policy.json(5) looks, the user's own first. {home} is the child's home folder.
POLICY_FILES = (
    "{home}/.config/containers/policy.json",
    "/etc/containers/policy.json",
    "/usr/share/containers/policy.json",
)
TEMPORARY = "/var/tmp"  # where skopeo unpacks a compressed archive to look into it
LAYOUT = "layout:image"  # the staged copy, relative to the staging folder


class Access(t.NamedTuple):
    """How a source is reached.

    ``authfile`` an absolute path or None; ``tls_verify`` True, False or None (the host's
    registries.conf decides, verified by default); ``timeout`` seconds for each single call;
    ``environment`` where home and proxies are taken from.
    """

    authfile: str | None
    tls_verify: bool | None
    timeout: float
    environment: t.Mapping[str, str]

    def options(self, side: str = "") -> list[str]:
        """The options for skopeo; ``side`` is ``src-`` for a copy.

        Raises:
            NexcageError: E_INVALID where ``authfile`` is not a file.
        """
        chosen: list[str] = []
        if self.authfile is not None:
            if not os.path.isfile(self.authfile) or not self.authfile.startswith("/"):
                raise NexcageError(
                    "E_INVALID",
                    "the file does not exist",
                    option="authfile",
                    value=self.authfile,
                    remedy="name a file on the managed host by its absolute path; 'skopeo login' writes one",
                )
            chosen += [f"--{side}authfile", self.authfile]
        if self.tls_verify is not None:
            chosen.append(f"--{side}tls-verify={'true' if self.tls_verify else 'false'}")
        return chosen


def policy_options(environment: t.Mapping[str, str]) -> list[str]:
    """Which signature policy skopeo follows.

    The operator's, where a file lies in one of the usual places, even one that cannot be read:
    skopeo then stops. Without any, skopeo would refuse every image; the images are then taken
    without asking for a signature, which is also what the distributions' own file says. TLS and
    digests are checked in any case.
    """
    for pattern in POLICY_FILES:
        path = pattern.replace("{home}", environment.get("HOME") or "/root")
        if os.path.lexists(path):
            return ["--policy", path]
    return ["--insecure-policy"]


def manifest(reference: Reference, access: Access) -> bytes:
    """The manifest or index that the source serves for ``reference``, byte by byte."""
    arguments = ["skopeo", "inspect", "--raw", *access.options(), reference.for_skopeo()]
    return _call(arguments, "asking for the image", reference, access, TEMPORARY).output


def copy(reference: Reference, access: Access, staging: str, system: t.Sequence[str]) -> None:
    """Copy the image for ``system`` (os, architecture, variant) into ``<staging>/layout``.

    The copy goes by the operator's reference, not by the digest found for it, so that a signature
    policy sees the tag it may demand.
    """
    name, architecture, variant = system
    arguments = ["skopeo", *policy_options(access.environment), "--tmpdir", staging]
    arguments += ["--override-os", name, "--override-arch", architecture]
    if variant:
        arguments += ["--override-variant", variant]
    arguments += ["copy", "--quiet", "--remove-signatures"]
    if reference.transport in ("oci", "oci-archive"):
        # keeps the digest; a layer out of a docker archive would keep a media type that is wrong for it
        arguments.append("--dest-oci-accept-uncompressed-layers")
    arguments += [*access.options("src-"), reference.for_skopeo(), "oci:" + LAYOUT]
    _call(arguments, "copying the image", reference, access, staging)


def decompress(reference: Reference, access: Access, staging: str) -> None:
    """Replace the staged layers by uncompressed ones: umoci before 0.5 knows gzip only."""
    base = ["skopeo", *policy_options(access.environment), "--tmpdir", staging, "copy", "--quiet"]
    plain = [*base, "--dest-decompress", "oci:" + LAYOUT, "dir:plain"]
    _call(plain, "decompressing the layers", reference, access, staging)
    back = [*base, "--dest-oci-accept-uncompressed-layers", "dir:plain", "oci:plain-" + LAYOUT]
    _call(back, "decompressing the layers", reference, access, staging)


def unpack(reference: Reference, access: Access, staging: str, layout: str) -> None:
    """Unpack the staged image into ``<staging>/rootfs``, with owners and extended attributes."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    arguments = ["umoci", "raw", "unpack", *rootless, "--image", layout, "rootfs"]
    _call(arguments, "unpacking the image", reference, access, staging)


def _call(arguments: list[str], doing: str, reference: Reference, access: Access, folder: str) -> Outcome:
    """Run a tool; every failure is an error that names the reference."""
    try:
        outcome = run(arguments, access.timeout, access.environment, folder)
    except subprocess.TimeoutExpired:
        raise image_failure.too_slow(reference, doing, access.timeout) from None
    if outcome.code != 0:
        text = outcome.errors or f"{arguments[0]} ended with code {outcome.code}"
        raise image_failure.tool_failure(reference, doing, text, folder.partition("/.new-")[0])
    return outcome
