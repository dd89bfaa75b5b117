# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a host: which file counts, the settings of the manager, and where names are routed."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import backends, configuration, converge, run, settings
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import world as worlds
from ansible_collections.nexcage.backends.tests.unit.manager.test_converge import task

RULES = {"container_config": {"routing": [{"pattern": "db-*", "runtime": "runc"}, {"pattern": "vm-*", "runtime": "vm"}]}}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> worlds.World:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path))
    return worlds.make(monkeypatch, str(tmp_path))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "etc/nexcage"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def layout(tmp_path: pathlib.Path, folder: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})


def put(folder: pathlib.Path, content: object, name: str = "config.json") -> str:
    (folder / name).write_text(json.dumps(content))
    return str(folder / name)


def through(check: bool = False, **parameters: t.Any) -> dict[str, t.Any]:
    module = worlds.module({"names": [], "path": None, **parameters}, check)
    with pytest.raises(SystemExit):
        run.run(module, configuration.information)
    return {**module.ended, "warned": module.warnings}


# ---- which file


def test_the_first_file_counts_alone(layout: Layout, folder: pathlib.Path) -> None:
    assert settings.load(layout) == (f"{folder}/config.json", {})
    second = put(folder, {"log_level": "warn", "data_dir": "/d"}, "nexcage.json")
    assert settings.load(layout) == (second, {"log_level": "warn", "data_dir": "/d"})
    first = put(folder, {"log_level": "info"})
    assert settings.load(layout) == (first, {"log_level": "info"})


def test_a_plugin_is_set_in_the_file_that_counts(layout: Layout, folder: pathlib.Path) -> None:
    path = put(folder, {"log_level": "warn"}, "nexcage.json")
    settings.write(layout, "crun-backend", {"priority": 3})
    assert json.loads(pathlib.Path(path).read_text()) == {"log_level": "warn", "plugins": {"crun-backend": {"priority": 3}}}
    assert os.listdir(folder) == ["nexcage.json"] and settings.read(layout) == {"crun-backend": {"priority": 3}}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("[]", "no mapping"),
        ('"x"', "no mapping"),
        ("null", "no mapping"),
        ('{"a": 1, "b": 2, "a": 3}', "the key a stands there twice"),
        ('{"plugins": {"crun-backend": {"enabled": true, "enabled": false}}}', "the key enabled stands there twice"),
        ("[" * 100000, "no JSON"),
        ('{"a":' * 100000, "no JSON"),
        ("\udcff", "no JSON"),
        (" " * settings.LARGEST + "{}", "bytes"),
    ],
)
def test_what_is_no_configuration(layout: Layout, folder: pathlib.Path, text: str, what: str) -> None:
    for name in settings.FILES:
        path = folder / name
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(NexcageError) as caught:
            settings.read(layout)
        assert caught.value.code == "E_STATE" and str(path) in str(caught.value) and what in caught.value.message
        path.unlink()
    (folder / "config.json").write_bytes(b" " * (settings.LARGEST - 2) + b"{}")
    assert settings.read(layout) == {}


@pytest.mark.parametrize("name", ["crun-backend", "tiny"])
@pytest.mark.parametrize(("key", "good", "bad"), [("enabled", False, "no"), ("priority", 3, True), ("config", {"a": 1}, [])])
def test_the_entry_of_a_plugin(layout: Layout, folder: pathlib.Path, name: str, key: str, good: object, bad: object) -> None:
    put(folder, {"plugins": {name: {key: good}}})
    assert settings.read(layout) == {name: {key: good}}
    put(folder, {"plugins": {name: {key: bad}}})
    with pytest.raises(NexcageError, match=rf"plugins\.{name}\.{key} is .*, which is not of type"):
        settings.read(layout)


def test_a_file_that_cannot_be_read(layout: Layout, folder: pathlib.Path) -> None:
    (folder / "config.json").mkdir()
    with pytest.raises(NexcageError) as caught:
        settings.load(layout)
    assert caught.value.code == "E_PRIVILEGE"


# ---- the manager's settings


