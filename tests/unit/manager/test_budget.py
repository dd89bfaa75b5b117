# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the workers of one run may use together."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager.budget import Budget
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


def budget(root: pathlib.Path, **chosen: t.Any) -> Budget:
    """One with these settings in ``plugin_manager``."""
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})
    if chosen:
        folder = pathlib.Path(layout.configuration)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"plugin_manager": chosen}), encoding="utf-8")
    return Budget(layout)


def needs(memory: int = 64, cpu: int = 1, **more: t.Any) -> dict[str, t.Any]:
    return {"max_memory_mb": memory, "max_cpu_percent": cpu, **more}


def refused(found: Budget, name: str, requirements: dict[str, t.Any]) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        found.enter(name, requirements)
    assert caught.value.code == "E_LIMIT"
    return caught.value


def test_one_worker_gets_what_it_asks_for(tmp_path: pathlib.Path) -> None:
    assert budget(tmp_path).enter("crun-backend", needs(128, 10, timeout_seconds=60)) == (needs(128, 10, timeout_seconds=60), [])
    assert budget(tmp_path).enter("crun-backend", {}) == (needs(64, 5), [])


def test_and_at_most_the_whole(tmp_path: pathlib.Path) -> None:
    assert budget(tmp_path).enter("a", needs(4096, 100)) == (needs(512, 10), [])
    assert budget(tmp_path).enter("a", needs(1, 1)) == (needs(64, 1), [])


def test_idle_workers_make_room_the_longest_idle_first(tmp_path: pathlib.Path) -> None:
    found = budget(tmp_path)
    for name in ("a", "b", "c"):
        assert found.enter(name, needs(150))[1] == []
        with found.at_work(name):
            pass
    with found.at_work("a"):
        pass
    assert found.enter("d", needs(300))[1] == ["b", "c"]
    assert found.enter("e", needs(60))[1] == ["a"]  # 150 of a, 300 of d and at least 64 are more than 512
    assert found.enter("f", needs(64))[1] == []


def test_a_busy_worker_is_not_ended(tmp_path: pathlib.Path) -> None:
    found = budget(tmp_path)
    found.enter("a", needs(300))
    found.enter("b", needs(100))
    with found.at_work("a"):
        assert found.enter("c", needs(200))[1] == ["b"]
        error = refused(found, "d", needs(400))
        assert error.message == "a worker for d needs 400 MiB, and all workers together may use 512 MiB (a has 300 MiB)"
        assert (error.option, error.value) == ("plugin_manager.memory_limit_mb", 512)
        assert "raise plugin_manager.memory_limit_mb in " in error.remedy
        assert found.enter("d", needs(212))[1] == ["c"]  # the refusal took nothing from anybody
    assert found.enter("e", needs(400))[1] == ["d", "a"]  # a was at work last


def test_the_processor_is_shared_too(tmp_path: pathlib.Path) -> None:
    found = budget(tmp_path)
    found.enter("crun-backend", needs(cpu=10))
    with found.at_work("crun-backend"):
        error = refused(found, "hook", needs(cpu=5))
        assert error.option == "plugin_manager.cpu_limit_percent"
        assert error.message == "a worker for hook needs 5 %, and all workers together may use 10 % (crun-backend has 10 %)"
    assert found.enter("hook", needs(cpu=5))[1] == []  # beside one that only waits
    with found.at_work("hook"), found.at_work("hook"):
        for name in ("crun-backend", "crun-backend"):
            with pytest.raises(NexcageError) as caught, found.at_work(name):
                pytest.fail("both at work")
            assert caught.value.option == "plugin_manager.cpu_limit_percent"
            assert caught.value.message == "a worker for crun-backend needs 10 %, and all workers together may use 10 % (hook has 5 %)"
    with found.at_work("crun-backend"):
        pass
    found = budget(tmp_path, cpu_limit_percent=15)
    found.enter("crun-backend", needs(cpu=10))
    with found.at_work("crun-backend"):
        assert found.enter("hook", needs(cpu=5))[1] == []


def test_a_share_that_is_given_back(tmp_path: pathlib.Path) -> None:
    found = budget(tmp_path)
    found.enter("a", needs(512))
    with found.at_work("a"):
        refused(found, "b", needs())
        found.leave("a")
        found.leave("a")
        assert found.enter("b", needs()) == (needs(), [])


def test_less_than_an_interpreter_needs(tmp_path: pathlib.Path) -> None:
    error = refused(budget(tmp_path, memory_limit_mb=63), "a", needs(1))
    assert error.option == "plugin_manager.memory_limit_mb"
    assert error.message == "a worker for a needs 64 MiB, and all workers together may use 63 MiB"
    assert budget(tmp_path, memory_limit_mb=64).enter("a", needs(1)) == (needs(64), [])


@pytest.mark.parametrize(("chosen", "key"), [({"memory_limit_mb": 0}, "memory_limit_mb"), ({"cpu_limit_percent": "10"}, "cpu_limit_percent")])
def test_a_setting_out_of_range(chosen: dict[str, t.Any], key: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(NexcageError) as caught:
        budget(tmp_path, **chosen).enter("a", needs())
    assert caught.value.code == "E_INVALID"
    assert key in str(caught.value)


def test_other_settings_of_the_manager_leave_the_defaults(tmp_path: pathlib.Path) -> None:
    assert budget(tmp_path, max_plugins=5).enter("a", needs(600, 20)) == (needs(512, 10), [])
