# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every plugin promises, whatever it is."""

from __future__ import annotations

from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, packing


def test_the_package(content: packing.Content) -> None:
    data = packing.pack(content.files)
    assert packing.pack(dict(reversed(list(content.files.items())))) == data, "the same content gives other bytes"
    assert archive.read(data).files == content.files
    useful = content.manifest["provides_backend"] or content.manifest["hooks"]
    assert useful, "provides_backend is not true, so no task can name it as its backend, and there are no hooks: it is of no use"
