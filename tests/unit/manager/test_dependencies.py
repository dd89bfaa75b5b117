# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Presence, range, order and cycles of plugins that need each other."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dependencies
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st


def manifests(**needs: list[t.Any]) -> dict[str, dict[str, t.Any]]:
    """Plugins of version 1.2.3 by name."""
    return {name: {"name": name, "version": "1.2.3", "dependencies": wanted} for name, wanted in needs.items()}


def test_what_is_needed_comes_first() -> None:
    known = manifests(web=["log", {"name": "net", "version": ">=1,<2"}], net=["log"], log=[], other=["web"])
    assert dependencies.order(["web"], known) == ["log", "net", "web"]
    assert dependencies.order(known, known) == ["log", "net", "web", "other"]
    assert dependencies.dependants("log", known) == ["net", "web"] and dependencies.dependants("other", known) == []
    dependencies.check("web", known)


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"web": ["log"]}, "web needs the plugin log, which is not installed"),
        ({"web": [{"name": "log", "version": ">=2"}]}, "web needs the plugin log >=2, which is not installed"),
        ({"web": [{"name": "log", "version": ">=2"}], "log": []}, "web needs log >=2, and 1.2.3 is installed"),
        ({"web": ["net"], "net": [{"name": "log", "version": "<1"}], "log": []}, "net needs log <1, and 1.2.3 is installed"),
        ({"web": ["web"]}, "web -> web"),
        ({"web": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
    ],
)
def test_case_91_cycle_missing_or_wrong_range(needs: dict[str, list[t.Any]], said: str) -> None:
    with pytest.raises(NexcageError) as caught:
        dependencies.check("web", manifests(**needs))
    assert caught.value.code == "E_DEPENDENCY" and said in caught.value.message and caught.value.remedy


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_each_plugin_after_what_it_needs(pairs: list[tuple[int, int]]) -> None:
    needs: dict[str, list[t.Any]] = {f"p{number}": [] for number in range(10)}
    for first, second in pairs:
        if first > second and f"p{second}" not in needs[f"p{first}"]:  # without circles
            needs[f"p{first}"].append(f"p{second}")
    found = dependencies.order(needs, manifests(**needs))
    assert sorted(found) == sorted(needs)
    assert all(found.index(other) < found.index(name) for name, wanted in needs.items() for other in wanted)
