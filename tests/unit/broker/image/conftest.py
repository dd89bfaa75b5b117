# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What several tests of the image store need."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import image_skopeo
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import images
from ansible_collections.nexcage.backends.tests.support.image_tools import Tools


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    fake = Tools()
    monkeypatch.setattr(image_skopeo, "run", fake.run)
    return fake


@pytest.fixture
def store(tmp_path: pathlib.Path) -> ImageStore:
    return ImageStore(Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)}), {"HOME": str(tmp_path)})


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> images.Layout:
    return images.Layout(tmp_path / "source")
