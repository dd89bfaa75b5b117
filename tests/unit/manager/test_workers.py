# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker a plugin gets: its tier, what is imported for it, and what of the run's budget."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, policy, registry, workers
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import PRELOADABLE, Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

SOURCES = {
    "plugin.py": """
import datetime, json
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    def list(self, host, params):
        return json.loads("[1]") + [datetime.datetime.strptime("2026", "%Y").year]


def backend():
    return Backend()
"""
}


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    found = Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})
    os.makedirs(found.configuration)
    return found


def minimum(layout: Layout, **tiers: str) -> None:
    """A policy with these least tiers."""
    path = pathlib.Path(layout.configuration, "policy.json")
    path.write_text(json.dumps({"version": 1, "mode": "enforce", "default": "allow", "sandbox": {"minimum": tiers}, "rules": []}), encoding="utf-8")
    path.chmod(0o600)


def stranger(layout: Layout, **requirements: t.Any) -> registry.Plugin:
    """A plugin that did not come with the collection."""
    built_in = registry.get("crun", layout)
    manifest = {**built_in.manifest, "name": "strange-backend", "resource_requirements": requirements}
    return built_in._replace(name="strange-backend", manifest=manifest)


def operate(session: dispatch.Session, plugin: registry.Plugin, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    original = registry.sources
    monkeypatch.setattr(registry, "sources", lambda one: SOURCES if one.name == "strange-backend" else original(one))
    return session.operate(plugin, "list", {"names": []})


def test_only_what_the_sources_name_is_imported() -> None:
    assert workers.preload(SOURCES) == ["_strptime", "datetime", "json"]
    files = {"plugin.py": "from urllib import parse", "other.py": "import collections.abc"}
    assert workers.preload(files) == ["abc", "collections", "collections.abc", "urllib.parse"]
    assert workers.preload({"plugin.py": "x = 1"}) == []


@pytest.mark.requires("linux")
def test_every_preloadable_module_fits_into_the_least_memory() -> None:
    source = "\n".join(f"import {name}" for name in PRELOADABLE) + "\n" + SOURCES["plugin.py"]
    with workers.start({"plugin.py": source}, Limits(), "standard") as worker:
        worker.load("strange-backend", {"plugin.py": source})
        assert worker.request("list", {}, lambda *_call: None) == [1, 2026]


@pytest.mark.requires("root", "linux", "bwrap")
def test_a_stranger_is_confined_and_a_built_in_is_not(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    with dispatch.Session(layout, True) as session:
        assert operate(session, stranger(layout), monkeypatch) == [1, 2026]
        assert session.sandbox["tier"] == "strong"
        session.operate(registry.get("crun", layout), "list", {"names": []})
        assert session.sandbox_of(registry.get("crun", layout))["tier"] == "standard"
        assert session.sandbox_of(registry.get("runc", layout)) == {}


@pytest.mark.requires("root", "linux")
def test_without_bubblewrap_a_stranger_gets_what_there_is(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "FOLDERS", ())
    with dispatch.Session(layout, True, worker=Worker()) as session:
        spare = session._spare
        assert operate(session, stranger(layout), monkeypatch) == [1, 2026]
        assert session._workers["strange-backend"] is spare
        assert session.sandbox["tier"] == "standard"
        assert "bubblewrap is not installed" in session.sandbox["missing"]["namespaces"]


@pytest.mark.requires("root", "linux", "bwrap")
@pytest.mark.parametrize("kind", ["third_party", "builtin"])
def test_a_policy_raises_what_is_needed(kind: str, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    minimum(layout, **{kind: "strong"})
    plugin = stranger(layout) if kind == "third_party" else registry.get("crun", layout)
    with dispatch.Session(layout, True) as session:
        operate(session, plugin, monkeypatch)
        assert session.sandbox["tier"] == "strong"
    monkeypatch.setattr(strong, "FOLDERS", ())
    with dispatch.Session(layout, True) as session:
        with pytest.raises(NexcageError) as caught:
            operate(session, plugin, monkeypatch)
        assert caught.value.code == "E_SANDBOX"
        assert "bubblewrap is not installed" in caught.value.message
        assert session._workers == {}
        assert session._budget._shares == {}


def test_without_a_policy_the_defaults_hold(layout: Layout) -> None:
    assert [workers.required(policy.load(layout), kind) for kind in ("builtin", "third_party")] == ["process", "standard"]
    minimum(layout, builtin="standard", third_party="strong")
    assert [workers.required(policy.load(layout), kind) for kind in ("builtin", "third_party")] == ["standard", "strong"]


@pytest.mark.requires("root", "linux")
def test_a_built_in_below_its_tier(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    minimum(layout, builtin="standard")
    plugin = registry.get("crun", layout)
    with dispatch.Session(layout, True) as session:
        session.operate(plugin, "list", {"names": []})
        assert session.sandbox["tier"] == "standard"

    def refuse(*_arguments: object) -> None:
        raise NexcageError("E_SANDBOX", "too weak")

    monkeypatch.setattr(Worker, "start", refuse)
    with dispatch.Session(layout, True) as session, pytest.raises(NexcageError, match="too weak"):
        session.operate(plugin, "list", {"names": []})


@pytest.mark.requires("root", "linux")
def test_the_run_has_one_budget(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    crun, runc = (registry.get(name, layout) for name in ("crun", "runc"))
    pathlib.Path(layout.configuration, "config.json").write_text(json.dumps({"plugin_manager": {"memory_limit_mb": 192}}), encoding="utf-8")
    with dispatch.Session(layout, True) as session:
        session.operate(crun, "list", {"names": []})
        first = session._workers[crun.name]
        assert operate(session, stranger(layout, max_memory_mb=64, max_cpu_percent=1), monkeypatch) == [1, 2026]
        assert list(session._workers) == [crun.name, "strange-backend"]
        session.operate(runc, "list", {"names": []})  # 128 MiB beside 64 and 128: the first one makes room
        assert list(session._workers) == ["strange-backend", runc.name]
        assert first._stopped
        assert session.sandbox_of(crun)["tier"] == "standard"  # it ran, and that is what it was
        with session._budget.at_work(runc.name), pytest.raises(NexcageError) as caught:
            session.operate(crun, "list", {"names": []})
        assert (caught.value.code, caught.value.option) == ("E_LIMIT", "plugin_manager.memory_limit_mb")
        session.operate(crun, "list", {"names": []})


@pytest.mark.requires("root", "linux")
def test_a_worker_that_cannot_load_gives_its_share_back(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "sources", lambda plugin: {"plugin.py": "1 +"})
    with dispatch.Session(layout, True) as session:
        with pytest.raises(NexcageError, match="cannot be loaded"):
            session.operate(stranger(layout), "list", {"names": []})
        assert session._budget._shares == {}
