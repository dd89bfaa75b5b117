# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin's author has: the host's calls, the errors, the base class, the fake host."""

from __future__ import annotations

import inspect
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import EFFECTS
from ansible_collections.nexcage.backends.plugins.module_utils.model.hook import EVENTS
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import backend, errors, host, host_extra
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.testing import FakeHost, payload, run

IMAGE = "localhost/app:1"
SAMPLES = {
    "names": ["web"],
    "name": "web",
    "tail": 5,
    "image": "sha256:" + "0" * 64,
    "signal": 15,
    "timeout": 3,
    "force": True,
    "reference": IMAGE,
    "pull": "never",
    "digest": "sha256:" + "0" * 64,
    "key": "key",
    "path": "/etc/hostname",
    "value": {"a": 1},
    "root": "srv",
    "encoding": "base64",
    "content": "YQ==",
    "mode": 0o644,
    "command": "start",
    "parameters": {"name": "web"},
    "network": "api",
    "method": "POST",
    "query": {"force": True},
    "body": {"a": [1]},
    "host": "api.example.org",
}
ELSEWHERE = {("fs", "path"): "a/b", ("http", "path"): "/v1/{name}"}  # where a name means another thing


def every_call() -> list[tuple[str, str]]:
    """Part and method of each brokered call of the SDK."""
    parts: dict[str, type] = {"oci": host.Oci, "image": host.Image, "state": host.State, **host_extra.PARTS}
    return [(part, name) for part, kind in parts.items() for name in vars(kind) if not name.startswith("_")]


@pytest.mark.parametrize(("part", "name"), every_call())
def test_every_method_is_one_call_that_the_broker_knows(part: str, name: str) -> None:
    calls: list[tuple[str, dict[str, t.Any]]] = []

    def answer(call: str, params: dict[str, t.Any]) -> t.Any:
        calls.append((call, params))
        return {"answer": 1}

    method = getattr(getattr(host.Host(answer, lambda level, message: None), part), name)
    wanted = {parameter: ELSEWHERE.get((part, parameter), SAMPLES[parameter]) for parameter in inspect.signature(method).parameters}
    assert method(**wanted) in ({"answer": 1}, None)
    assert calls == [(f"{part}.{name}", wanted)]
    effect = EFFECTS[f"{part}.{name}"]
    assert set(effect.parameters) == set(wanted)
    for parameter, value in wanted.items():
        effect.parameters[parameter](parameter, value)


def test_parts_that_a_worker_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = host.Host(lambda name, params: None, lambda level, message: None)
    with pytest.raises(AttributeError, match="the host has no nonsense"):
        bare.nonsense  # noqa: B018
    monkeypatch.setitem(sys.modules, host_extra.__name__, None)
    with pytest.raises(AttributeError, match="the host has no fs; fs, command and http need filesystem"):
        bare.fs  # noqa: B018
    monkeypatch.undo()
    assert bare.fs is bare.fs


def test_the_broker_knows_no_call_that_the_sdk_lacks() -> None:
    assert set(EFFECTS) == {f"{part}.{name}" for part, name in every_call()} | {"log"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [("E_GRANT", errors.PermissionDenied), ("E_READ_ONLY", errors.PermissionDenied), ("E_NOT_FOUND", errors.NotFound), ("E_RUNTIME", errors.HostError)],
)
def test_refusals_have_a_class(code: str, kind: type[errors.HostError]) -> None:
    error = errors.host_error({"code": code, "message": "no", "remedy": None}, 3)
    assert error.__class__ == kind
    assert (error.code, error.message, error.remedy, error.call, str(error)) == (code, "no", "", 3, f"{code}: no")
    assert errors.host_error({}).code == "E_INTERNAL"


class Minimal(backend.BackendExtension):
    """A backend with the original three."""

    name = "minimal"

    def create(self, host: host.Host, params: dict[str, t.Any]) -> t.Any:
        return host.oci.create(params["name"], host.image.ensure(params["image"])["digest"])

    def stop(self, host: host.Host, params: dict[str, t.Any]) -> t.Any:
        host.oci.stop(params["name"])

    def delete(self, host: host.Host, params: dict[str, t.Any]) -> t.Any:
        host.oci.delete(params["name"])


def test_operations_are_what_a_class_really_has() -> None:
    assert backend.BackendExtension().operations() == []
    assert Minimal().operations() == ["create", "stop", "delete", "replace"]


