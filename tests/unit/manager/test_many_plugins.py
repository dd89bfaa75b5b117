# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hundreds of installed plugins: what a run reads and starts does not grow with them where it need not, and nowhere faster than they do."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dependencies, package, registry, settings
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import crowd, modules, releases

pytestmark = pytest.mark.requires("root", "linux")
MANY = 40


@pytest.fixture
def layout(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    found = Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path / "root")})
    os.makedirs(found.configuration)
    return found


class Counted:
    """How often a function is called.

    Args:
        patch: Puts the counter in its place.
        module: Of the function.
        name: The function.
    """

    def __init__(self, patch: pytest.MonkeyPatch, module: t.Any, name: str) -> None:
        self.number = 0
        original = getattr(module, name)

        def counting(*arguments: t.Any, **more: t.Any) -> t.Any:
            self.number += 1
            return original(*arguments, **more)

        patch.setattr(module, name, counting)


def configure(layout: Layout, names: t.Sequence[str], **entry: t.Any) -> pathlib.Path:
    """Settings for each of them."""
    path = pathlib.Path(layout.configuration, "config.json")
    path.write_text(json.dumps({"plugin_manager": {}, "plugins": {name: {"priority": 50, **entry} for name in names}}))
    return path


def test_all_of_them_with_one_look_at_the_configuration(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    names = crowd.settle(layout, MANY)
    configure(layout, names)
    reads, opened, started = (Counted(monkeypatch, module, name) for module, name in ((settings, "_parsed"), (package, "from_bytes"), (subprocess, "Popen")))
    found = modules.works("nexcage_plugin_info", health=False)["plugins"]
    assert [plugin["name"] for plugin in found] == [*registry.BUILT_IN, *names]
    assert (reads.number, opened.number, started.number) == (1, MANY, 0)
    assert {plugin["state"] for plugin in found} == {"loaded"} and {plugin["priority"] for plugin in found[2:]} == {50}
    assert {plugin["health"]["status"] for plugin in found} == {"unknown"}
    assert {tuple(plugin["health"]["problems"]) for plugin in found} == {("it was not asked",)}
    assert all(plugin["sandbox"] == {} for plugin in found)
    (asked,) = modules.works("nexcage_plugin_info", name=[names[0]])["plugins"]
    assert asked["health"]["status"] == "healthy" and asked["sandbox"]


def test_the_preferred_one_opens_no_other(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    crowd.settle(layout, MANY)
    opened = Counted(monkeypatch, package, "from_bytes")
    assert next(registry.in_order(layout)).name == "crun-backend"
    assert registry.get("runc", layout).name == "runc-backend"
    assert opened.number == 0


def test_what_is_installed_opens_only_what_it_needs(layout: Layout, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = crowd.settle(layout, MANY)
    opened = Counted(monkeypatch, package, "from_bytes")
    for wanted in ([], names[:2]):
        path = tmp_path / "demo-backend-1.0.0.nexcage-plugin"
        path.write_bytes(releases.data(dependencies=wanted))
        before = opened.number
        assert modules.works("nexcage_plugin", name="demo-backend", src=str(path), trust="unsigned", check=True)["changed"]
        assert opened.number - before <= len(wanted) + 1, wanted
    path.write_bytes(releases.data(dependencies=["nowhere-backend"]))
    refused = modules.fails("nexcage_plugin", name="demo-backend", src=str(path), trust="unsigned", check=True)
    assert refused["error"]["code"] == "E_DEPENDENCY" and "nowhere-backend" in refused["msg"]


def test_a_configuration_that_changes_is_read_again(layout: Layout) -> None:
    first = registry.get("crun", layout).priority
    path = configure(layout, ["crun-backend"], priority=7)
    assert first == registry.BUILT_IN["crun-backend"] and registry.get("crun", layout).priority == 7
    settings.write(layout, "crun-backend", {"priority": 8})
    assert registry.get("crun", layout).priority == 8
    path.write_text('{"plugins": {"crun-backend": {"priority": "9"}}}')
    refused = modules.fails("nexcage_plugin", name="crun-backend", priority=3)
    assert refused["error"]["code"] == "E_STATE" and "plugins.crun-backend.priority" in refused["msg"]
    path.unlink()
    assert registry.get("crun", layout).priority == first


def test_what_was_read_is_not_changed_by_writing(layout: Layout) -> None:
    configure(layout, ["crun-backend"], config={"binary_path": "/usr/bin/crun"})
    before = settings.read(layout)
    kept = json.loads(json.dumps(before))
    settings.write(layout, "crun-backend", {"config": {}, "enabled": False})
    assert before == kept and settings.read(layout)["crun-backend"] == {"priority": 50, "config": {}, "enabled": False}


def test_needs_of_needs() -> None:
    manifests = {name: {"name": name, "version": "1.0.0", "dependencies": needs} for name, needs in {"a": ["b"], "b": ["c"], "c": ["a"], "d": []}.items()}
    known = dependencies.closure("a", manifests["a"], manifests.get)
    assert sorted(known) == ["a", "b", "c"]
    assert sorted(dependencies.closure("x", {"dependencies": ["d", "gone"]}, manifests.get)) == ["d", "x"]
