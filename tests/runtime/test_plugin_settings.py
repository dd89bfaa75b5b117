# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator sets for each backend, and what is told of them."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import tempfile
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import PYTHON, Host, run_as_nobody

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture
def file(host: Host) -> t.Iterator[pathlib.Path]:
    """The configuration file, which is not there at first."""
    path = pathlib.Path(host.layout.configuration, "config.json")
    assert not path.exists()
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def home() -> t.Iterator[pathlib.Path]:
    """A folder where everybody may write."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nx.", dir="/tmp"))
    folder.chmod(0o777)
    yield folder
    folder.rmdir()


def settings(name: str, **parameters: t.Any) -> modules.Result:
    return modules.works("nexcage_plugin", name=name, **parameters)


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ({"state": "disabled"}, {"state": "enabled"}, "enabled"),
        ({"priority": 3}, {"priority": 0}, "priority"),
        ({"config": {"binary_path": "/usr/bin/crun"}}, {"config": {}}, "config"),
    ],
)
def test_four_steps(file: pathlib.Path, first: dict[str, t.Any], second: dict[str, t.Any], key: str) -> None:
    for values in (first, second, first):
        before = file.read_bytes() if file.exists() else None
        predicted = settings("crun-backend", check=True, **values)
        assert (file.read_bytes() if file.exists() else None) == before
        done = settings("crun-backend", **values)
        assert done["changed"] and (predicted["changed"], predicted["plan"], predicted["diff"], predicted["plugin"]) == (
            True,
            done["plan"],
            done["diff"],
            done["plugin"],
        )
        assert list(done["diff"]["before"]) == list(done["diff"]["after"]) == [key] and done["plan"][0]["reason"].startswith(key)
        assert json.loads(file.read_text())["plugins"]["crun-backend"] == {key: done["plugin"][key]}
        for again in (settings("crun", **values), settings("crun-backend", check=True, **values)):
            assert not again["changed"] and again["plan"] == [] and again["diff"]["after"] == {} and again["plugin"] == done["plugin"]
        assert modules.works("nexcage_plugin_info", name=["crun"])["plugins"][0][key] == done["plugin"][key]


def test_nothing_given_is_nothing_changed(file: pathlib.Path) -> None:
    result = settings("runc")
    assert not result["changed"] and not file.exists()
    assert result["plugin"] == {"name": "runc-backend", "backend": "runc", "version": "1.0.0", "enabled": True, "priority": 20, "config": {}}


def test_everything_else_in_the_file_stays(file: pathlib.Path) -> None:
    content = {
        "größe": "ü😀",
        "number": 12345678901234567890,
        "fraction": 0.1,
        "nothing": None,
        "list": [1, {"deep": [True]}],
        "plugins": {"proxmox": {"anything": 1}, "runc-backend": {"priority": 7, "note": "mine"}},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    target = file.with_name("elsewhere.json")
    target.write_text(json.dumps(content))
    target.chmod(0o600)
    file.symlink_to(target)
    assert settings("crun", priority=5)["changed"]
    content["plugins"]["crun-backend"] = {"priority": 5}  # type: ignore[index]
    assert json.loads(target.read_text()) == content and list(json.loads(target.read_text())) == list(content)
    assert file.is_symlink() and stat.S_IMODE(target.stat().st_mode) == 0o600
    assert settings("runc", state="disabled")["plugin"]["priority"] == 7
    assert json.loads(file.read_text())["plugins"]["runc-backend"] == {"priority": 7, "note": "mine", "enabled": False}
    target.unlink()


def test_a_new_file_can_be_read_by_all(file: pathlib.Path) -> None:
    settings("crun", priority=5)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644 and file.stat().st_uid == 0
    assert [entry.name for entry in os.scandir(file.parent) if not entry.is_dir()] == [file.name]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"plugins": []}',
        '{"plugins": {"crun-backend": 1}}',
        '{"plugins": {"crun-backend": {"enabled": "yes"}}}',
        '{"plugins": {"crun-backend": {"priority": true}}}',
        '{"plugins": {"crun-backend": {"config": []}}}',
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(host: Host, file: pathlib.Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    for check in (True, False):
        told = [
            modules.fails("nexcage_plugin", name="crun", priority=1, check=check),
            modules.fails("nexcage_container", name="web", image=host.image, check=check),
            modules.fails("nexcage_plugin_info", check=check),
        ]
        for result in told:
            assert result["error"]["code"] == "E_STATE" and str(file) in result["msg"] and result["error"]["remedy"]
    assert file.read_text() == content


@pytest.mark.parametrize(
    ("parameters", "option", "value"),
    [
        ({"name": "podman"}, "name", "podman"),
        ({"name": "../x"}, "name", "../x"),
        ({"priority": -1}, "priority", -1),
        ({"config": {"speed": 1}}, "config.speed", None),  # what is behind a name that nobody knows may be a secret
        ({"config": {"binary_path": 5}}, "config.binary_path", 5),
        ({"config": {"binary_path": "bin/crun"}}, "config.binary_path", "bin/crun"),
    ],
)
def test_settings_that_make_no_sense(file: pathlib.Path, parameters: dict[str, t.Any], option: str, value: object) -> None:
    for check in (True, False):
        result = modules.fails("nexcage_plugin", check=check, **{"name": "crun", **parameters})
        assert (result["error"]["option"], result["error"]["value"]) == (option, value)
    assert not file.exists()


def test_a_disabled_backend(host: Host, file: pathlib.Path) -> None:
    host.start("web", "crun", state="present")
    settings("crun", state="disabled")
    for parameters in ({"backend": "crun"}, {"backend": "auto"}, {"state": "absent"}):
        refused = modules.fails("nexcage_container", name="web", **parameters)
        assert refused["error"]["code"] == "E_DISABLED" and "state=enabled" in refused["error"]["remedy"]
    assert modules.fails("nexcage_container_exec", name="web", argv=["true"])["error"]["code"] == "E_DISABLED"
    assert [entry["name"] for entry in modules.works("nexcage_container_info")["containers"]] == ["web"]  # to be seen all the same
    (told,) = modules.works("nexcage_plugin_info", name=["crun"])["plugins"]
    assert told["enabled"] is False and told["health"]["status"] == "unknown"
    assert host.converge("web", backend="runc", replace_backend=True, check=True).actions == ["replace"] + ["start"]
    settings("crun", state="enabled")
    host.converge("web", state="absent")


def test_auto_takes_the_preferred_one_that_works(host: Host, file: pathlib.Path) -> None:
    def chosen() -> str:
        made = host.converge("web", image=host.image, state="present")["container"]["backend"]
        host.converge("web", state="absent")
        return str(made)

    assert chosen() == "crun"
    settings("runc", priority=1)
    assert chosen() == "runc"
    settings("runc", config={"binary_path": "/opt/nowhere/runc"})
    assert chosen() == "crun"  # the preferred one is not healthy
    settings("runc", config={}, state="disabled")
    assert chosen() == "crun"
    settings("runc", state="enabled")
    assert chosen() == "runc"
    assert [plugin["backend"] for plugin in modules.works("nexcage_plugin_info")["plugins"]] == ["runc", "crun"]


def test_the_owner_comes_before_the_preferred_one(host: Host, file: pathlib.Path) -> None:
    host.start("web", "crun", state="present")
    settings("runc", priority=1)
    assert host.converge("web", state="present")["container"]["backend"] == "crun"
    host.converge("web", state="absent")


def test_information(file: pathlib.Path) -> None:
    for check in (True, False):
        result = modules.works("nexcage_plugin_info", check=check)
        assert not result["changed"] and [plugin["name"] for plugin in result["plugins"]] == ["crun-backend", "runc-backend"]
        assert not result.get("warnings")
    for plugin in result["plugins"]:
        assert plugin["health"]["status"] == "healthy", plugin["health"]
        assert plugin["health"]["path"].endswith("/" + plugin["backend"]) and plugin["health"]["version"]
        assert plugin["sandbox"]["tier"] == "standard" and plugin["manifest"]["name"] == plugin["name"] and plugin["trust"] == "builtin"
    settings("runc", config={"binary_path": "/opt/nowhere/runc"})
    (told,) = modules.works("nexcage_plugin_info", name=["runc"])["plugins"]
    assert told["health"]["status"] == "unhealthy" and "/opt/nowhere/runc is not installed" in told["health"]["problems"][0]
    assert modules.fails("nexcage_plugin_info", name=["podman"])["error"]["option"] == "name"


@pytest.mark.requires(PYTHON)
def test_for_whoever_is_not_root(home: pathlib.Path) -> None:
    result = run_as_nobody(home, "nexcage_plugin_info")
    assert [plugin["name"] for plugin in result["plugins"]] == ["crun-backend", "runc-backend"], result
    for plugin in result["plugins"]:
        assert plugin["health"]["status"] == "degraded" and any("become: true" in problem for problem in plugin["health"]["problems"])
        assert plugin["sandbox"]["tier"] == "standard"
    warned = json.dumps(result["warnings"])  # texts, or objects with newer Ansible
    assert "become: true" in warned and f"{home}/.config/nexcage" in warned
    assert run_as_nobody(home, "nexcage_plugin", name="crun", priority=3, check=True)["changed"]
    refused = run_as_nobody(home, "nexcage_plugin", name="crun", priority=3)
    assert refused["error"]["code"] == "E_PRIVILEGE" and "become: true" in refused["msg"]
    assert list(home.iterdir()) == []
    (home / ".local/state/nexcage").mkdir(0o700, parents=True)
    barred = run_as_nobody(home, "nexcage_plugin_info")
    assert barred["error"]["code"] == "E_PRIVILEGE" and "hooks.json" in barred["msg"] and "become: true" in barred["msg"]
    shutil.rmtree(home / ".local")
    home.chmod(0o700)
    closed = run_as_nobody(home, "nexcage_plugin_info")
    assert closed["error"]["code"] == "E_PRIVILEGE" and "config.json cannot be read" in closed["msg"]