def test_the_settings_of_the_manager(layout: Layout, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = configuration.manager(layout)
    assert before["plugin_dir"] == f"{folder}/plugins" and before["cache_dir"] == f"{tmp_path}/var/cache/nexcage/plugins"
    assert before["max_plugins"] == 1000 and before["require_signatures"] is True and len(before) == 12
    put(folder, {"plugin_manager": {"max_plugins": 5, "plugin_dir": "/srv/plugins"}})
    assert configuration.manager(layout) == {**before, "max_plugins": 5, "plugin_dir": "/srv/plugins"}
    put(folder, {"plugin_manager": {"max_plugins": 0}})
    with pytest.raises(NexcageError) as caught:
        configuration.manager(layout)
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_INVALID", "plugin_manager.max_plugins", 0)


@pytest.mark.requires("root")
def test_settings_that_others_can_change_do_not_count(layout: Layout, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    path = folder / "config.json"
    put(folder, {"plugin_manager": {"require_signatures": False}})

    def refused(wrong: pathlib.Path) -> None:
        with pytest.raises(NexcageError) as caught:
            configuration.manager(layout)
        assert caught.value.code == "E_INTEGRITY" and str(wrong) in str(caught.value)

    assert configuration.manager(layout)["require_signatures"] is False
    for wrong, mode in ((path, 0o664), (path, 0o646), (folder, 0o775), (folder, 0o757)):
        usual = wrong.stat().st_mode & 0o777
        wrong.chmod(mode)
        refused(wrong)
        wrong.chmod(usual)
    os.chown(path, 65534, 0)
    refused(path)
    os.chown(path, 0, 0)
    target = tmp_path / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)
    assert configuration.manager(layout)["require_signatures"] is False
    target.chmod(0o666)
    refused(target)
    target.unlink()
    path.unlink()
    put(folder, {"plugins": {}})
    path.chmod(0o666)
    assert configuration.manager(layout)["require_signatures"] is True  # nothing is read of it here


# ---- routing of containers


def chosen(world: worlds.World, name: str, content: object, **parameters: t.Any) -> dict[str, t.Any]:
    os.makedirs(world.layout.configuration, exist_ok=True)
    put(pathlib.Path(world.layout.configuration), content)
    return task(world, image="oci:/image", name=name, **parameters)


def test_a_name_goes_where_the_rules_say(world: worlds.World) -> None:
    assert chosen(world, "db-1", RULES)["container"]["backend"] == "runc"
    told = chosen(world, "web", RULES)
    assert told["container"]["backend"] == "crun"  # no rule: the preferred one
    assert ["routing: web goes to the preferred backend" in warning for warning in told["warnings"]] == [True]  # NexCage has lxc
    assert chosen(world, "db-2", RULES, backend="crun")["container"]["backend"] == "crun"  # the task comes first
    assert task(world, name="db-2", memory="64m")["container"]["backend"] == "crun"  # then the owner


def test_a_name_that_both_ways_send_elsewhere_is_told(world: worlds.World) -> None:
    rules = {"runtime": {"routing": [{"pattern": "^db", "runtime": "runc"}]}, "container_config": {"default_runtime": "crun"}}
    told = chosen(world, "db-1", rules)
    assert told["container"]["backend"] == "runc" and len(told["warnings"]) == 1
    assert "would go to crun (container_config.default_runtime) with nexcage" in told["warnings"][0]
    for number, (mode, backend) in enumerate((("nexcage", "crun"), ("standard", "runc"))):  # who has chosen needs no warning
        told = chosen(world, f"db-3{number}", {**rules, "routing_compat": mode})
        assert told["container"]["backend"] == backend and told["warnings"] == []
    assert chosen(world, "db", rules)["warnings"] == []


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("vm-1", RULES, "E_NOT_FOUND", "container_config.routing[1] in {} sends vm-1 to proxmox-vm: "),
        ("web", {**RULES, "routing_compat": "nexcage"}, "E_NOT_FOUND", "container_config.default_runtime in {} sends web to proxmox-lxc: "),
        ("web", {"container_config": {"default_runtime": "curn"}}, "E_NOT_FOUND", "sends web to curn: "),
        ("db-1", {**RULES, "plugins": {"runc-backend": {"enabled": False}}}, "E_DISABLED", "sends db-1 to runc: "),
    ],
)
def test_where_a_name_cannot_go(world: worlds.World, name: str, content: object, code: str, words: str) -> None:
    with pytest.raises(NexcageError) as caught:
        chosen(world, name, content)
    error = caught.value
    assert (error.code, error.option) == (code, "backend") and words.format(f"{world.layout.configuration}/config.json") in error.message
    assert world.writes() == []


