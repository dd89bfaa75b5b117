# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The local store of unpacked images: what is there, and the way to what is not.

``<state>/images/references.json`` says which reference stands for which manifest digest,
``<state>/images/<hex of the digest>/`` holds ``rootfs/`` and ``image.json``. A folder of that name
is always complete: it appears by one rename. This file is all that a converged run imports;
whatever asks a registry or writes lies in the other ``image_*`` files.
"""

from __future__ import annotations

import json
import os
import typing as t

from ..model.config import Layout
from ..model.errors import NexcageError

PULL_POLICIES = ("missing", "always", "never")


class ImageStore:
    """The images of one host and user.

    Args:
        layout: The folders; only ``state`` and ``runtime`` are used.
        environment: Where the home folder and the proxy variables for child processes are taken
            from; that of this process where not given.
    """

    SCHEMA_VERSION = 1

    def __init__(self, layout: Layout, environment: t.Mapping[str, str] | None = None) -> None:
        self.layout = layout
        self.environment: t.Mapping[str, str] = os.environ if environment is None else environment
        self.folder = layout.state + "/images"
        self.references_file = self.folder + "/references.json"
        self.found: dict[str, str] = {}  # what resolve() was told and ensure() need not ask again

    def resolve(
        self,
        reference: str,
        pull: str = "missing",
        authfile: str | None = None,
        tls_verify: bool | None = None,
        timeout: float = 60.0,
    ) -> dict[str, t.Any]:
        """Say which image ``reference`` stands for, changing nothing.

        ``missing`` and ``never`` look into the local store; what is not there is read from a local
        layout or archive, while a registry is asked only by ``always``. A known reference with a
        digest pin is never asked for again, because it cannot change.

        Returns:
            ``reference`` as given, ``digest`` (``sha256:…`` of the platform's manifest, None where
            only a registry could tell) and ``present`` (its root filesystem is in the store).

        Raises:
            NexcageError: E_INVALID for the reference or ``pull``; with ``always`` everything that
                :meth:`ensure` raises before it writes.
        """
        digest = self.known(reference, pull)
        if digest is None:
            from .image_reference import parse

            parsed = parse(reference)
            if pull == "always" or (pull == "missing" and parsed.transport != "docker"):
                from .image_skopeo import Access
                from .image_source import find

                digest = self.found[reference] = find(parsed, Access(authfile, tls_verify, timeout, self.environment))
        return {"reference": reference, "digest": digest, "present": digest is not None and self.has(digest)}

    def ensure(
        self,
        reference: str,
        pull: str = "missing",
        authfile: str | None = None,
        tls_verify: bool | None = None,
        timeout: float = 600.0,
    ) -> dict[str, t.Any]:
        """Bring the image into the store, once per manifest digest.

        Args:
            reference: ``oci:PATH[:tag]``, ``oci-archive:PATH[:tag]``, ``docker-archive:PATH[:ref]``
                or ``docker://host[:port]/name[:tag]``, each with an optional ``@sha256:…``.
            pull: ``missing``, ``always`` (ask where the reference points now) or ``never``.
            authfile: Registry credentials in containers-auth.json(5) format; skopeo's own default
                places where not given.
            tls_verify: True or False; None verifies unless the host's registries.conf lists the
                registry as insecure, as podman does.
            timeout: Seconds for each single step (ask, copy, unpack), and for waiting for another
                run that brings the same image.

        Returns:
            ``digest``, ``path`` (absolute path of the unpacked root filesystem, never to be
            written to), ``config`` (as :meth:`configuration`) and ``changed``.

        Raises:
            NexcageError: E_INVALID, E_IMAGE, E_REGISTRY, E_SPACE, E_TIMEOUT, E_POLICY, E_BINARY,
                E_LOCKED; all name option ``image`` and the reference. Nothing half-made stays.
        """
        digest = self.known(reference, pull)
        changed = False
        if digest is None or not self.has(digest):
            from .image_reference import parse

            parsed = parse(reference)
            if pull == "never":
                raise NexcageError(
                    "E_IMAGE",
                    "the image is not in the local store, and pull is 'never'",
                    option="image",
                    value=reference,
                    remedy="allow the pull with 'pull: missing', or bring the image to the host first",
                )
            from .image_pull import fetch
            from .image_skopeo import Access

            digest, changed = fetch(self, parsed, Access(authfile, tls_verify, timeout, self.environment))
        path = self.path(digest) + "/rootfs"
        return {"digest": digest, "path": path, "config": self.configuration(digest), "changed": changed}

    def configuration(self, digest: str) -> dict[str, t.Any]:
        """The image's configuration with the OCI names: ``Entrypoint`` and ``Cmd`` (list of str),
        ``Env`` (list of ``NAME=value``), ``WorkingDir``, ``User``, ``StopSignal`` (str), ``Labels``
        (dict of str), ``Volumes`` and ``ExposedPorts`` (sorted list of str). All are always there,
        empty where the image says nothing (OCI image specification, config.md).

        Raises:
            NexcageError: E_NOT_FOUND where the store has no such image, E_STATE where its record
                cannot be read.
        """
        record = self._read(self.path(digest) + "/image.json")
        if record is None:
            raise NexcageError("E_NOT_FOUND", f"the local store has no image {digest}", option="image", value=digest)
        configuration: dict[str, t.Any] = record["config"]
        return configuration

    def references(self) -> dict[str, str]:
        """Every known reference, as it was typed, and the manifest digest it stands for."""
        content = self._read(self.references_file) or {}
        known: dict[str, str] = content.get("references", {})
        return known

    def known(self, reference: str, pull: str) -> str | None:
        """The digest that the store alone can answer for, or None where the source has to tell."""
        if pull not in PULL_POLICIES:
            raise NexcageError("E_INVALID", f"pull is one of {', '.join(PULL_POLICIES)}", option="pull", value=pull)
        pinned = reference[-72:-64] == "@sha256:"
        if pull == "always" and not pinned:
            return None
        return self.references().get(reference)

    def has(self, digest: str) -> bool:
        """Whether the image of that manifest digest is unpacked in the store."""
        return os.path.exists(self.path(digest) + "/image.json")

    def path(self, digest: str) -> str:
        """The absolute folder of an image.

        Raises:
            NexcageError: E_INVALID for anything but ``sha256:`` and 64 lower-case hex digits.
        """
        name = digest[7:]
        if digest[:7] != "sha256:" or len(name) != 64 or name.strip("0123456789abcdef"):
            raise NexcageError("E_INVALID", "a digest is 'sha256:' and 64 hex digits", option="image", value=digest)
        return f"{self.folder}/{name}"

    def _read(self, path: str) -> dict[str, t.Any] | None:
        """One of the store's JSON files; None where it does not exist."""
        try:
            with open(path, "rb") as stream:
                content = json.loads(stream.read())
        except FileNotFoundError:
            return None
        except PermissionError:
            raise NexcageError("E_PRIVILEGE", f"{path} may not be read", option="image") from None
        except ValueError:
            content = None
        if not isinstance(content, dict) or content.get("schema_version") != self.SCHEMA_VERSION:
            raise NexcageError(
                "E_STATE",
                f"{path} is damaged, or of a later version of the collection",
                option="image",
                remedy="use the version that wrote it; if the file is damaged, remove it: the image is then brought again",
            )
        return content
