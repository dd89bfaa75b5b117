# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests by template, against real servers on loopback: what is sent, what comes back, and whom they never reach."""

from __future__ import annotations

import json
import pathlib
import socket
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import connection, network, secret
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest
from ansible_collections.nexcage.backends.tests.support import certificates, web

TOKEN = "s3cret-token-of-the-api"
NAMED = {"name": {"type": "container_name"}}
DOCUMENT: dict[str, t.Any] = {
    "name": "cloud-backend",
    "version": "1.0.0",
    "description": "d",
    "api_version": 1,
    "nexcage_version": "0.7.0",
    "dependencies": [],
    "capabilities": ["network_client"],
    "resource_requirements": {"max_network_connections": 50},
    "configuration": {
        "api_host": {"type": "string"},
        "api_port": {"type": "integer", "default": 1},
        "token": {"type": "string", "sensitive": True},
        "authorities": {"type": "path"},
    },
    "network": [
        {
            "id": "api",
            "hosts": ["{api_host}", "cloud.invalid"],
            "port": "{api_port}",
            "tls": False,
            "requests": [
                *({"method": method, "path": "/v1/all"} for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
                {"method": "GET", "path": "/v1/files/{path}", "parameters": {"path": {"type": "relative_path"}}},
                {"method": "POST", "path": "/v1/boxes/{name}/start", "parameters": NAMED},
                *({"method": "GET", "path": f"/{name}"} for name in ("redirect", "large", "text", "odd", "wide", "missing", "empty")),
            ],
        }
    ],
}


def changed(**values: t.Any) -> dict[str, t.Any]:
    return {**DOCUMENT, "network": [{**DOCUMENT["network"][0], **values}]}


class Client:
    """A plugin's requests, as the gate passes them on."""

    def __init__(self, port: int, host: str = "127.0.0.1", document: t.Any = None, seconds: float = 20.0, **config: t.Any) -> None:
        manifest = check_manifest(document or DOCUMENT)
        self.config = {"api_host": host, "api_port": port, **config}
        secrets = secret.Secrets(manifest, self.config)
        budget = network.Budget(manifest["resource_requirements"]["max_network_connections"])
        deadline = time.monotonic() + seconds
        self.tables = {kind: network.Requests(manifest, kind, self.config, secrets, budget, deadline) for kind in ("read", "write")}

    def __call__(self, method: str = "GET", path: str = "/v1/all", kind: str = "", **arguments: t.Any) -> dict[str, t.Any]:
        given = {"network": "api", "method": method, "path": path, **arguments}
        valid = {key: check(key, given.get(key)) for key, check in EXTRA["http.request"].parameters.items()}
        return self.tables[kind or ("read" if method in ("GET", "HEAD") else "write")].request(valid)

    def refused(self, *arguments: t.Any, **named: t.Any) -> NexcageError:
        with pytest.raises(NexcageError) as refused:
            self(*arguments, **named)
        assert TOKEN not in json.dumps(refused.value.as_dict())
        return refused.value


def test_a_request_and_its_answer(server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = Client(server.port)("GET", query={"a b".replace(" ", "_"): "ü &/", "flag": True, "n": 5})
    assert (answer["status"], answer["text"], answer["headers"]) == (200, "", {"content-type": "application/json"})
    assert answer["json"]["path"] == "/v1/all?a_b=%C3%BC+%26%2F&flag=true&n=5"
    (seen,) = server.seen
    expected = {"Host": f"127.0.0.1:{server.port}", "User-Agent": "nexcage", "Accept-Encoding": "identity", "Connection": "close"}
    assert {name: seen["headers"][name] for name in expected} == expected
    assert set(seen["headers"]) == {*expected, "Accept"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_is_json(server: web.Server, method: str) -> None:
    client = Client(server.port)
    client(method, body={"a": ["ü", None]})
    client(method)
    first, second = server.seen
    assert (json.loads(first["body"]), first["headers"]["Content-Type"]) == ({"a": ["ü", None]}, "application/json")
    assert (second["body"], second["headers"]["Content-Length"], "Content-Type" in second["headers"]) == ("", "0", False)
    assert (first["method"], second["method"]) == (method, method)


def test_head_has_no_body(server: web.Server) -> None:
    assert Client(server.port)("HEAD") == {"status": 200, "headers": {"content-type": "application/json"}, "json": None, "text": ""}


def test_holes_in_the_path(server: web.Server) -> None:
    client = Client(server.port)
    client("POST", "/v1/boxes/{name}/start", parameters={"name": "web-1"})
    client("GET", "/v1/files/{path}", parameters={"path": "a=b/c@d"})
    assert [seen["target"] for seen in server.seen] == ["/v1/boxes/web-1/start", "/v1/files/a%3Db/c%40d"]


def test_what_is_no_json_is_text(server: web.Server) -> None:
    contents = [
        ("text/plain", b'{"a": 1}'),
        ("application/json", b"nonsense"),
        ("application/json", b'1, "b": 2'),
        ("application/json", b'1, "": 2'),
        ("application/json", b""),
        ("application/json", b'{"a": NaN}'),
        ("application/json", b'{"a": 1, "a": 2}'),
        ("application/json", b"[" * 5000 + b"]" * 5000),
        ("application/json", b"9" * 30),
        ("application/json", b'"\\ud800"'),
        ("text/html", b"\xff"),
    ]
    client = Client(server.port)
    for kind, content in contents:
        server.routes["/text"] = lambda handler, kind=kind, content=content: handler.reply(200, kind, content)  # type: ignore[misc]
        answer = client("GET", "/text")
        assert (answer["json"], answer["text"]) == (None, content.decode("utf-8", "replace")), content[:20]
    server.routes["/text"] = lambda handler: handler.reply(200, "application/problem+json; charset=utf-8", b' {"a": [1.5, "\xc3\xbc"]} ')
    assert client("GET", "/text")["json"] == {"a": [1.5, "ü"]}


def test_any_status_is_an_answer_and_redirects_are_not_followed(server: web.Server) -> None:
    server.routes["/missing"] = lambda handler: handler.reply(404, "text/plain", b"no", Retry_After="5", Set_Cookie="a=b")
    server.routes["/redirect"] = lambda handler: handler.reply(302, "text/plain", b"", Location=f"http://127.0.0.1:{server.port}/v1/all")
    client = Client(server.port)
    assert client("GET", "/missing") == {"status": 404, "headers": {"content-type": "text/plain", "retry-after": "5"}, "json": None, "text": "no"}
    answer = client("GET", "/redirect")
    assert (answer["status"], answer["headers"]["location"]) == (302, f"http://127.0.0.1:{server.port}/v1/all")
    assert [seen["target"] for seen in server.seen] == ["/missing", "/redirect"]


def test_an_answer_that_is_too_large(server: web.Server) -> None:
    server.routes["/large"] = lambda handler: handler.reply(200, "text/plain", b"x" * network.ANSWER_LIMIT)
    client = Client(server.port)
    assert len(client("GET", "/large")["text"]) == network.ANSWER_LIMIT
    server.routes["/large"] = lambda handler: handler.reply(200, "text/plain", b"x" * (network.ANSWER_LIMIT + 1))
    assert client.refused("GET", "/large").code == "E_LIMIT"
    server.routes["/large"] = lambda handler: handler.reply(200, "text/plain", b"\0" * network.ANSWER_LIMIT)
    assert client.refused("GET", "/large").code == "E_LIMIT", "too large once it is in a frame"
    server.routes["/large"] = lambda handler: handler.reply(200, "application/json", b"[" + b"1e14," * 800_000 + b"1]")
    assert client.refused("GET", "/large").code == "E_LIMIT"


def test_connections_are_counted_over_reads_and_writes(server: web.Server) -> None:
    client = Client(server.port, document={**DOCUMENT, "resource_requirements": {"max_network_connections": 2}})
    client("GET")
    client("POST")
    error = client.refused("GET")
    assert (error.code, error.option) == ("E_LIMIT", "max_network_connections")
    assert len(server.seen) == 2


def test_each_kind_has_its_own_table(server: web.Server) -> None:
    client = Client(server.port)
    assert client.refused("POST", kind="read").code == "E_CAPABILITY"
    assert client.refused("GET", kind="write").code == "E_CAPABILITY"
    assert client.refused("GET", host="evil.example.org").code == "E_CAPABILITY"
    assert client.refused("GET", "/v1/files/{path}", parameters={"path": "../x"}).code == "E_INVALID"
    assert server.seen == []


@pytest.mark.parametrize("host", ["http://a", "a/b", "user@127.0.0.1", "[::1]", "127.0.0.1:80", "a b", "-a", "a..b", "", "a" * 254, 5, "a\n"])
def test_a_setting_that_is_no_host(server: web.Server, host: t.Any) -> None:
    error = Client(server.port, host=host).refused("GET")
    assert (error.code, error.option) == ("E_INVALID", "config.api_host")


@pytest.mark.parametrize("port", [0, 65536, True, "x", "-1", 1.5])
def test_a_setting_that_is_no_port(port: t.Any) -> None:
    error = Client(port).refused("GET")
    assert (error.code, error.option) == ("E_INVALID", "config.api_port")


def test_settings_that_are_not_there(server: web.Server) -> None:
    client = Client(server.port)
    client.config["api_port"] = str(server.port)
    assert client("GET")["status"] == 200, "a number written as a text"
    del client.config["api_host"]
    error = client.refused("GET")
    assert (error.code, error.option) == ("E_INVALID", "config.api_host")
    assert error.remedy is not None and "nexcage_plugin" in error.remedy and "config: {api_host: VALUE}" in error.remedy
    client.config["api_host"] = "127.0.0.1"
    del client.config["api_port"]
    assert client.refused("GET").code == "E_HTTP", "the manifest's default port, where nobody listens"


def test_a_port_of_the_manifest(server: web.Server) -> None:
    assert Client(0, document=changed(port=server.port))("GET")["status"] == 200


def test_the_usual_port_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with web.serving() as server:
        resolve = connection.resolve
        monkeypatch.setattr(connection, "resolve", lambda host, port, named, deadline: resolve(host, server.port, named, deadline))
        Client(80)("GET")
        said = [seen["headers"]["Host"] for seen in server.seen]
    assert said == ["127.0.0.1"]


class TestTls:
    """Certificates are checked against the name, whatever was connected to."""

    def client(self, server: web.Server, authorities: pathlib.Path | None, host: str = "localhost") -> Client:
        more = {} if authorities is None else {"authorities": str(authorities)}
        return Client(server.port, host, changed(tls=True, ca_file="authorities"), **more)

    def test_a_valid_one(self, tmp_path: pathlib.Path) -> None:
        certificate = certificates.self_signed(tmp_path, "localhost", "127.0.0.1")
        with web.serving(certificate=certificate) as server:
            assert self.client(server, certificate)("GET")["status"] == 200
            assert self.client(server, certificate, "127.0.0.1")("GET")["status"] == 200

    def test_one_of_an_authority_that_nobody_trusts(self, tmp_path: pathlib.Path) -> None:
        certificate = certificates.self_signed(tmp_path, "localhost")
        with web.serving(certificate=certificate) as server:
            error = self.client(server, None).refused("GET")
            assert (error.code, "self-signed" in error.message.replace(" ", "-")) == ("E_HTTP", True)
            assert server.seen == []

    def test_one_for_another_name(self, tmp_path: pathlib.Path) -> None:
        certificate = certificates.self_signed(tmp_path, "other.example.org")
        with web.serving(certificate=certificate) as server:
            error = self.client(server, certificate).refused("GET")
            assert (error.code, "localhost" in error.message) == ("E_HTTP", True)

    def test_one_that_is_over(self, tmp_path: pathlib.Path) -> None:
        certificate = certificates.self_signed(tmp_path, "localhost", days=-2)
        with web.serving(certificate=certificate) as server:
            assert "expired" in self.client(server, certificate).refused("GET").message

    def test_a_server_without_it(self, server: web.Server, tmp_path: pathlib.Path) -> None:
        assert self.client(server, certificates.self_signed(tmp_path, "localhost")).refused("GET").code == "E_HTTP"
        assert self.client(server, tmp_path / "missing").refused("GET").code == "E_HTTP"


class TestServersThatMisbehave:
    """Nothing hangs, and nothing but a typed error comes of it."""

    @pytest.mark.parametrize(
        "parts",
        [
            (b"nonsense\r\n\r\n",),
            (b"",),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
            (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",),
            (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",),
        ],
    )
    def test_an_answer_that_is_none(self, parts: tuple[bytes, ...]) -> None:
        with web.raw(*parts) as port:
            assert Client(port).refused("GET").code == "E_HTTP"

    def test_one_that_answers_byte_by_byte(self) -> None:
        with web.raw(b"HTTP/1.1 200 OK\r\n", *[b"X" for _byte in range(200)], pause=0.05) as port:
            begin = time.monotonic()
            assert Client(port, seconds=0.5).refused("GET").code == "E_TIMEOUT"
            assert time.monotonic() - begin < 3

    def test_one_that_never_stops(self) -> None:
        with web.raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 1000, pause=0.01) as port:
            assert Client(port, seconds=0.5).refused("GET").code == "E_TIMEOUT"

    def test_one_that_reads_nothing(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client = Client(listener.getsockname()[1], seconds=0.5)
            assert client.refused("POST", body=["x" * 100_000] * 10).code == "E_TIMEOUT"
            assert client.refused("GET").code == "E_TIMEOUT", "the operation's time is over"

    def test_one_that_takes_no_handshake(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = Client(listener.getsockname()[1], "localhost", changed(tls=True), seconds=0.5)
            assert client.refused("GET").code == "E_TIMEOUT"

    def test_an_interruption_closes_the_socket(self, server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_arguments: object) -> t.NoReturn:
            raise KeyboardInterrupt

        monkeypatch.setattr(connection, "_encrypted", interrupt)
        with pytest.raises(KeyboardInterrupt):
            Client(server.port, "localhost", changed(tls=True))("GET")


class TestSecrets:
    """A secret goes into the header that the manifest names, and to nobody without TLS."""

    DOCUMENT: t.ClassVar = {**DOCUMENT, "secrets": [{"configuration": "token", "network": "api", "header": "X-Token", "prefix": "Bearer "}]}

    def test_it_is_in_the_header(self, server: web.Server) -> None:
        Client(server.port, document=self.DOCUMENT, token=TOKEN)("GET")
        assert server.seen[0]["headers"]["X-Token"] == "Bearer " + TOKEN

    @pytest.mark.parametrize("value", ["a\r\nX: y", "ü", "a\0b"])
    def test_one_that_is_no_header(self, server: web.Server, value: str) -> None:
        error = Client(server.port, document=self.DOCUMENT, token=value).refused("GET")
        assert (error.code, error.option, error.value) == ("E_INVALID", "config.token", None)
        assert server.seen == []

    @pytest.mark.parametrize("more", [{}, {"token": ""}])
    def test_one_that_is_not_set(self, server: web.Server, more: dict[str, str]) -> None:
        error = Client(server.port, document=self.DOCUMENT, **more).refused("GET")
        assert (error.code, error.option) == ("E_INVALID", "config.token")

    def test_not_without_tls_to_another_host(self, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
        places = [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 80))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: places)
        monkeypatch.setattr(connection, "connect", lambda *a: pytest.fail("it was connected to"))
        error = Client(80, "cloud.example.org", self.DOCUMENT, token=TOKEN).refused("GET")
        assert (error.code, "without TLS" in error.message) == ("E_CAPABILITY", True)

    def test_with_tls(self, tmp_path: pathlib.Path) -> None:
        certificate = certificates.self_signed(tmp_path, "localhost")
        document = {**changed(tls=True, ca_file="authorities"), "secrets": self.DOCUMENT["secrets"]}
        with web.serving(certificate=certificate) as server:
            Client(server.port, "localhost", document, token=TOKEN, authorities=str(certificate))("GET")
            assert server.seen[0]["headers"]["X-Token"] == "Bearer " + TOKEN