def test_a_rule_that_is_wrong(world: worlds.World) -> None:
    wrong = {"runtime": {"routing": [{"pattern": "^(", "runtime": "crun"}]}}
    with pytest.raises(NexcageError) as caught:
        chosen(world, "web", wrong)
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_INVALID", "runtime.routing[0].pattern", "^(")
    assert chosen(world, "web", wrong, backend="runc")["container"]["backend"] == "runc"  # nobody asked for it


@pytest.mark.parametrize("content", [{}, {"runtime": {"log_level": "info"}}, {"container_config": {"routing": []}}, {"routing_compat": "nexcage"}])
def test_without_rules_nothing_changes(world: worlds.World, content: object) -> None:
    told = chosen(world, "web", content)
    assert told["container"]["backend"] == "crun" and told["warnings"] == []
    with world.session() as session:
        assert backends.choose(session, "auto", None).backend == "crun"


def test_a_container_that_is_there_reads_no_rules(world: worlds.World, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen(world, "db-1", RULES)
    monkeypatch.setattr(backends, "_routed", None)
    with world.session() as session:
        assert not converge.converge(session, {**worlds_defaults(), "name": "db-1", "image": "oci:/image"})["changed"]


def worlds_defaults() -> dict[str, t.Any]:
    from ansible_collections.nexcage.backends.plugins.module_utils.model import options

    return {name: entry.get("default") for name, entry in options.argument_spec().items()}


# ---- what is told of it


def test_information_without_a_file(world: worlds.World) -> None:
    for check in (True, False):
        told = through(check, names=["web"])
        assert (told["changed"], told["file"], told["warned"], told["unknown"], told["without_effect"], told["ignored_files"]) == (False, None, [], [], [], [])
        assert {entry["source"] for entry in told["settings"]} == {"default"}
        assert told["routing"] == {"compat": "standard", "active": False, "answers": [{"name": "web", "backend": None, "key": None, "differs": False}]}


def test_information(world: worlds.World, folder: pathlib.Path) -> None:
    path = put(folder, {**RULES, "log_level": "debug", "typo": 1, "proxmox": {"token": "hush"}, "plugins": {"crun-backend": {"priority": 3}}})
    put(folder, {}, "nexcage.json")
    (folder / "plugins").mkdir()
    for name in configuration.NOT_READ:
        put(folder, {}, name)
    told = through(names=["db-1", "web"])
    settings_by_key = {entry["key"]: entry for entry in told["settings"]}
    assert told["file"] == path and told["unknown"] == ["typo"] and "hush" not in str(told)
    sources = [entry["source"] == "default" for entry in told["settings"]]
    assert sources == sorted(sources) and True in sources and False in sources, "what the file says stands first"
    brief = through(defaults=False)
    assert brief["settings"] == [entry for entry in told["settings"] if entry["source"] == path] == through(defaults=True)["settings"][: len(brief["settings"])]
    assert {"log_level", "plugins.crun-backend.priority"} <= {entry["key"] for entry in brief["settings"]}
    assert (brief["without_effect"], brief["unknown"]) == (told["without_effect"], told["unknown"])
    assert (settings_by_key["plugins.crun-backend.priority"]["value"], settings_by_key["plugins.crun-backend.priority"]["source"]) == (3, path)
    assert settings_by_key["plugin_manager.plugin_dir"] == {
        "key": "plugin_manager.plugin_dir",
        "value": f"{folder}/plugins",
        "source": "default",
        "effective": True,
        "note": "the folder of the packages of plugins",
    }
    assert [entry["key"] for entry in told["without_effect"]] == ["log_level", "proxmox.token"] and all(entry["reason"] for entry in told["without_effect"])
    assert [(entry["backend"], entry["key"], entry["differs"]) for entry in told["routing"]["answers"]] == [
        ("runc", "container_config.routing[0]", False),
        (None, "no rule", True),
    ]
    assert [os.path.relpath(entry["path"], folder) for entry in told["ignored_files"]] == ["nexcage.json", "plugins/config.json", "config.yaml"]
    assert len(told["warned"]) == 5 and "typo" in str(told["warned"]) and "routing: web" in told["warned"][0]


def test_another_file(world: worlds.World, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    put(folder, {"log_level": "info"})
    other = put(tmp_path, {**RULES, "routing_compat": "nexcage"}, "other.json")
    told = through(path=other, names=["web"])
    assert told["file"] == other and told["routing"]["answers"][0]["backend"] == "proxmox-lxc"
    assert [entry["path"] for entry in told["ignored_files"]] == [f"{folder}/config.json"]
    missing = through(path=str(tmp_path / "none.json"))
    assert missing["failed"] and (missing["error"]["code"], missing["error"]["option"]) == ("E_NOT_FOUND", "path")


@pytest.mark.parametrize(
    ("content", "names", "option"),
    [
        ({"plugin_manager": {"max_plugins": 1001}}, [], "plugin_manager.max_plugins"),
        ({"network": "x"}, [], "network"),
        ({"runtime": {"routing": [{"pattern": "^("}]}}, [], "runtime.routing[0].runtime"),
        ({}, ["no/name"], "name"),
    ],
)
def test_information_refuses(world: worlds.World, folder: pathlib.Path, content: object, names: list[str], option: str) -> None:
    put(folder, content)
    told = through(names=names)
    assert told["failed"] and (told["error"]["code"], told["error"]["option"]) == ("E_INVALID", option)
