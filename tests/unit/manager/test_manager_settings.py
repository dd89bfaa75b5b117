# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of the manager of plugins where they count: in nexcage_plugin."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules, releases

pytestmark = pytest.mark.requires("root")


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The configuration folder of an empty host."""
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    path = tmp_path / "root/etc/nexcage"
    path.mkdir(parents=True)
    return path


def say(folder: pathlib.Path, **settings: t.Any) -> None:
    (folder / "config.json").write_text(json.dumps({"plugin_manager": settings}))


def install(tmp_path: pathlib.Path, name: str = "demo-backend", check: bool = False, size: int = 0, **parameters: t.Any) -> modules.Result:
    path = tmp_path / f"{name}-1.0.0.nexcage-plugin"
    path.write_bytes(releases.data(name, "1.0.0"))
    if size:
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    given = {key: value for key, value in {"trust": "unsigned", **parameters}.items() if value is not None}
    return modules.run("nexcage_plugin", check=check, name=name, src=str(path), **given)


def refused(tmp_path: pathlib.Path, code: str, option: str | None, **parameters: t.Any) -> modules.Result:
    """The same in check mode and without."""
    found = [install(tmp_path, check=check, **parameters) for check in (True, False)]
    assert [(result["error"]["code"], result["error"]["option"]) for result in found] == [(code, option)] * 2, found
    return found[0]


def test_the_folder_of_packages(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    place = tmp_path / "packages"
    say(folder, plugin_dir=str(place))
    assert install(tmp_path)["changed"] and not install(tmp_path)["changed"]
    assert [path.name for path in place.iterdir()] == ["demo-backend-1.0.0.nexcage-plugin"] and not (folder / "plugins").exists()
    assert "demo" in [plugin["backend"] for plugin in modules.works("nexcage_plugin_info")["plugins"]]
    assert modules.works("nexcage_plugin", name="demo-backend", state="absent")["changed"] and list(place.iterdir()) == []


def test_how_many_plugins(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    say(folder, max_plugins=1)
    assert install(tmp_path, "one-backend")["changed"]
    told = refused(tmp_path, "E_LIMIT", "plugin_manager.max_plugins", name="two-backend")
    assert "1 plugins are installed" in told["msg"] and "config.json" in told["error"]["remedy"]
    assert not install(tmp_path, "one-backend").get("failed")  # it is there already
    say(folder, max_plugins=2)
    assert install(tmp_path, "two-backend")["changed"]


def test_how_large_a_package(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    say(folder, max_plugin_size_mb=1)
    refused(tmp_path, "E_LIMIT", "src", size=(1 << 20) + 1)
    say(folder, max_plugin_size_mb=1024)
    refused(tmp_path, "E_LIMIT", "src", size=(5 << 20) + 1)
    assert install(tmp_path)["changed"]


@pytest.mark.parametrize(
    ("settings", "allowed"), [({}, True), ({"max_plugins": 9}, True), ({"require_signatures": False}, True), ({"require_signatures": True}, False)]
)
def test_a_host_that_requires_signatures(tmp_path: pathlib.Path, folder: pathlib.Path, settings: dict[str, t.Any], allowed: bool) -> None:
    say(folder, **settings)
    if allowed:
        assert install(tmp_path)["changed"]
    else:
        assert "this host requires signatures" in refused(tmp_path, "E_TRUST", "trust")["msg"]
    refused(tmp_path, "E_SIGNATURE", None, name="other-backend", trust=None)  # whatever the host says, the task has to ask for it


def test_settings_that_are_wrong(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    say(folder, max_plugins="many")
    refused(tmp_path, "E_INVALID", "plugin_manager.max_plugins")
    say(folder)
    (folder / "config.json").chmod(0o666)
    assert "config.json" in refused(tmp_path, "E_INTEGRITY", None)["msg"]
