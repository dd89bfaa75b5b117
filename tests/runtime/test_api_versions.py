# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two plugins of two versions of the plugin API in one run, with real workers and real containers."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import api_two, modules, packages, releases
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
GRANT = [f"container_{operation}" for operation in ("create", "start", "stop", "delete", "list", "info", "exec")]
SOURCE = """
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    name = "{name}"

    def create(self, host, params):
        return host.oci.create(params["name"], host.image.ensure(params["image"], params["pull"])["digest"])

    def start(self, host, params):
        host.oci.start(params["name"])

    def stop(self, host, params):
        host.oci.stop(params["name"], force=True)

    def delete(self, host, params):
        host.oci.delete(params["name"])

    def list(self, host, params):
        return {list}

    def info(self, host, params):
        return host.oci.info(params["name"])

    def exec(self, host, params):
        return {exec}


def backend():
    return Backend()
"""
ONE = {"list": 'host.oci.list(params["names"])', "exec": 'host.oci.exec(params["name"])'}
TWO = {"list": 'list(host.oci.containers(params["names"] or []).values())', "exec": '{"ended": host.oci.exec(params["container"])}'}


def install(folder: pathlib.Path, name: str, api_version: int, code: dict[str, str], version: str = "1.0.0") -> t.Callable[..., t.Any]:
    """A task that installs a plugin of that version, with these lines in it."""
    fields = {"provides_backend": True, "oci": {"runtime": "crun"}, "capabilities": GRANT, "api_version": api_version}
    operations = ["create", "start", "stop", "delete", "list", "info", "exec"]
    source = SOURCE.replace("{name}", name).replace("{list}", code["list"]).replace("{exec}", code["exec"])
    files = {**packages.files(packages.manifest(name, version, **fields, operations=operations)), "plugin.py": source.encode()}
    path = folder / f"{name}-{version}.nexcage-plugin"
    path.write_bytes(releases.packing.pack(files))
    return lambda how: how("nexcage_plugin", name=name, src=str(path), trust="unsigned", grant=GRANT)


@pytest.fixture
def remove(host: Host) -> t.Iterator[None]:
    yield
    with api_two.served():
        host.clear()
        for name in ("one-backend", "two-backend"):
            modules.works("nexcage_plugin", name=name, state="absent")


@pytest.mark.usefixtures("remove")
def test_two_versions_in_one_run(host: Host, tmp_path: pathlib.Path) -> None:
    with api_two.served():
        install(tmp_path, "one-backend", 1, ONE)(modules.works)
        install(tmp_path, "two-backend", 2, TWO)(modules.works)
        for backend in ("one", "two"):
            task = {"name": f"by-{backend}", "backend": backend, "image": host.image, "command": FOREVER}
            assert modules.works("nexcage_container", check=True, **task).actions == ["create", "start"]
            assert modules.works("nexcage_container", **task)["container"]["status"] == "running"
            assert modules.works("nexcage_container", **task)["changed"] is False
            assert modules.works("nexcage_container_exec", name=f"by-{backend}", argv=["/bin/busybox", "echo", backend])["stdout"] == backend
        found = modules.works("nexcage_container_info")["containers"]  # one run, both plugins
        assert [(entry["name"], entry["backend"], entry["status"]) for entry in found] == [("by-one", "one", "running"), ("by-two", "two", "running")]
        told = modules.works("nexcage_plugin_info", name=["one-backend", "two-backend"])["plugins"]
        assert [entry["manifest"]["api_version"] for entry in told] == [1, 2]
    # A collection that no longer speaks version 2 says so, and goes on serving version 1.
    refused = modules.fails("nexcage_container", name="by-two", state="started")
    assert refused["error"]["code"] == "E_VERSION" and "speaks plugin API 1" in refused["msg"] and "install a version" in refused["error"]["remedy"]
    assert modules.works("nexcage_container", name="by-one", state="started")["changed"] is False


@pytest.mark.usefixtures("remove")
def test_each_has_its_own_words_only(host: Host, tmp_path: pathlib.Path) -> None:
    """The same lines, each in the plugin of the other version."""
    with api_two.served():
        for number, name, code in ((1, "one", ONE), (2, "two", TWO)):
            install(tmp_path, f"{name}-backend", number, code)(modules.works)
            modules.works("nexcage_container", name=f"by-{name}", backend=name, image=host.image, command=FOREVER, state="present")
        install(tmp_path, "one-backend", 1, TWO, "1.1.0")(modules.works)
        install(tmp_path, "two-backend", 2, {**TWO, "list": 'host._call("oci.list", {"names": None})'}, "1.1.0")(modules.works)
        one = modules.fails("nexcage_container_info", backend="one")
        assert one["error"]["code"] == "E_PLUGIN" and "containers" in one["msg"]
        two = modules.fails("nexcage_container_info", backend="two")
        assert two["error"]["code"] == "E_CAPABILITY" and "plugin API 2 has no call oci.list" in two["msg"]
        for name in ("one-backend", "two-backend"):
            modules.works("nexcage_plugin", name=name, state="rolled_back")


def test_an_unknown_version_is_not_installed(host: Host, tmp_path: pathlib.Path) -> None:
    refused = install(tmp_path, "two-backend", 2, TWO)(modules.fails)
    assert (refused["error"]["code"], refused["error"]["option"]) == ("E_VERSION", "api_version") and "speaks plugin API 1" in refused["msg"]
    assert not (host.root / "etc/nexcage/plugins").exists() or not list((host.root / "etc/nexcage/plugins").iterdir())
