# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private memory of a plugin."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.state import State
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import EFFECTS, STATE_QUOTA
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})


def put(state: State, key: str, value: object) -> None:
    checks = EFFECTS["state.put"].parameters
    state.put({"key": key, "value": checks["value"]("value", value)})


def test_values_come_back_and_none_removes_them(layout: Layout) -> None:
    state = State(layout, "crun-backend")
    assert state.get({"key": "a"}) is None
    assert not os.path.exists(layout.state), "a read makes nothing"
    put(state, "a", {"list": [1, None, "ü"]})
    put(state, "b", 2.5)
    assert State(layout, "crun-backend").get({"key": "a"}) == {"list": [1, None, "ü"]}
    put(state, "a", None)
    put(state, "never", None)
    assert (state.get({"key": "a"}), state.get({"key": "b"})) == (None, 2.5)


def test_no_plugin_sees_another_ones_values(layout: Layout) -> None:
    put(State(layout, "crun-backend"), "a", 1)
    assert State(layout, "runc-backend").get({"key": "a"}) is None
    for name in ("../crun-backend", "a/b", "", ".."):
        with pytest.raises(NexcageError):
            State(layout, name)


def test_file_and_folder_are_private(layout: Layout) -> None:
    put(State(layout, "crun-backend"), "a", 1)
    path = pathlib.Path(layout.state, "plugins", "crun-backend", "private.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(path.read_text()) == {"schema_version": 1, "values": {"a": 1}}


def test_the_quota_holds_over_all_keys_and_keeps_what_was_there(layout: Layout) -> None:
    state = State(layout, "crun-backend")
    put(state, "a", "x" * 40_000)
    with pytest.raises(NexcageError, match=f"and {STATE_QUOTA} are allowed") as refused:
        put(state, "b", "x" * 40_000)
    assert refused.value.code == "E_LIMIT"
    assert len(state.get({"key": "a"})) == 40_000
    assert state.get({"key": "b"}) is None
    put(state, "a", "y" * 60_000)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 2, "values": {}}', '{"schema_version": 1, "values": []}', "{}"])
def test_a_damaged_or_later_file_is_refused_and_left_alone(layout: Layout, content: str) -> None:
    path = pathlib.Path(layout.state, "plugins", "crun-backend", "private.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    state = State(layout, "crun-backend")
    with pytest.raises(NexcageError) as refused:
        state.get({"key": "a"})
    assert refused.value.code == "E_STATE"
    with pytest.raises(NexcageError):
        put(state, "a", 1)
    assert path.read_text() == content
