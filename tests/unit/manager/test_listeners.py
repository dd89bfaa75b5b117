# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that says who listens: written with the plugins, killed at every step, and never short of one that counts."""

from __future__ import annotations

import itertools
import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import install, listeners, records
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import Hook
from ansible_collections.nexcage.backends.tests.support import releases

NAME = "demo-backend"
ROW = {"event": "container.pre_create", "priority": "high", "timeout_ms": 100, "strategy": "abort"}
OTHER = {"event": "container.post_create"}


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})


def bring(layout: Layout, name: str = NAME, *rows: dict[str, t.Any], version: str = "1.0.0") -> None:
    content = releases.data(name, version, hooks=list(rows))
    install.activate(layout, name, releases.release(content, name, version), content)


def heard(layout: Layout) -> dict[str, list[str]]:
    return {name: [hook.event for hook in hooks] for name, hooks in listeners.read(layout).items()}


def test_the_file_is_there_where_a_plugin_listens(layout: Layout) -> None:
    bring(layout, "silent-backend")
    assert not pathlib.Path(listeners.path(layout)).exists() and listeners.read(layout) == {}
    bring(layout, NAME, ROW)
    assert listeners.read(layout) == {NAME: [Hook(NAME, "container.pre_create", "high", 100, "abort")]}
    bring(layout, "other-backend", OTHER)
    bring(layout, NAME, OTHER, version="1.1.0")
    assert heard(layout) == {NAME: ["container.post_create"], "other-backend": ["container.post_create"]}
    bring(layout, NAME, version="1.2.0")
    assert heard(layout) == {"other-backend": ["container.post_create"]}
    install.deactivate(layout, "other-backend")
    assert not pathlib.Path(listeners.path(layout)).exists()


def test_what_a_removed_plugin_left_goes_with_the_next_change(layout: Layout) -> None:
    bring(layout, NAME, ROW)
    listeners.announce(layout, "gone-backend", [Hook("gone-backend", "system.startup")])
    assert sorted(heard(layout)) == [NAME, "gone-backend"]
    bring(layout, "other-backend", OTHER)
    assert sorted(heard(layout)) == [NAME, "other-backend"]


class Killed(BaseException):
    """The run ends here."""


@pytest.mark.parametrize("change", ["install", "update", "remove"])
def test_killed_at_each_step_it_names_whoever_listens(layout: Layout, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Each write of a file in turn is the last thing that a run does."""
    events = {"1.0.0": "container.pre_create", "1.1.0": "container.post_create"}
    write, step = store.atomic_write, 0
    killed = True
    while killed:
        place = Layout.for_user(0, {"NEXCAGE_ROOT": f"{layout.state}/{step}"})
        if change != "install":
            bring(place, NAME, ROW)
        left = itertools.count(-step)

        def dying(*given: t.Any, left: t.Iterator[int] = left, **named: t.Any) -> None:
            if next(left) == 0:
                raise Killed
            write(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(store, "atomic_write", dying)
            try:
                if change == "remove":
                    install.deactivate(place, NAME)
                else:
                    bring(place, NAME, OTHER, version="1.1.0")
                killed = False
            except Killed:
                pass
        record = records.read(place, NAME)
        if record is not None and record.active is not None:
            assert events[record.active.version] in heard(place)[NAME], step
        step += 1
    assert step >= 3


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"schema_version": 2, "plugins": {}}',
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "plugins": []}',
        b'{"schema_version": 1, "plugins": {"a": [{}]}}',
        *(
            json.dumps({"schema_version": 1, "plugins": {"a": [{**ROW, key: value}]}}).encode()
            for key, value in (("event", "x"), ("priority", "x"), ("strategy", "x"), ("timeout_ms", "x"), ("timeout_ms", None))
        ),
    ],
)
def test_a_damaged_file_is_not_taken_for_an_empty_one(layout: Layout, content: bytes) -> None:
    bring(layout, NAME, ROW)
    pathlib.Path(listeners.path(layout)).write_bytes(content)
    with pytest.raises(NexcageError) as refused:
        listeners.read(layout)
    assert refused.value.code == "E_STATE" and listeners.path(layout) in str(refused.value)
    pathlib.Path(listeners.path(layout)).write_text(json.dumps({"schema_version": 1, "plugins": {"a": [ROW]}}))
    assert heard(layout) == {"a": ["container.pre_create"]}
