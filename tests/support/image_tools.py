# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image store of its own, and something in memory in the place of its programs."""

from __future__ import annotations

import json
import pathlib
import shutil
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_process import Outcome
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import images

CONVERTED = "converted"


def make_store(folder: pathlib.Path, **environment: str) -> ImageStore:
    """The real one."""
    return ImageStore(Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "a host")}), {"HOME": str(folder), **environment})


class Tools:
    """skopeo and umoci as far as the store can tell: the copy copies the layout, unpacking makes a folder."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.hooks: dict[str, t.Callable[[pathlib.Path], object]] = {}  # doing -> called in the staging folder

    def run(self, arguments: list[str], timeout: float, environment: t.Mapping[str, str], folder: str) -> Outcome:
        self.calls.append(arguments)
        doing = next(word for word in ("--dest-decompress", "inspect", "copy", "unpack") if word in arguments)
        here = pathlib.Path(folder)
        source, target = arguments[-2:]
        if doing == "copy":
            name = target[4:].partition(":")[0]
            if source.startswith("oci:/"):
                path, _colon, tag = source[4:].partition(":")
                shutil.copytree(path, here / name)
                index = json.loads((here / name / "index.json").read_bytes())
                index["manifests"] = [entry for entry in index["manifests"] if tag in ("", entry["annotations"][images.TAG])]
                (here / name / "index.json").write_text(json.dumps(index))
            else:
                (here / name).mkdir()
        elif doing == "--dest-decompress":
            (here / "plain").mkdir()
        elif doing == "unpack":
            (here / "rootfs").mkdir()
            (here / "rootfs/hello").write_text("hello")
        answer = self.hooks[doing](here) if doing in self.hooks else b""
        return Outcome(0, answer, "") if isinstance(answer, bytes) else Outcome(1, b"", str(answer))

    def started(self) -> list[str]:
        return [next(word for word in ("--dest-decompress", "inspect", "copy", "unpack") if word in call) for call in self.calls]
