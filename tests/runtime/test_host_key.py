# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's key is lost or replaced, and records are forged: nothing is made again unasked, and nothing forged gets into a container."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import Host, Process

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture
def key(host: Host) -> t.Iterator[pathlib.Path]:
    """The file; its content comes back at the end."""
    host.start("first", "crun", state="present")
    path = pathlib.Path(host.layout.state, "host.key")
    content = path.read_bytes()
    host.converge("first", state="absent")
    yield path
    host.clear()
    path.write_bytes(content)
    path.chmod(0o600)


def lose(path: pathlib.Path, how: str) -> None:
    path.unlink()
    if how == "replaced":
        path.write_bytes(os.urandom(32))
        path.chmod(0o600)


@pytest.mark.parametrize("how", ["lost", "replaced"])
def test_nothing_is_made_again_unasked(host: Host, key: pathlib.Path, backend: str, how: str) -> None:
    task: dict[str, t.Any] = {"backend": backend, "image": host.image, "env": {"A": "1"}, "memory": "64m"}
    made = host.converge("web", **task)["container"]
    good = key.read_bytes()
    lose(key, how)
    for check in (True, False):
        same = host.converge("web", check=check, **task)
        assert same["changed"] is False and same["container"]["pid"] == made["pid"]
        assert str(key) in str(same["warnings"]) and "cannot" not in str(same["plan"])
        assert key.exists() is (how == "replaced")
        before = host.situation()
        for more in ({"env": {"A": "2"}}, {"memory": "32m"}, {"state": "restarted"}):
            failed = modules.fails("nexcage_container", name="web", check=check, **{**task, **more})
            assert (failed["error"]["code"], failed["error"]["value"]) == ("E_STATE", str(key)) and "recreate: true" in failed["error"]["remedy"]
        assert host.situation() == before
    key.write_bytes(good)
    again = host.converge("web", **task)
    assert again["changed"] is False and not again.get("warnings") and again["container"]["pid"] == made["pid"]
    lose(key, how)
    stopped = host.converge("web", state="stopped", force_kill=True)
    assert stopped.actions == ["stop"] and str(key) in str(stopped["warnings"])
    assert modules.fails("nexcage_container", name="web", **task)["error"]["code"] == "E_STATE"  # it would be started
    assert host.converge("web", state="absent").actions == ["delete"]


@pytest.mark.parametrize("how", ["lost", "replaced"])
def test_made_again_where_it_is_asked_for(host: Host, key: pathlib.Path, backend: str, how: str) -> None:
    made = host.start("web", backend, env={"A": "1"}, secret_env={"S": "a secret of eight"})["container"]
    lose(key, how)
    failed = modules.fails("nexcage_container", name="web", recreate=True)
    assert failed["error"]["code"] == "E_STATE" and failed["error"]["option"] == "image" and host.one("web")["pid"] == made["pid"]  # type: ignore[index]
    task: dict[str, t.Any] = {"backend": backend, "image": host.image, "env": {"B": "2"}}
    predicted = host.converge("web", check=True, recreate=True, **task)
    anew = host.converge("web", recreate=True, force_kill=True, **task)
    assert predicted["plan"] == anew["plan"] and anew.actions == ["replace", "start"] and key.exists()
    environment = Process(anew["container"]["pid"]).environment()
    assert environment["B"] == "2" and "A" not in environment and "S" not in environment  # nothing of what cannot be verified
    after = host.converge("web", **task)
    assert after["changed"] is False and not after.get("warnings")


def test_a_new_container_gets_no_new_key_silently(host: Host, key: pathlib.Path) -> None:
    host.start("web", "crun")
    lose(key, "lost")
    for check in (True, False):
        failed = modules.fails("nexcage_container", name="other", image=host.image, check=check)
        assert (failed["error"]["code"], failed["error"]["value"]) == ("E_STATE", str(key)) and "web" in failed["msg"]
    assert not key.exists()
    assert host.converge("other", image=host.image, recreate=True)["changed"] and key.exists()
    host.converge("other", state="absent", force_kill=True)
    host.converge("web", state="absent", force_kill=True)
    key.unlink()
    assert host.start("web", "crun")["changed"] and key.exists()  # on a host without containers there is nothing to lose


FORGED = {"privileged": True, "mounts": [{"type": "bind", "source": "/", "target": "/host", "read_only": False, "options": []}]}


@pytest.mark.parametrize("sealed_with", ["the same", "another"])
def test_what_is_forged_gets_into_no_container(host: Host, key: pathlib.Path, backend: str, sealed_with: str) -> None:
    made = host.start("web", backend)["container"]
    path = pathlib.Path(made["backend_details"]["bundle"], "record.json")
    record = json.loads(path.read_text())
    record["spec"].update(FORGED)
    if sealed_with == "another":
        record["key"] = "0" * 16
    path.write_text(json.dumps(record))
    for parameters in ({}, {"memory": "64m"}, {"recreate": True}, {"env": {"A": "1"}}):
        failed = modules.run("nexcage_container", name="web", **parameters)
        if sealed_with == "another" and not parameters:
            assert failed["changed"] is False and str(key) in str(failed["warnings"])
            continue
        assert failed.get("failed") and failed["error"]["code"] == "E_STATE", parameters
    assert host.one("web")["pid"] == made["pid"]  # type: ignore[index]
    healed = host.converge("web", image=host.image, force_kill=True, recreate=sealed_with == "another")
    assert healed.actions == ["replace", "start"] and "privileged" not in healed["container"]["spec"] and "mounts" not in healed["container"]["spec"]
    assert " /host " not in (Process(healed["container"]["pid"]).folder / "mounts").read_text()
