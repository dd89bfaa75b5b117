# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that another key sealed, and forged ones, of backends of every kind; with real containers in tests/runtime/test_host_key.py."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import key
from ansible_collections.nexcage.backends.plugins.module_utils.manager import observe
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec, key_id
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import boxes
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.support.boxes import World, kinds, record, refused, task, web

KEY, OTHER = b"k" * 32, b"o" * 32


@pytest.fixture
def boxed(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> World:
    """A host with a backend without an OCI runtime."""
    return boxes.make(monkeypatch, str(tmp_path))


def said(result: dict[str, t.Any]) -> str:
    return " ".join(result["warnings"])


@pytest.mark.parametrize("how", ["lost", "replaced"])
def test_another_key_sealed_what_such_a_backend_has(boxed: World, how: str) -> None:
    web(boxed, memory="32m", env={"A": "b"})
    path = pathlib.Path(key.path(boxed.layout))
    good = path.read_bytes()
    path.unlink()
    if how == "replaced":
        path.write_bytes(os.urandom(32))
    before = json.dumps(boxed.boxes.there)
    for check in (True, False):
        same = task(boxed, check, memory="32m")
        assert same["changed"] is False and str(path) in said(same)
        for more in ({"memory": "64m"}, {"env": {"A": "c"}}, {"state": "paused"}):
            assert refused("E_STATE", lambda check=check, more=more: task(boxed, check, **more)).value == str(path)  # type: ignore[misc]
        assert refused("E_STATE", lambda check=check: task(boxed, check, recreate=True)).option == "image"  # type: ignore[misc]
    assert json.dumps(boxed.boxes.there) == before and path.exists() is (how == "replaced"), "not even a new key"
    path.write_bytes(good)
    assert task(boxed, memory="32m")["warnings"] == []
    path.unlink()
    anew = task(boxed, recreate=True, image="oci:/image")
    assert kinds(anew) == ["replace", "start"] and boxed.boxes.there["web"]["spec"] == {"image": "oci:/image"}
    assert task(boxed)["warnings"] == [] and path.read_bytes() != good


def test_what_is_forged_of_such_a_backend(boxed: World) -> None:
    web(boxed, memory="32m")
    content = json.loads(record(boxed).read_text())
    content["spec"]["env"] = {"EVIL": "1"}
    record(boxed).write_text(json.dumps(content))
    assert refused("E_STATE", lambda: task(boxed)).option == "image"
    record(boxed).write_text(json.dumps({**content, "seal": "\u00e9"}))
    assert refused("E_STATE", lambda: task(boxed)).option == "image"
    assert kinds(task(boxed, image="oci:/image")) == ["replace", "start"] and boxed.boxes.there["web"]["spec"] == {"image": "oci:/image"}


def test_a_lost_key_and_a_further_container(boxed: World) -> None:
    for number in range(7):
        task(boxed, name=f"c{number}", image="oci:/image")
    os.unlink(key.path(boxed.layout))
    for check in (True, False):
        error = refused("E_STATE", lambda check=check: web(boxed, check))  # type: ignore[misc]
        assert error.value == key.path(boxed.layout) and "7 containers: c0, c1, c2, c3, c4, ..." in error.message
    assert not os.path.exists(key.path(boxed.layout))
    assert task(boxed, name="c0", state="absent")["changed"] and not os.path.exists(key.path(boxed.layout))
    assert web(boxed, recreate=True)["changed"] and os.path.exists(key.path(boxed.layout))


def on_disk(world: worlds.World, **fields: t.Any) -> dict[str, t.Any]:
    """An observation of a container, and its record with these fields."""
    folder = pathlib.Path(world.layout.state, "containers/web", worlds.IDENTIFIER)
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / "current").write_text(worlds.IDENTIFIER)
    (folder / "record.json").write_text(json.dumps({**worlds.record("web", "crun-backend"), "spec": {"memory": 5}, **fields}))
    return {"name": "web", "status": "running", "spec": {"memory": 5, "privileged": True}, "backend_details": {"bundle": "/elsewhere"}}


def test_what_a_record_says_of_itself(world: worlds.World) -> None:
    spec = ContainerSpec({"memory": 5})
    sealed = {"seal": spec.seal(KEY), "key": key_id(KEY)}
    found = on_disk(world, **sealed)
    verdict = observe.sealed(world.layout, found, KEY, True)
    assert (verdict.spec, verdict.damage, verdict.other_key) == (spec, "", False)
    assert found["spec"] == {"memory": 5} and found["backend_details"]["bundle"] == os.path.dirname(verdict.path)
    for own_key, there in ((OTHER, True), (KEY, False)):
        verdict = observe.sealed(world.layout, found, own_key, there)
        assert (verdict.spec.values, verdict.other_key) == ({}, True)
    for wrong in ({**sealed, "seal": spec.seal(OTHER)}, {**sealed, "seal": 7}, {**sealed, "seal": "\u00e9"}, {**sealed, "spec": {"memory": 6}}):
        verdict = observe.sealed(world.layout, on_disk(world, **wrong), KEY, True)
        assert (verdict.spec.values, verdict.other_key) == ({}, False) and "seal" in verdict.damage
    assert observe.sealed(world.layout, on_disk(world, key=7, seal=spec.seal(KEY)), KEY, True).other_key


def test_one_without_a_seal_has_that_of_its_bundle(world: worlds.World) -> None:
    """As the engine wrote them before records were sealed themselves."""
    verdict = observe.sealed(world.layout, on_disk(world), KEY, True)
    assert (verdict.spec.values, verdict.damage) == ({"memory": 5}, "")
    found = on_disk(world, config_sha256="0" * 64)
    assert "config.json is gone" in observe.sealed(world.layout, found, KEY, True).damage
    assert observe.sealed(world.layout, found, KEY, True).spec.values == {"memory": 5}


def test_nothing_on_disk(world: worlds.World) -> None:
    told = {"name": "web", "status": "running", "spec": {"privileged": True}, "backend_details": {}}
    assert observe.sealed(world.layout, told, KEY, True).spec.values == {}
    assert observe.sealed(world.layout, {**told, "status": "incomplete"}, KEY, True).spec.values == {}
    assert observe.sealed(world.layout, None, KEY, True).spec.values == {}


def test_a_record_with_wrong_types_is_refused_before_its_seal(world: worlds.World) -> None:
    with pytest.raises(NexcageError) as caught:
        observe.sealed(world.layout, on_disk(world, spec={"secret_env": [7]}), KEY, True)
    assert caught.value.code == "E_STATE" and "record.json" in str(caught.value.value)


def test_the_name_of_a_key_tells_nothing_of_it() -> None:
    assert key_id(KEY) == key_id(KEY) != key_id(OTHER) and len(key_id(KEY)) == 16 and KEY.hex() not in key_id(KEY)
