# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One private root for all tests that run modules; no file of tests may leave anything behind."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image import ImageStore
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import RUNTIMES, Host
from ansible_collections.nexcage.backends.tests.support.image_tools import make_store


@pytest.fixture(scope="session")
def session_host() -> t.Iterator[Host]:
    place = Host()
    try:
        with modules.nexcage_root(place.root):  # the first run makes folders and fetches the image
            place.start("warm", "crun", state="present")
            place.converge("warm", state="absent")
        yield place
    finally:
        place.remove()


@pytest.fixture(scope="module")
def host(session_host: Host) -> t.Iterator[Host]:
    with modules.nexcage_root(session_host.root):
        yield session_host
        assert session_host.clear() == []
        # settings, trust, grants, and the records of plugins with their version floors
        for folder in (session_host.layout.configuration, f"{session_host.layout.state}/plugins"):
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """What one test has left does not disturb the next one."""
    yield
    if "host" in request.fixturenames:
        place = request.getfixturevalue("host")
        if place.kept():
            place.clear()


@pytest.fixture(params=RUNTIMES)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: pathlib.Path) -> ImageStore:
    """An image store of its own."""
    return make_store(tmp_path)
