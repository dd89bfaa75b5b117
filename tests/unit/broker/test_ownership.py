# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can put another file in the place of one that we trust."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import ownership

pytestmark = pytest.mark.requires("root", "linux")
ROOT = (0,)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file in two folders, all of them root's."""
    path = tmp_path.resolve() / "a" / "b" / "file"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("")
    path.chmod(0o644)
    return path


def test_what_only_root_can_change(file: pathlib.Path) -> None:
    assert ownership.changeable(str(file)) == ""
    assert ownership.changeable(f"{file.parent}/../b/./file") == ""
    assert ownership.changeable("/") == ""


def group_writable(path: pathlib.Path) -> None:
    path.chmod(0o775)


def world_writable(path: pathlib.Path) -> None:
    path.chmod(0o757)


def foreign(path: pathlib.Path) -> None:
    os.chown(path, 65534, 0)


@pytest.mark.parametrize("spoil", [group_writable, world_writable, foreign])
@pytest.mark.parametrize("up", [0, 1, 2])
def test_a_flaw_anywhere_on_the_way(file: pathlib.Path, spoil: t.Callable[[pathlib.Path], None], up: int) -> None:
    place = (file, *file.parents)[up]
    spoil(place)
    assert ownership.changeable(str(file)) == str(place)


def test_another_trusted_owner(file: pathlib.Path) -> None:
    foreign(file)
    assert ownership.changeable(str(file), (0, 65534)) == ""


def test_a_sticky_folder_is_safe_on_the_way_and_not_at_the_end(file: pathlib.Path) -> None:
    file.parent.chmod(0o1777)
    assert ownership.changeable(str(file)) == ""
    assert ownership.changeable(str(file.parent)) == str(file.parent)
    foreign(file)
    assert ownership.changeable(str(file)) == str(file)


@pytest.mark.parametrize("relative", [True, False])
def test_what_a_link_leads_through_counts(file: pathlib.Path, relative: bool) -> None:
    other = file.parents[1] / "other"
    other.mkdir(mode=0o755)
    (other / "link").symlink_to("../b" if relative else file.parent)
    way = other / "link" / "file"
    assert ownership.changeable(str(way)) == ""
    file.parent.chmod(0o777)
    assert ownership.changeable(str(way)) == str(file.parent)
    file.parent.chmod(0o755)
    os.lchown(other / "link", 65534, 0)
    assert ownership.changeable(str(way)) == str(other / "link")


def test_a_circle_of_links(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        ownership.changeable(str(tmp_path / "a"))


def test_a_root_folder_that_others_own() -> None:
    assert ownership.changeable("/etc", (65534,)) == "/"


def test_a_missing_file(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        ownership.changeable(str(tmp_path / "missing"))
