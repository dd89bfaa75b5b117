# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of ours that others could change, or lead elsewhere by what lies above it."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import modules

MALLORY = 4711


@pytest.fixture
def way(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with two above it that are ours."""
    folder = tmp_path / "one/two/three"
    folder.mkdir(parents=True)
    return folder


def refused(folder: pathlib.Path) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        store.refuse_others(str(folder))
    assert caught.value.code == "E_STATE" and str(caught.value.value) in caught.value.message and caught.value.remedy
    return caught.value


@pytest.mark.parametrize("part", ["one", "one/two", "one/two/three"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_written_by_others(way: pathlib.Path, tmp_path: pathlib.Path, part: str, mode: int) -> None:
    store.refuse_others(str(way))
    guilty = tmp_path / part
    guilty.chmod(mode)
    if mode == 0o1777 and guilty != way:  # others cannot replace what is not theirs there
        store.refuse_others(str(way))
        return
    assert refused(way).value == str(guilty)
    guilty.chmod(0o755)
    store.refuse_others(str(way))


@pytest.mark.requires("root")
@pytest.mark.parametrize("part", ["one", "one/two", "one/two/three"])
def test_of_somebody_else(way: pathlib.Path, tmp_path: pathlib.Path, part: str) -> None:
    os.chown(tmp_path / part, MALLORY, 0)
    error = refused(way)
    assert error.value == str(tmp_path / part) and f"chown -h {os.geteuid()} {tmp_path / part}" in str(error.remedy)
    os.chown(tmp_path / part, 0, MALLORY)  # a group that may not write
    store.refuse_others(str(way))


@pytest.mark.requires("root")
def test_what_is_not_there_yet(way: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.refuse_others(str(way / "four/five"))
    os.chown(tmp_path / "one/two", MALLORY, 0)
    refused(way / "four/five")
    os.chown(way.parent, 0, 0)
    (way / "four").write_text("a file")
    store.refuse_others(str(way / "four/five"))  # whoever makes it says what is wrong with it


@pytest.mark.requires("root")
def test_through_a_link(way: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("one/two")
    store.refuse_others(str(link / "three"))
    store.refuse_others(str(link / "three/four"))
    os.chown(link, MALLORY, 0, follow_symlinks=False)
    assert refused(link / "three").value == str(link)
    os.chown(link, 0, 0, follow_symlinks=False)
    os.chown(tmp_path / "one", MALLORY, 0)
    assert refused(link / "three").value == str(tmp_path / "one")
    os.chown(tmp_path / "one", 0, 0)
    store.refuse_others(str(link / "three"))


def test_links_that_lead_too_far(way: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "up").symlink_to("one/../one/two")
    assert refused(tmp_path / "up/three").value == str(tmp_path / "up")
    (tmp_path / "one/back").symlink_to("../one/two")
    store.refuse_others(str(tmp_path / "one/back/three"))
    (tmp_path / "all").symlink_to(way)
    store.refuse_others(str(tmp_path / "all"))
    (tmp_path / "all/self").symlink_to("self")
    assert refused(way / "self").value == str(way / "self")
    way.chmod(0o777)
    for path in ("all", "one/back/three"):
        assert refused(tmp_path / path).value == str(way)


@pytest.mark.requires("root", "linux")
@pytest.mark.parametrize("module", ["nexcage_container", "nexcage_plugin"])
def test_a_task_is_not_led_astray(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """Root's own folders lie below one of somebody else, who could put others in their place."""
    root = tmp_path / "home/root"
    root.mkdir(parents=True)
    monkeypatch.setenv("NEXCAGE_ROOT", str(root))
    given: dict[str, t.Any] = {"name": "web" if module == "nexcage_container" else "acme-backend", "state": "absent"}
    assert modules.works(module, **given)["changed"] is False
    before = sorted(map(str, root.rglob("*")))
    os.chown(tmp_path / "home", MALLORY, 0)
    result = modules.fails(module, **given)
    assert result["error"]["code"] == "E_STATE" and result["error"]["value"] == str(tmp_path / "home")
    assert sorted(map(str, root.rglob("*"))) == before
    os.chown(tmp_path / "home", 0, 0)
    assert modules.works(module, **given)["changed"] is False
