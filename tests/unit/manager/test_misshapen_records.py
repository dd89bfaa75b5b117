# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record that root has written into: what cannot be understood is a refusal that names the file, and nothing stands in the way of a removal."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support import world as worlds

NUMBER, TEXT, TEXTS, WORDS, FLAG = 7, "x", ["x"], {"a": "x"}, True
LIMITS: dict[str, t.Any] = {"nofile": [1, 2]}
MOUNTS = [
    {"type": "bind", "source": "/a", "target": "/b", "read_only": True, "options": []},
    {"type": "tmpfs", "target": "/c", "read_only": False, "options": ["x"]},
]
VALUES: tuple[t.Any, ...] = (NUMBER, TEXT, TEXTS, WORDS, FLAG, LIMITS, MOUNTS)
RIGHT = {
    **dict.fromkeys("image bundle working_dir user hostname cpuset_cpus cpuset_mems seccomp_profile network_mode".split(), TEXT),
    **dict.fromkeys("memory memory_swap cpus cpu_shares pids_limit stop_signal stop_timeout".split(), NUMBER),
    **dict.fromkeys("command entrypoint groups cap_add cap_drop".split(), TEXTS),
    **dict.fromkeys("env secret_env labels annotations".split(), WORDS),
    **dict.fromkeys("privileged no_new_privileges read_only init".split(), FLAG),
    "ulimits": LIMITS,
    "mounts": MOUNTS,
}
WRONG: dict[str, tuple[t.Any, ...]] = {
    "ulimits": ({"nofile": 1}, {"nofile": [1]}, {"nofile": [1, "2"]}),
    "mounts": ([7], [{}], [{**MOUNTS[0], "target": 7}], [{**MOUNTS[0], "read_only": 0}], [{**MOUNTS[0], "options": None}]),
    "command": ([7], [None]),
    "env": ({"A": 7}, {"A": None}, []),
    "memory": (1.5, False),
    "privileged": (0, 1),
}


@pytest.mark.parametrize("name", [option.name for option in options.SPEC_OPTIONS])
def test_every_option_has_one_shape(name: str) -> None:
    assert options.misshapen({name: RIGHT[name]}) == "" == options.misshapen({name: None})
    for value in (*VALUES, *WRONG.get(name, ())):
        fits = value is RIGHT[name] or (RIGHT[name] is WORDS and value is WORDS)
        assert (options.misshapen({"image": TEXT, name: value}) == "") is fits, value
        assert fits or f"spec.{name} " in options.misshapen({name: value})


def test_what_is_no_option() -> None:
    assert "spec.nope is no option" in options.misshapen({"nope": 1}) and "spec.state is no option" in options.misshapen({"state": "x"})


def test_what_tasks_say_has_the_shape(tmp_path: pathlib.Path) -> None:
    given = {
        "name": "web",
        "image": "a",
        "command": "a b",
        "env": {"A": "1"},
        "secret_env": {"B": "2"},
        "memory": "1g",
        "cpus": "1.5",
        "ulimits": ["nofile=1:2"],
    }
    more = {"tmpfs": ["/x"], "volumes": ["/a:/b:ro"], "cap_add": ["ALL"], "stop_signal": "TERM", "labels": {"a": 1}, "privileged": True, "pids_limit": -1}
    parameters = {**{name: entry.get("default") for name, entry in options.argument_spec().items()}, **given, **more}
    assert options.misshapen(options.container_spec(parameters).masked(b"k" * 32).values) == ""


@pytest.fixture
def record(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The record of a container that does not run."""
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path))
    folder = tmp_path / f"var/lib/nexcage/containers/web/{worlds.IDENTIFIER}"
    folder.mkdir(parents=True)
    (folder.parent / "current").write_text(worlds.IDENTIFIER)
    (folder / "config.json").write_text("{}")
    path = folder / "record.json"
    path.write_text(json.dumps({**worlds.record("web", "crun-backend"), "spec": {"memory": 5}}))
    return path


def change(path: pathlib.Path, **spec: t.Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "spec": spec}))


@pytest.mark.requires("linux", "root", "crun")
@pytest.mark.parametrize(("option", "value"), [("memory", "x"), ("cpus", {}), ("secret_env", [7]), ("mounts", [{"a": 1}]), ("nope", 1)])
def test_a_task_refuses_and_names_the_file(record: pathlib.Path, option: str, value: t.Any) -> None:
    change(record, memory=1 << 26)
    assert not modules.run("nexcage_container", name="web", state="stopped", memory="64m", check=True).get("failed")
    change(record, **{option: value})
    for given in ({"state": "stopped"}, {"state": "present", "memory": "64m"}):
        result = modules.fails("nexcage_container", name="web", check=True, **given)
        assert (result["error"]["code"], result["error"]["value"]) == ("E_STATE", str(record)) and f"spec.{option}" in result["msg"]
        assert "state: absent" in result["error"]["remedy"]
    listed = modules.works("nexcage_container_info")
    assert [entry["spec"] for entry in listed["containers"]] == [{}] and str(record) in str(listed["warnings"])
    assert modules.works("nexcage_container", name="web", state="absent")["changed"]
    assert modules.works("nexcage_container_info")["containers"] == []


@pytest.mark.requires("linux", "root", "crun")
def test_text_that_no_answer_can_hold(record: pathlib.Path) -> None:
    change(record, image="\ud800")
    assert [entry["status"] for entry in modules.works("nexcage_container_info")["containers"]] == ["incomplete"]
    assert modules.works("nexcage_container", name="web", state="absent")["changed"]
