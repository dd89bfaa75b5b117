# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands whose holes the operator's task fills: with real programs, through the table that a plugin is offered."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.extra import Extra
from ansible_collections.nexcage.backends.plugins.module_utils.broker.handlers import Order, Workbench
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

SECRET = "swordfish-swordfish"
NAME = {"type": "container_name"}
MANIFEST: dict[str, t.Any] = {
    "name": "acme-backend",
    "resource_requirements": {"max_network_connections": 0, "max_disk_usage_mb": 1},
    "commands": {
        "show": {
            "binary": "printf",
            "argv": ["<%s>", "{name}", "--memory={memory}", "--env={env}", "--host={hostname}", "{command}"],
            "parameters": {"name": NAME, **{name: {"type": "option"} for name in ("memory", "env", "hostname", "command")}},
        },
        "secrets": {"binary": "sh", "argv": ["-c", "sha256sum /dev/stdin; ls -l /proc/self/fd/0"], "parameters": {}, "stdin": "secret_env"},
        "tell": {"binary": "cat", "argv": [], "parameters": {}, "stdin": "secret_env"},
        "told": {"binary": "printf", "argv": ["{path}"], "parameters": {"path": {"type": "relative_path"}}, "kind": "read"},
        "line": {"binary": "sh", "argv": ["-c", "tr '\\0' ' ' </proc/$$/cmdline; cat /proc/$$/environ"], "parameters": {}, "stdin": "secret_env"},
        "run": {
            "binary": "sh",
            "argv": ["-c", "cat; printf 'a\\000b\\033'; exit 3", "sh", "{argv}"],
            "parameters": {"argv": {"type": "process"}},
            "stdin": "input",
        },
        "look": {"binary": "echo", "argv": ["{image}"], "parameters": {"image": {"type": "option"}}, "kind": "read"},
    },
}
SPEC = ContainerSpec({"image": "-x", "memory": 5, "env": {"A": "$(id) ; b", "B": ""}, "command": ["--help", "{name}", "a b"]})


class Offered:
    """What one operation on the container ``web`` is offered."""

    def __init__(self, folder: pathlib.Path, order: Order | None, container: str = "web", reads: bool = False) -> None:
        layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder)})
        self.bench = Workbench(layout, "acme-backend", "", {"web": order} if order else {})
        handlers: dict[str, t.Any] = {}
        writes: dict[str, t.Any] = {}
        Extra(layout, MANIFEST, {}).offer(handlers, writes, 10.0, self.bench, container)
        self.table = handlers if reads else writes

    def run(self, command: str, /, **parameters: t.Any) -> dict[str, t.Any]:
        arguments = {key: check(key, {"command": command, "parameters": parameters}[key]) for key, check in EXTRA["command.run"].parameters.items()}
        assert EXTRA["command.run"].use is not None
        EXTRA["command.run"].use(MANIFEST, arguments)
        return t.cast("dict[str, t.Any]", self.table["command.run"](arguments))


def test_the_task_fills_them(tmp_path: pathlib.Path) -> None:
    offered = Offered(tmp_path, Order(SPEC))
    assert offered.run("show", name="web")["stdout"] == "<web><--memory=5><--env=A=$(id) ; b><--env=B=><--help><{name}><a b>"


@pytest.mark.parametrize("given", [{"memory": 6}, {"command": "x"}, {"env": "A=b"}])
def test_a_plugin_cannot(tmp_path: pathlib.Path, given: dict[str, t.Any]) -> None:
    offered = Offered(tmp_path, Order(SPEC))
    with pytest.raises(NexcageError) as caught:
        offered.run("show", name="web", **given)
    assert (caught.value.code, caught.value.option) == ("E_INVALID", f"parameters.{next(iter(given))}")
    assert "the task says it" in caught.value.message


@pytest.mark.parametrize(("order", "container"), [(None, "web"), (Order(SPEC), "")])
def test_without_a_task_about_the_container_nothing_is_run(tmp_path: pathlib.Path, order: Order | None, container: str) -> None:
    with pytest.raises(NexcageError) as caught:
        Offered(tmp_path, order, container).run("show", name="web")
    assert caught.value.code == "E_CAPABILITY"


def test_what_would_be_an_option(tmp_path: pathlib.Path) -> None:
    with pytest.raises(NexcageError) as caught:
        Offered(tmp_path, Order(SPEC), reads=True).run("look")
    assert (caught.value.code, caught.value.option) == ("E_INVALID", "image")
    assert Offered(tmp_path, Order(ContainerSpec({"image": "x"})), reads=True).run("look")["stdout"] == "x\n"
    assert Offered(tmp_path, Order(), reads=True).run("look")["stdout"] == "\n"


def test_secrets_are_read_and_nowhere_seen(tmp_path: pathlib.Path) -> None:
    offered = Offered(tmp_path, Order(ContainerSpec({"secret_env": {"TOKEN": "hmac"}}), {"TOKEN": SECRET, "B": "c d"}))
    out = offered.run("secrets")["stdout"]
    assert out.startswith(hashlib.sha256(f"TOKEN={SECRET}\nB=c d\n".encode()).hexdigest()) and "memfd" in out
    assert SECRET not in offered.run("line")["stdout"]
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert Offered(tmp_path, Order()).run("secrets")["stdout"].startswith(hashlib.sha256(b"").hexdigest())


def test_no_descriptor_is_left(tmp_path: pathlib.Path) -> None:
    offered = Offered(tmp_path, Order(ContainerSpec({}), {"TOKEN": SECRET}))
    offered.run("secrets")
    before = sorted(os.listdir("/proc/self/fd"))
    offered.run("secrets")
    MANIFEST["commands"]["gone"] = {**MANIFEST["commands"]["secrets"], "binary": "no-such-program"}
    with pytest.raises(NexcageError):
        offered.run("gone")
    del MANIFEST["commands"]["gone"]
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_the_operators_process_printed_is_his_whole(tmp_path: pathlib.Path) -> None:
    process = {"argv": ["x"], "stdin": base64.b64encode(b"in\xff").decode(), "secret_env": {}}
    offered = Offered(tmp_path, Order(process=process))
    answer = offered.run("run")
    assert (answer["rc"], answer["stdout"]) == (3, "in\ufffda\ufffdb\ufffd")
    kept = offered.bench.outcomes["web"]
    assert (kept["rc"], base64.b64decode(kept["stdout"]), kept["timed_out"]) == (3, b"in\xffa\0b\x1b", False)
    json.dumps(kept)


def test_what_is_no_process_of_his_keeps_nothing(tmp_path: pathlib.Path) -> None:
    offered = Offered(tmp_path, Order(SPEC))
    offered.run("show", name="web")
    assert offered.bench.outcomes == {}


def test_a_plugin_sees_no_secret_that_it_lets_a_program_read(tmp_path: pathlib.Path) -> None:
    offered = Offered(tmp_path, Order(ContainerSpec({}), {"TOKEN": SECRET}))
    assert offered.run("tell")["stdout"] == "TOKEN=********\n"
    assert (
        Offered(tmp_path, Order(ContainerSpec({}), {"TOKEN": SECRET}), reads=True).run("told", path=SECRET)["stdout"] == "********"
    )  # nor one that the backend has kept
    listing = Offered(tmp_path, Order(process={"secret_env": {"B": SECRET}}), container="", reads=True)
    assert listing.run("told", path=SECRET)["stdout"] == "********"
    assert Offered(tmp_path, Order(), reads=True).run("told", path=SECRET)["stdout"] == SECRET  # which is no secret of this task