def test_replace_without_a_better_way() -> None:
    fake = FakeHost([IMAGE])
    params = {"name": "web", "image": IMAGE}
    first = run(Minimal(), fake, "create", params)
    second = run(Minimal(), fake, "replace", params)
    assert first != second
    assert [name for name, _params in fake.calls] == ["image.ensure", "oci.create", "oci.stop", "oci.delete", "image.ensure", "oci.create"]


@pytest.mark.parametrize("operation", [name for name in backend.REQUIRED + backend.OPTIONAL if name not in Minimal().operations()])
def test_an_operation_that_is_not_there(operation: str) -> None:
    with pytest.raises(errors.Unsupported, match=f"minimal cannot {operation}") as caught:
        run(Minimal(), FakeHost(), operation)
    assert caught.value.code == "E_UNSUPPORTED"


@pytest.mark.parametrize("operation", ["operations", "__init__", "_missing", "name", "nonsense"])
def test_no_operation_at_all(operation: str) -> None:
    with pytest.raises(errors.PluginError, match="there is no operation"):
        run(Minimal(), FakeHost(), operation)


@pytest.mark.parametrize("operation", sorted({*backend.REQUIRED, *backend.OPTIONAL} - {"replace"}))
def test_a_class_without_a_name(operation: str) -> None:
    with pytest.raises(errors.Unsupported, match=f"BackendExtension cannot {operation}"):
        run(backend.BackendExtension(), FakeHost(), operation)


def test_the_fake_world() -> None:
    fake = FakeHost([IMAGE], runtime="crun")
    digest = fake.image.resolve(IMAGE)["digest"]
    assert fake.image.ensure(IMAGE) == {"digest": digest, "changed": False}
    assert fake.image.configuration(digest) == {}
    fake.oci.create("web", digest)
    fake.oci.create("bundle")
    fake.oci.start("web")
    fake.oci.pause("web")
    fake.oci.resume("web")
    fake.oci.update("web")
    assert fake.oci.exec("web")["rc"] == 0
    fake.paths.add(("web", "/etc/hostname"))
    assert fake.oci.exists("web", "/etc/hostname")
    assert not fake.oci.exists("web", "/etc")
    fake.oci.check("web", digest)
    fake.oci.kill("web", 1)
    assert fake.oci.info("web")["status"] == "running"
    fake.oci.kill("web", 15)
    assert [record["status"] for record in fake.oci.list()] == ["created", "stopped"]
    assert fake.oci.list(["web"])[0]["image_digest"] == digest
    fake.oci.replace("web", digest)
    fake.oci.stop("web", force=True)
    fake.containers["web"]["lines"] = [{"text": "a"}, {"text": "b"}]
    assert fake.oci.logs("web") == [{"text": "a"}, {"text": "b"}]
    assert fake.oci.logs("web", 1) == [{"text": "b"}]
    assert fake.oci.logs("web", 9) == fake.oci.logs("web")
    fake.oci.delete("web")
    assert list(fake.containers) == ["bundle"]
    assert fake.oci.features()["runtime"] == "crun"
    fake.state.put("key", {"a": 1})
    assert fake.state.get("key") == {"a": 1}
    fake.state.put("key", None)
    assert fake.state.get("key") is None
    fake.log("info", "text")
    assert fake.messages == [("info", "text")]


@pytest.mark.parametrize(("level", "message", "wrong"), [("loud", "text", "level='loud': not one of debug"), ("info", 7, "message=7: not a text")])
def test_a_log_line_that_is_none(level: str, message: t.Any, wrong: str) -> None:
    fake = FakeHost()
    with pytest.raises(errors.HostError, match=wrong) as refused:
        fake.log(level, message)
    assert (refused.value.code, fake.messages) == ("E_INVALID", [])
    for right in ("debug", "info", "warning", "error"):
        fake.log(right, "text")
    assert len(fake.messages) == 4


@pytest.mark.parametrize(
    ("code", "attempt"),
    [
        ("E_EXISTS", lambda fake: fake.oci.create("web")),
        ("E_NOT_FOUND", lambda fake: fake.oci.start("other")),
        ("E_NOT_FOUND", lambda fake: fake.oci.replace("other")),
        ("E_NOT_FOUND", lambda fake: fake.image.configuration("sha256:0")),
        ("E_RUNTIME", lambda fake: fake.oci.pause("web")),
        ("E_IMAGE", lambda fake: fake.image.ensure("localhost/other")),
        ("E_IMAGE", lambda fake: fake.oci.create("other", "sha256:0")),
        ("E_IMAGE", lambda fake: fake.oci.check("other", "sha256:0")),
        ("E_CAPABILITY", lambda fake: fake._answer("host.mount", {})),
        ("E_GRANT", lambda fake: fake.oci.exec("web")),
    ],
)
def test_the_fake_world_refuses(code: str, attempt: t.Callable[[FakeHost], t.Any]) -> None:
    fake = FakeHost([IMAGE])
    fake.oci.create("web")
    fake.refuse("oci.exec", "E_GRANT")
    with pytest.raises(errors.HostError) as caught:
        attempt(fake)
    assert caught.value.code == code


