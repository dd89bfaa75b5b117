# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of signed packages with its index, and a host that trusts both signers."""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager import index
from ansible_collections.nexcage.backends.tests.support import modules, signing

PRINCIPAL = "mirror@acme.example"
DAY = 86400.0


class Mirror:
    """What a publisher puts onto a web server.

    Args:
        folder: Where the packages lie.
        key: Signs packages.
        index_key: Signs the index.
        trust: Of the host that reads it.
    """

    def __init__(self, folder: pathlib.Path, key: signing.Key, index_key: signing.Key, trust: signing.Trust) -> None:
        self.folder = folder
        self.key = key
        self.index_key = index_key
        self.trust = trust
        self.url = f"file://{folder}/{index.FILE}"

    def add(self, name: str = "acme-sample", **fields: t.Any) -> pathlib.Path:
        """Put a package there."""
        return signing.write_package(self.folder, self.key, name=name, **fields)

    def run(self, **options: t.Any) -> modules.Result:
        """Run the module that makes the index, as its publisher does; it may fail."""
        parameters = {"path": str(self.folder), "key": str(self.index_key.path), "name": "acme", **options}
        with modules.nexcage_root(self.folder.parent / "publisher"):
            return modules.run("nexcage_plugin_index", **parameters)

    def publish(self, **options: t.Any) -> modules.Result:
        """Make the index, which must succeed."""
        result = self.run(**options)
        assert not result.get("failed"), result.get("msg")
        return result

    def rewrite(self, change: t.Callable[[dict[str, t.Any]], object], key: signing.Key | None = None, namespace: str = signing.INDEX) -> None:
        """Change the index by hand and sign it, as somebody with a key could."""
        path = self.folder / index.FILE
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        (self.folder / index.SIGNATURE_FILE).write_bytes((key or self.index_key).sign(path.read_bytes(), namespace))

    def files(self) -> dict[str, bytes]:
        """All that a web server serves, by name."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.is_file()}

    def read(self, url: str = "", after: float = 0.0, **options: t.Any) -> index.Index:
        """Read it as the host does, so many seconds from now."""
        return index.read(url or self.url, self.trust.layout, time.time() + after, **options)


def make(folder: pathlib.Path) -> Mirror:
    """A mirror without packages."""
    place = folder / "mirror"
    place.mkdir()
    key, index_key = signing.Key(folder, "packages"), signing.Key(folder, "index")
    host = signing.Trust(folder / "root")
    host.trust(key.line())
    host.write("index_signers", index_key.line(PRINCIPAL, signing.INDEX))
    return Mirror(place, key, index_key, host)
