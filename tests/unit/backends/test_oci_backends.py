# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""crun-backend and runc-backend on the SDK's fake host, and in a real worker."""

from __future__ import annotations

import types
import typing as t
from unittest import mock

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun, runc
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import OPTIONAL, REQUIRED
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.errors import HostError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.testing import FakeHost, run
from ansible_collections.nexcage.backends.plugins.module_utils.worker.bundle import plugin_sources
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import limits_of
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

IMAGE = "localhost/app:1"
BACKENDS = pytest.mark.parametrize("module", [crun, runc], ids=["crun", "runc"])
WEB = {"name": "web"}
# The eleven of the existing plugins, in their order.
CAPABILITIES = (
    "container_create container_start container_stop container_delete container_exec container_list container_info "
    "host_command filesystem_read filesystem_write logging"
).split()


@BACKENDS
def test_the_manifest_is_that_of_the_existing_plugin(module: types.ModuleType) -> None:
    runtime = module.__name__.rpartition(".")[2]
    manifest = module.MANIFEST
    assert (manifest["name"], manifest["version"], manifest["api_version"], manifest["nexcage_version"]) == (f"{runtime}-backend", "1.0.0", 1, "0.7.0")
    assert manifest["capabilities"] == CAPABILITIES
    assert manifest["resource_requirements"] == {
        "max_memory_mb": 128,
        "max_cpu_percent": 10,
        "max_file_descriptors": 200,
        "max_threads": 5,
        "timeout_seconds": 60,
        "max_network_connections": 10,
        "max_disk_usage_mb": 100,
    }
    assert limits_of(manifest["resource_requirements"])[:4] == (128 << 20, 6, 200, 60.0)
    (dependency,) = manifest["binary_dependencies"]
    assert (dependency["name"], dependency["version"], dependency["check_command"]) == (runtime, ">=1.0.0", f"{runtime} --version")
    assert manifest["oci"] == {"runtime": runtime}
    assert manifest["provides_backend"] is True


def test_the_manifests_differ_in_the_runtime_only() -> None:
    text = repr(crun.MANIFEST).replace("crun", "runc").replace("Crun", "Runc")
    assert text == repr(runc.MANIFEST)


@BACKENDS
def test_it_has_the_operations_that_it_declares(module: types.ModuleType) -> None:
    assert (
        module.backend().operations() == module.MANIFEST["operations"] == [*REQUIRED, *(name for name in OPTIONAL if name != "check")]
    )  # whose check the broker does


@BACKENDS
def test_a_life(module: types.ModuleType) -> None:
    fake, extension = FakeHost([IMAGE]), module.backend()

    def do(operation: str, **params: t.Any) -> t.Any:
        return run(extension, fake, operation, {**WEB, **params})

    created = do("create", image=IMAGE, pull="always")
    assert fake.calls == [
        ("image.ensure", {"reference": IMAGE, "pull": "always"}),
        ("oci.create", {"name": "web", "image": fake.images[IMAGE]}),
    ]
    assert do("start") is None
    assert do("info")["id"] == created["id"]
    assert do("exec") == fake.outcome
    do("pause")
    do("resume")
    do("update")
    do("kill", signal=1)
    assert do("logs", tail=1) == []
    assert do("replace", image=IMAGE) != created
    assert fake.calls[-2:] == [
        ("image.ensure", {"reference": IMAGE, "pull": "missing"}),
        ("oci.replace", {"name": "web", "image": fake.images[IMAGE]}),
    ]
    do("stop", signal=9, timeout=3, force=True)
    assert fake.calls[-1] == ("oci.stop", {"name": "web", "signal": 9, "timeout": 3, "force": True})
    assert [record["name"] for record in run(extension, fake, "list", {"names": None})] == ["web"]
    do("delete")
    assert run(extension, fake, "list", {}) == []
    do("stop")
    do("delete")  # both again are no error


@BACKENDS
def test_the_tasks_own_bundle_needs_no_image(module: types.ModuleType) -> None:
    fake = FakeHost()
    run(module.backend(), fake, "create", {**WEB, "image": None})
    assert fake.calls == [("oci.create", {"name": "web", "image": None})]


@BACKENDS
def test_a_refusal_passes(module: types.ModuleType) -> None:
    fake = FakeHost()
    for operation in ("start", "info", "exec", "pause", "resume", "update", "replace", "logs"):
        with pytest.raises(HostError) as caught:
            run(module.backend(), fake, operation, WEB)
        assert caught.value.code == "E_NOT_FOUND"


@BACKENDS
def test_health(module: types.ModuleType) -> None:
    fake, extension = FakeHost(runtime="crun"), module.backend()
    assert run(extension, fake, "health")["status"] == "healthy"
    fake.problems.append("hybrid cgroups")
    assert run(extension, fake, "health") == {**fake.oci.features(), "status": "degraded", "problems": ["hybrid cgroups"]}
    facts = {**fake.oci.features(), "missing": [{"code": "E_BINARY"}], "problems": ["no conmon"]}
    with mock.patch.object(type(fake.oci), "features", lambda _self: facts):
        assert run(extension, fake, "health") == {**facts, "status": "unhealthy"}
    fake.refuse("oci.features", "E_BINARY", "no runtime")
    health = run(extension, fake, "health")
    assert (health["status"], health["problems"]) == ("unhealthy", ["no runtime"])


@BACKENDS
def test_a_real_worker_serves_it(module: types.ModuleType) -> None:
    with Worker(limits_of(module.MANIFEST["resource_requirements"]), required="process") as worker:
        assert list(worker.load(module.MANIFEST["name"], plugin_sources(module))) == module.MANIFEST["operations"]
        fake = FakeHost([IMAGE])
        assert worker.request("create", {**WEB, "image": IMAGE}, fake._answer) == {"id": fake.containers["web"]["id"]}
        assert worker.request("list", {"names": ["web"]}, fake._answer)[0]["status"] == "created"
