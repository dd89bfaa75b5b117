# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NexCage's configuration file through the real modules: what it comes to, and where containers go."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import ansible_cli, modules
from ansible_collections.nexcage.backends.tests.support.host import Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = {
    "log_level": "debug",
    "runtime": {"routing": [{"pattern": "^(kube-ovn-.*|cilium-.*)$", "runtime": "crun"}, {"pattern": ".*", "runtime": "runc"}]},
}


@pytest.fixture
def file(host: Host) -> t.Iterator[pathlib.Path]:
    """The configuration file, which is not there at first."""
    path = pathlib.Path(host.layout.configuration, "config.json")
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    yield path
    path.unlink(missing_ok=True)


def made(host: Host, name: str, **parameters: t.Any) -> modules.Result:
    return host.converge(name, image=host.image, state="present", **parameters)


def test_containers_go_where_the_rules_say(host: Host, file: pathlib.Path) -> None:
    file.write_text(json.dumps(RULES))
    answers = modules.works("nexcage_config_info", names=["kube-ovn-1", "web", "xcilium-abc"])["routing"]["answers"]
    assert [(entry["backend"], entry["differs"]) for entry in answers] == [("crun", False), ("runc", True), ("runc", True)]
    for entry in answers:
        told = made(host, entry["name"], check=True)
        done = made(host, entry["name"])
        assert done["container"]["backend"] == entry["backend"] and done["plan"] == told["plan"]
        assert ("warnings" in done) == ("warnings" in told) == entry["differs"]
    file.write_text(json.dumps({**RULES, "container_config": {"routing": [{"pattern": "*", "runtime": "crun"}]}}))
    assert not made(host, "web")["changed"]  # the owner comes first


def test_routing_as_nexcage_has_it(host: Host, file: pathlib.Path) -> None:
    file.write_text(json.dumps({**RULES, "routing_compat": "nexcage"}))
    answers = modules.works("nexcage_config_info", names=["cilium-1", "web"])["routing"]["answers"]
    assert [entry["backend"] for entry in answers] == ["crun", "proxmox-lxc"]  # the catch-all ".*" is a glob there
    assert made(host, "cilium-1")["container"]["backend"] == "crun"
    for check in (True, False):
        refused = modules.fails("nexcage_container", name="web", image=host.image, check=check)
        assert refused["error"]["code"] in ("E_NOT_FOUND", "E_SYSTEM", "E_BINARY", "E_PRIVILEGE") and "container_config.default_runtime" in refused["msg"]
    assert made(host, "web", backend="runc")["container"]["backend"] == "runc"


def test_the_effective_configuration(host: Host, file: pathlib.Path) -> None:
    file.write_text(json.dumps({**RULES, "plugin_manager": {"max_plugins": 7}, "proxmox": {"token": "hush-91"}, "sokcet": 1}))
    before = file.read_bytes()
    told = modules.works("nexcage_config_info")
    assert not told["changed"] and told["file"] == str(file) and file.read_bytes() == before and "hush-91" not in json.dumps(told)
    found = {entry["key"]: entry for entry in told["settings"]}
    assert (found["plugin_manager.max_plugins"]["value"], found["plugin_manager.max_plugins"]["source"]) == (7, str(file))
    assert (found["plugin_manager.plugin_dir"]["value"], found["plugin_manager.plugin_dir"]["source"]) == (f"{file.parent}/plugins", "default")
    assert [entry["key"] for entry in told["without_effect"]] == ["log_level", "proxmox.token"] and told["unknown"] == ["sokcet"]
    assert "the unknown key sokcet" in json.dumps(told["warnings"])
    file.write_text(json.dumps({"plugin_manager": {"max_plugins": 0, "cpu_limit_percent": "x"}}))
    refused = modules.fails("nexcage_config_info")["error"]
    assert (refused["code"], refused["option"], refused["value"]) == ("E_INVALID", "plugin_manager.max_plugins", 0)
    assert "an integer from 1 to 1000" in refused["message"] and len(refused["details"]["problems"]) == 2


def test_the_second_file(host: Host, file: pathlib.Path) -> None:
    second = file.with_name("nexcage.json")
    second.write_text(json.dumps({"container_config": {"crun_name_patterns": ["cr*"], "default_runtime": "runc"}}))
    try:
        assert made(host, "web")["container"]["backend"] == "runc" and made(host, "crab")["container"]["backend"] == "crun"
        file.write_text("{}")
        told = modules.works("nexcage_config_info")
        assert not told["routing"]["active"] and [entry["path"] for entry in told["ignored_files"]] == [str(second)]
        assert made(host, "other")["container"]["backend"] == "crun"
    finally:
        second.unlink()


def test_the_examples(host: Host, file: pathlib.Path, tmp_path: pathlib.Path) -> None:
    file.write_text(json.dumps(RULES))
    play = ansible_cli.write_playbook(tmp_path / "play.yml", {"tasks": ansible_cli.examples(ROOT, "nexcage_config_info")})
    outcome = ansible_cli.plays_well(tmp_path / "home", play, NEXCAGE_ROOT=str(host.root))
    answers = outcome.of("See where two containers would go")["routing"]["answers"]
    assert [entry["backend"] for entry in answers] == ["runc", "crun"] and "log_level" in outcome.text
