# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy on the way of a task: asked for the whole plan before its first step, and for every call."""

from __future__ import annotations

import json
import os
import pathlib
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import handlers
from ansible_collections.nexcage.backends.plugins.module_utils.manager import converge, execute, information, policy, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds

DEFAULTS = {name: entry.get("default") for name, entry in options.argument_spec().items()}
IMAGE = "oci:/image"
EXEC = {"name": "web", "argv": ["true"], "timeout": 5}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    return worlds.make(monkeypatch, str(tmp_path))


def rule(world: worlds.World, *rules: dict[str, t.Any], **options: t.Any) -> pathlib.Path:
    """Let these rules hold from now on."""
    folder = pathlib.Path(world.layout.configuration)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "policy.json"
    path.write_text(json.dumps({"version": 1, "rules": [{"id": f"r{number}", **given} for number, given in enumerate(rules)], **options}))
    path.chmod(0o600)
    return path


def deny(world: worlds.World, **when: t.Any) -> pathlib.Path:
    return rule(world, {"effect": "deny", "when": {key.replace("__", "."): value for key, value in when.items()}, "message": "ask first"})


def task(world: worlds.World, check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    with world.session(check) as session:
        return converge.converge(session, {**DEFAULTS, "name": "web", **parameters})


def refused(world: worlds.World, **parameters: t.Any) -> NexcageError:
    """The same refusal in check mode and without; nothing was done."""
    before = world.writes()
    errors = []
    for check in (True, False):
        with pytest.raises(NexcageError) as caught:
            task(world, check, **parameters)
        errors.append(caught.value)
    assert str(errors[0]) == str(errors[1]) and world.writes() == before
    assert errors[0].code == "E_POLICY"
    return errors[0]


def log(world: worlds.World) -> list[dict[str, t.Any]]:
    path = pathlib.Path(world.layout.audit)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_denied_operation_names_its_rule_and_nothing_happens(world: worlds.World) -> None:
    task(world, image=IMAGE)
    path = deny(world, op="delete", container="we*")
    error = refused(world, state="absent")
    assert "rule r0: ask first" in error.message and (error.option, error.value) == ("name", "web")
    assert error.details == {"plugin": "crun-backend", "rule": "r0", "path": str(path)}
    assert {"phase": "refusal", "call": "delete", "rule": "r0", "container": "web", "trust": "builtin"}.items() <= log(world)[-2].items()
    path.unlink()
    assert task(world, state="absent")["changed"]


def test_another_container_is_another_matter(world: worlds.World) -> None:
    deny(world, op="delete", container="prod-*")
    task(world, image=IMAGE)
    assert task(world, state="absent")["changed"]


def test_the_whole_plan_is_judged_before_its_first_step(world: worlds.World) -> None:
    """The container would be created, and then stand there unstarted."""
    deny(world, op="start")
    refused(world, image=IMAGE)
    assert world.containers == {} and "create" not in world.calls
    assert task(world, image=IMAGE, state="present")["changed"]


def test_a_task_without_a_change_asks_for_reading_only(world: worlds.World) -> None:
    task(world, image=IMAGE)
    deny(world, op=["create", "start", "stop", "delete", "update", "replace"])
    assert not task(world, image=IMAGE)["changed"]


def test_the_image_as_the_task_writes_it(world: worlds.World) -> None:
    world.images["oci:/other"] = "sha256:" + "2" * 64
    deny(world, op="create", params__image={"not_glob": "oci:/image*"})
    refused(world, image="oci:/other")
    assert task(world, image=IMAGE)["changed"]
    refused(world, image="oci:/other")  # as a replacement too


def test_a_call_by_its_name(world: worlds.World) -> None:
    deny(world, call="image.ensure")
    with pytest.raises(NexcageError) as caught:
        task(world, image=IMAGE)
    assert caught.value.code == "E_POLICY" and "image.ensure is denied: rule r0" in caught.value.message
    assert "ensure" not in world.calls and "create" not in world.calls


def test_what_the_manager_asks_by_itself_is_judged_too(world: worlds.World) -> None:
    deny(world, call="image.resolve")
    refused(world, image=IMAGE)


def test_only_watching(world: worlds.World) -> None:
    task(world, image=IMAGE)
    rule(world, {"effect": "deny", "when": {"op": "delete"}}, mode="audit")
    before = log(world)
    assert task(world, check=True, state="absent")["changed"] and log(world) == before, "check mode writes nothing"
    assert task(world, state="absent")["changed"] and world.containers == {}
    watched = [line for line in log(world) if line["phase"] == "would_refuse"]
    assert [(line["call"], line["rule"], line["container"]) for line in watched] == [("delete", "r0", "web"), ("oci.delete", "r0", "web")]
    assert log(world)[-1]["would_refuse"] == 2


def test_only_watching_writes_of_reading_too(world: worlds.World) -> None:
    rule(world, {"effect": "deny", "when": {"op": "list"}}, mode="audit")
    task(world, check=False, state="absent")
    assert {line["phase"] for line in log(world)} == {"would_refuse", "run"}


def test_a_rule_on_the_tier_is_judged_once_it_is_known(world: worlds.World) -> None:
    deny(world, op=["list", "create"], tier="process")
    refused(world, image=IMAGE)
    assert "listing" not in world.calls
    deny(world, op=["list", "create"], tier="strong")
    assert task(world, image=IMAGE)["changed"]


def test_trust(world: worlds.World) -> None:
    rule(world, trust={"require": ["signature"]})
    error = refused(world, image=IMAGE)
    assert "trust.require" in error.message
    rule(world, trust={"require": ["signature", "builtin"]})
    assert task(world, image=IMAGE)["changed"]


def test_exec(world: worlds.World) -> None:
    task(world, image=IMAGE)
    deny(world, op="exec")
    for check in (True, False):
        with world.session(check) as session, pytest.raises(NexcageError) as caught:
            execute.execute(session, EXEC)
        assert caught.value.code == "E_POLICY" and "exec" not in world.calls
    world.paths.add("/done")
    with world.session() as session:
        assert execute.execute(session, {**EXEC, "creates": "/done"})["skipped"], "nothing is run, so nothing is denied"


def test_information(world: worlds.World) -> None:
    task(world, image=IMAGE)
    deny(world, plugin="crun-*")
    with world.session() as session, pytest.raises(NexcageError) as caught:
        information.containers(session, {})
    assert caught.value.code == "E_POLICY"


@pytest.mark.parametrize("text", ['{"version": 1, "rule": []}', "{", "null", '{"version": 1, "rules": [{"id": "a", "effect": "deny", "when": {"opp": "x"}}]}'])
def test_with_a_broken_policy_nothing_is_done(world: worlds.World, text: str) -> None:
    path = rule(world)
    assert task(world, image=IMAGE)["changed"]
    path.write_text(text)
    calls = list(world.calls)
    for parameters in ({"state": "absent"}, {"image": IMAGE}, {"name": "other", "image": IMAGE}):
        with pytest.raises(NexcageError) as caught:
            task(world, **parameters)
        assert caught.value.code in ("E_POLICY", "E_STATE") and str(path) in caught.value.message
    assert world.calls == calls


def test_a_policy_that_cannot_be_looked_for_is_not_taken_for_none(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = os.lstat

    def shut(path: t.Any, **rest: t.Any) -> os.stat_result:
        if str(path).endswith("policy.json"):
            raise PermissionError(13, "Permission denied", str(path))
        return lstat(path, **rest)

    monkeypatch.setattr(os, "lstat", shut)
    with pytest.raises(PermissionError):
        task(world, image=IMAGE)
    assert world.writes() == []


def test_without_a_policy_there_is_one_look_for_it(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **rest: (looks.append(str(path)), lstat(path, **rest))[1])
    monkeypatch.setattr(policy, "load", lambda _layout: pytest.fail("there is no policy to read"))
    assert task(world, image=IMAGE)["changed"]
    assert [path for path in looks if path.endswith("policy.json")] == [f"{world.layout.configuration}/policy.json"]
    pathlib.Path(world.layout.configuration).parent.write_text("no folder at all")
    assert not task(world, image=IMAGE)["changed"]


def test_what_a_policy_is_told_of_an_installed_plugin(world: worlds.World) -> None:
    release = types.SimpleNamespace(trust="signature", digest="sha256:ab", principal="acme@example", version="1.0.0")
    installed = types.SimpleNamespace(release=release, granted=frozenset(("container_list",)))
    plugin = registry.Plugin("acme-backend", {"name": "acme-backend", "version": "1.0.0", "capabilities": []}, True, 5, {}, t.cast(t.Any, installed))
    with world.session() as session:
        told = session._context(plugin, "start")
    assert told == {"version": "1.0.0", "trust": "signature", "op": "start", "digest": "sha256:ab", "signer": "acme@example"}


class TestProvenance:
    """What a plugin makes up is refused; what the task says is done."""

    @pytest.fixture
    def bench(self, world: worlds.World) -> handlers.Workbench:
        world.images["oci:/other"] = "sha256:" + "2" * 64
        world.fetched.update(world.images.values())
        orders = {"web": handlers.Order(ContainerSpec({"image": IMAGE}))}
        return handlers.Workbench(world.layout, "crun-backend", "crun", orders)

    @pytest.mark.parametrize("call", ["image.resolve", "image.ensure"])
    def test_an_image_that_the_task_does_not_name(self, world: worlds.World, bench: handlers.Workbench, call: str) -> None:
        """A reference can be a path on the host, or a registry anywhere."""
        handler = {**handlers.read_handlers(bench), **handlers.write_handlers(bench)}[call]
        for reference in ("oci:/other", "docker-archive:/etc/shadow", "docker://169.254.169.254/x", "oci:/image "):
            with pytest.raises(NexcageError) as caught:
                handler({"reference": reference, "pull": "always"})
            assert caught.value.code == "E_CAPABILITY" and caught.value.value == reference
        assert world.calls == []
        assert handler({"reference": IMAGE, "pull": "missing"})["digest"] == world.images[IMAGE]

    @pytest.mark.parametrize("call", ["oci.check", "oci.create", "oci.replace"])
    def test_a_container_is_made_from_no_other_image_that_is_there(self, world: worlds.World, bench: handlers.Workbench, call: str) -> None:
        handler = {**handlers.read_handlers(bench), **handlers.write_handlers(bench)}[call]
        for digest in world.images.values():
            with pytest.raises(NexcageError) as caught:
                handler({"name": "web", "image": digest})
            assert (caught.value.code, caught.value.value) == ("E_CAPABILITY", digest)
        digest = handlers.write_handlers(bench)["image.ensure"]({"reference": IMAGE, "pull": "missing"})["digest"]
        handler({"name": "web", "image": digest})
        with pytest.raises(NexcageError):
            handler({"name": "web", "image": world.images["oci:/other"]})

    def test_the_configuration_of_another_image_may_hold_secrets(self, world: worlds.World, bench: handlers.Workbench) -> None:
        read = handlers.read_handlers(bench)
        read["image.resolve"]({"reference": IMAGE, "pull": "missing"})
        assert read["image.configuration"]({"digest": world.images[IMAGE]}) == {}
        with pytest.raises(NexcageError) as caught:
            read["image.configuration"]({"digest": world.images["oci:/other"]})
        assert caught.value.code == "E_CAPABILITY"

    def test_a_task_with_a_bundle_has_no_image(self, bench: handlers.Workbench, world: worlds.World) -> None:
        bench.orders["web"] = handlers.Order(ContainerSpec({"bundle": "/srv/bundle"}))
        with pytest.raises(NexcageError) as caught:
            handlers.write_handlers(bench)["oci.create"]({"name": "web", "image": world.images[IMAGE]})
        assert caught.value.code == "E_CAPABILITY"
        handlers.write_handlers(bench)["oci.create"]({"name": "web", "image": None})

    def test_never_is_never(self, bench: handlers.Workbench, world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
        pulls: list[str] = []
        resolve = worlds.Images.resolve
        monkeypatch.setattr(worlds.Images, "resolve", lambda images, reference, pull, **rest: (pulls.append(pull), resolve(images, reference, pull, **rest))[1])
        for pull in ("missing", "never"):
            bench.orders["web"] = handlers.Order(ContainerSpec({"image": IMAGE}), pull=pull)
            handlers.read_handlers(bench)["image.resolve"]({"reference": IMAGE, "pull": "always"})
        assert pulls == ["always", "never"]

    @pytest.mark.parametrize("allowed", [False, True])
    def test_the_order_says_whether_a_container_may_change_hands(self, world: worlds.World, monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
        seen: list[t.Any] = []
        replace = worlds.Engine.replace
        monkeypatch.setattr(worlds.Engine, "replace", lambda engine, *given, **ending: (seen.append(ending), replace(engine, *given, **ending))[1])
        task(world, image=IMAGE)
        task(world, image=IMAGE, recreate=True, replace_backend=allowed)
        assert [ending["take_over"] for ending in seen] == [allowed]