def test_the_fake_files() -> None:
    fake = FakeHost()
    assert fake.fs.mkdir("srv", "a") == {"changed": True}
    assert fake.fs.mkdir("srv", "a") == {"changed": False}
    assert fake.fs.write("srv", "a/b/c", "ü") == {"changed": True}
    assert fake.fs.write("srv", "a/b/c", "w7w=", encoding="base64") == {"changed": False}
    assert (fake.fs.read("srv", "a/b/c"), fake.fs.read("srv", "a/b/c", "base64")) == ("ü", "w7w=")
    assert fake.fs.list("srv") == [{"name": "a", "type": "folder", "size": 0}]
    assert fake.fs.list("srv", "a/b") == [{"name": "c", "type": "file", "size": 2}]
    assert [fake.fs.stat("srv", path)["type"] for path in ("", "a", "a/b", "a/b/c")] == ["folder", "folder", "folder", "file"]
    assert fake.files == {("srv", "a"): None, ("srv", "a/b/c"): "ü".encode()}
    for code, attempt in (
        ("E_NOT_FOUND", lambda: fake.fs.read("srv", "a")),
        ("E_NOT_FOUND", lambda: fake.fs.stat("srv", "x")),
        ("E_FS", lambda: fake.fs.remove("srv", "a")),
        ("E_INVALID", lambda: fake.fs.read("srv", "../x")),
    ):
        with pytest.raises(errors.HostError) as caught:
            attempt()
        assert caught.value.code == code
    assert fake.fs.remove("srv", "a/b/c") == {"changed": True}
    assert fake.fs.remove("srv", "a/b/c") == {"changed": False}


def test_the_fake_commands_and_requests() -> None:
    named = {"name": {"type": "container_name"}}
    requests = [{"method": "POST", "path": "/v1/{name}", "parameters": named}, {"method": "GET", "path": "/v1", "parameters": {}}]
    manifest = {
        "commands": {"start": {"binary": "podman", "argv": ["start", "{name}"], "parameters": named}},
        "network": [{"id": "api", "hosts": ["a.example.org"], "requests": requests}],
    }
    fake = FakeHost(manifest=manifest)
    assert fake.command.run("start", {"name": "web"}) == {"rc": 0, "stdout": "", "stderr": "", "truncated": False}
    fake.outcomes["start"] = lambda parameters: {"rc": 1, "stderr": parameters["name"]}
    assert fake.command.run("start", {"name": "web"})["stderr"] == "web"
    fake.responses["GET", "/v1"] = {"json": [1]}
    fake.responses["POST", "/v1/{name}"] = lambda given: {"status": 201, "json": [given["parameters"], given["body"]]}
    assert fake.http.request("api", "GET", "/v1") == {"status": 200, "headers": {}, "json": [1], "text": ""}
    assert fake.http.request("api", "POST", "/v1/{name}", {"name": "web"}, body=5)["json"] == [{"name": "web"}, 5]
    for code, attempt in (
        ("E_INVALID", lambda: fake.command.run("start", {"name": "-f"})),
        ("E_CAPABILITY", lambda: fake.command.run("stop")),
        ("E_CAPABILITY", lambda: fake.http.request("api", "DELETE", "/v1")),
    ):
        with pytest.raises(errors.HostError) as caught:
            attempt()
        assert caught.value.code == code
    fake.responses.clear()
    with pytest.raises(errors.HostError, match="E_HTTP: the test has no response to GET /v1"):
        fake.http.request("api", "GET", "/v1")


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), object()])
def test_a_result_that_could_not_leave_the_worker(value: t.Any) -> None:
    extension = Minimal()
    extension.list = lambda host, params: value
    with pytest.raises((TypeError, ValueError)):
        run(extension, FakeHost(), "list")


def test_what_events_tell() -> None:
    for name, event in EVENTS.items():
        for check_mode in (False, True):
            assert set(payload(name, check_mode)) == {*event.payload, "check_mode"} and payload(name, check_mode)["check_mode"] is check_mode
    assert payload("container.pre_stop")["action"] == "stop" and payload("container.post_create")["spec"]["labels"] == {"owner": "ops"}
    payload("container.pre_stop")["spec"].clear()
    assert payload("container.pre_stop")["spec"], "each one is a copy"
