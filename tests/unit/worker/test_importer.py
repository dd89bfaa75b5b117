# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imports from memory."""

from __future__ import annotations

import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import importer


@pytest.fixture
def memory() -> t.Iterator[importer.MemoryImporter]:
    """An importer that is asked first, and forgotten with all it imported."""
    made = importer.MemoryImporter({"nxtest.inner.a": "from .b import VALUE\nNAME = __name__", "nxtest.inner.b": "VALUE = 3"})
    sys.meta_path.insert(0, made)
    yield made
    sys.meta_path.remove(made)
    for name in [name for name in sys.modules if name.partition(".")[0] == "nxtest"]:
        del sys.modules[name]


@pytest.mark.usefixtures("memory")
def test_packages_and_relative_imports() -> None:
    module = __import__("nxtest.inner.a", fromlist=["a"])
    assert (module.VALUE, module.NAME) == (3, "nxtest.inner.a")
    assert module.__spec__.origin == "<a.py>"


@pytest.mark.usefixtures("memory")
def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        __import__("nxtest.inner.c")
    with pytest.raises(ModuleNotFoundError):
        __import__("nxtes")


def test_a_standard_name_can_be_no_plugins_file(memory: importer.MemoryImporter) -> None:
    assert memory.find_spec("json") is None


def test_start_hands_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    try:
        importer.start({"nxtest.worker.bootstrap": "SEEN = []\ndef main(memory):\n    SEEN.append(memory)"})
        (memory,) = sys.modules["nxtest.worker.bootstrap"].SEEN
        assert isinstance(memory, importer.MemoryImporter)
    finally:
        for name in ("nxtest", "nxtest.worker", "nxtest.worker.bootstrap"):
            sys.modules.pop(name, None)
