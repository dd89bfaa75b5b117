# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH keys made for one test, what is signed with them, and trust files; all with the real ``ssh-keygen``."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager import package, packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import packages

PLUGIN, INDEX = "nexcage-plugin", "nexcage-index"
NOW = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
ACME = "release@acme.example"


def keygen(*arguments: str, data: bytes = b"") -> bytes:
    """Run ssh-keygen, which must succeed; its output."""
    return subprocess.run(["ssh-keygen", *arguments], input=data, capture_output=True, check=True).stdout


class Key:
    """A new key pair.

    Args:
        folder: Where it is put.
        name: Its file.
        kind: Its type, as ``ssh-keygen -t`` knows it.
    """

    def __init__(self, folder: pathlib.Path, name: str = "key", kind: str = "ed25519") -> None:
        self.path = folder / name
        keygen("-q", "-t", kind, "-N", "", "-C", "", "-f", str(self.path))

    @property
    def public(self) -> str:
        """Type and key, as in a ``.pub`` file."""
        return self.path.with_name(self.path.name + ".pub").read_text().strip()

    def sign(self, data: bytes, namespace: str = PLUGIN) -> bytes:
        """The armored signature, made as an author makes it."""
        return keygen("-Y", "sign", "-f", str(self.path), "-n", namespace, data=data)

    def line(self, principals: str = ACME, namespace: str | None = PLUGIN, *options: str) -> str:
        """A line for it in an ``allowed_signers`` file."""
        words = ([f'namespaces="{namespace}"'] if namespace else []) + list(options)
        return " ".join([principals, *([",".join(words)] if words else []), self.public]) + "\n"

    def revocation_list(self) -> bytes:
        """A KRL in which it is revoked."""
        path = self.path.with_suffix(".krl")
        keygen("-q", "-k", "-f", str(path), f"{self.path}.pub")
        return path.read_bytes()


def write_package(folder: pathlib.Path, key: Key | None = None, namespace: str = PLUGIN, name: str = "acme-sample", **fields: t.Any) -> pathlib.Path:
    """A small package in ``folder``, signed where a key is given."""
    document = packages.manifest(name, **fields)
    files = packages.files(document)
    path = folder / f"{name}-{document['version']}.nexcage-plugin"
    path.write_bytes(packing.pack(files, key.sign(packing.sums(files), namespace) if key else None))
    path.chmod(0o644)
    return path


def make_package(folder: pathlib.Path, key: Key | None = None, namespace: str = PLUGIN, name: str = "acme-sample", **fields: t.Any) -> package.Package:
    """The same, read back."""
    return package.load(str(write_package(folder, key, namespace, name, **fields)), 1 << 20)


class Trust:
    """The trust files of a private root.

    Args:
        root: That root; made where missing.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})
        self.folder = pathlib.Path(self.layout.configuration) / "trust"
        self.folder.mkdir(mode=0o755, parents=True)

    def write(self, name: str, content: str | bytes) -> pathlib.Path:
        """Write one of the files."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(0o644)
        return path

    def publishers(self, entries: dict[str, list[str]]) -> None:
        """Write ``publishers.json``: name or pattern to principals."""
        self.write("publishers.json", json.dumps({"schema_version": 1, "publishers": entries}))

    def trust(self, *lines: str) -> None:
        """Trust these signers, and the first principal with every name that begins with ``acme-``."""
        self.write("allowed_signers", "".join(lines))
        self.publishers({"acme-*": [ACME]})
