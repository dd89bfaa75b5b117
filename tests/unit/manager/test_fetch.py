# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files from a real HTTPS server on loopback and from folders, and all that a server can do wrong."""

from __future__ import annotations

import http.server
import os
import pathlib
import socket
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import fetch
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import certificates, mirror_server

pytestmark = pytest.mark.requires("linux")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> certificates.Authority:
    return certificates.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: certificates.Authority) -> t.Iterator[mirror_server.Server]:
    with mirror_server.serve(authority.issue()) as made:
        made.files["/file"] = b"content"
        yield made


def get(server: mirror_server.Server, authority: certificates.Authority, path: str = "/file", limit: int = 1000, timeout: float = 10.0) -> bytes:
    return fetch.fetch(server.url(path), limit, str(authority.path), timeout)


def refused(*arguments: t.Any, **options: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        (get if isinstance(arguments[0], mirror_server.Server) else fetch.fetch)(*arguments, **options)
    assert caught.value.remedy and caught.value.value is not None
    return caught.value


def test_a_file(server: mirror_server.Server, authority: certificates.Authority) -> None:
    assert get(server, authority) == get(server, authority, limit=7) == b"content"
    server.files["/?a=b"] = b""
    assert fetch.fetch(server.url("?a=b"), 1, str(authority.path)) == b""
    assert "Authorization" not in server.asked[0][1] and server.asked[0][1]["Accept-Encoding"] == "identity"


def test_an_authority_that_nobody_knows(server: mirror_server.Server, authority: certificates.Authority) -> None:
    error = refused(server.url("/file"), 1000)
    assert error.code == "E_HTTP" and "ca_file" in error.remedy
    assert server.asked == [] and get(server, authority)


@pytest.mark.parametrize(("address", "days"), [("127.0.0.2", 30), ("127.0.0.1", -10)], ids=["another host", "expired"])
def test_a_certificate_that_does_not_fit(authority: certificates.Authority, address: str, days: int) -> None:
    with mirror_server.serve(authority.issue(address, days)) as server:
        assert refused(server, authority).code == "E_HTTP" and server.asked == []


def test_no_file_of_certificates(server: mirror_server.Server, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").write_text("")
    for name in ("missing", "empty"):
        error = refused(server.url("/file"), 1, str(tmp_path / name))
        assert (error.code, error.option) == ("E_INVALID", "ca_file")


def test_no_proxy_is_asked(server: mirror_server.Server, authority: certificates.Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert get(server, authority) == b"content"


def test_size(server: mirror_server.Server, authority: certificates.Authority) -> None:
    assert refused(server, authority, limit=6).code == "E_LIMIT"

    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(65536))

    server.answers["/file"] = endless
    assert refused(server, authority, limit=1 << 20).code == "E_LIMIT"


def test_without_a_length(server: mirror_server.Server, authority: certificates.Authority) -> None:
    server.answers["/file"] = (200, {"Content-Length": ""}, b"content")
    assert get(server, authority) == b"content"


def test_cut_off(server: mirror_server.Server, authority: certificates.Authority) -> None:
    server.answers["/file"] = (200, {"Content-Length": "9"}, b"content")
    assert refused(server, authority).code == "E_HTTP"


@pytest.mark.parametrize(("status", "code"), [(404, "E_NOT_FOUND"), (410, "E_NOT_FOUND"), (403, "E_HTTP"), (500, "E_HTTP"), (204, "E_HTTP"), (304, "E_HTTP")])
def test_other_answers(server: mirror_server.Server, authority: certificates.Authority, status: int, code: str) -> None:
    server.answers["/file"] = (status, {}, b"")
    error = refused(server, authority)
    assert error.code == code and str(status) in error.message


def test_redirects_on_the_same_host(server: mirror_server.Server, authority: certificates.Authority) -> None:
    server.answers["/a"] = (302, {"Location": "/b"}, b"")
    server.answers["/b"] = (307, {"Location": server.url("/file")}, b"")
    assert get(server, authority, "/a") == b"content"
    server.answers["/b"] = (301, {"Location": "/a"}, b"")
    assert refused(server, authority, "/a").code == "E_HTTP"
    server.answers["/a"] = (302, {}, b"")
    assert refused(server, authority, "/a").code == "E_HTTP"


def test_redirects_elsewhere(server: mirror_server.Server, authority: certificates.Authority) -> None:
    with mirror_server.serve(authority.issue()) as other:
        other.files["/file"] = b"other"
        for target in (other.url("/file"), f"https://localhost:{server.port}/file", "http://127.0.0.1/file", "//127.0.0.1/file"):
            server.answers["/a"] = (302, {"Location": target}, b"")
            assert refused(server, authority, "/a").code in ("E_HTTP", "E_INVALID"), target
        for target in ("file:///etc/passwd", f"https://user@127.0.0.1:{server.port}/file"):
            server.answers["/a"] = (302, {"Location": target}, b"")
            assert refused(server, authority, "/a").code in ("E_HTTP", "E_INVALID"), target
        assert other.asked == []


def slow_body(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def slow_head(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def silent(_handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


@pytest.mark.parametrize("behaviour", [slow_body, slow_head, silent])
def test_time(server: mirror_server.Server, authority: certificates.Authority, behaviour: t.Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
    server.answers["/file"] = behaviour
    assert refused(server, authority, limit=1 << 20, timeout=0.4).code == "E_TIMEOUT"


def test_what_is_no_http(server: mirror_server.Server, authority: certificates.Authority) -> None:
    server.answers["/file"] = lambda handler: t.cast(None, handler.wfile.write(b"garbage\r\n\r\n"))
    assert refused(server, authority).code == "E_HTTP"
    server.answers["/file"] = lambda _handler: None
    assert refused(server, authority).code == "E_HTTP"


def test_nobody_there() -> None:
    with socket.socket() as listening:
        listening.bind((certificates.HOST, 0))
        port = listening.getsockname()[1]
    assert refused(f"https://{certificates.HOST}:{port}/x", 1).code == "E_HTTP"


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "/etc/passwd", "http://127.0.0.1/x", "ftp://127.0.0.1/x", "https://", "https:///x", "https://a b/x", "https://a/x\n", "https://ä/x"),
        *("https://user@host/x", "https://user:word@host/x", "https://host/x#y", "https://host:0/x", "https://host:x/", "https://[::1/x", "https://a\\b/x"),
        *("file://host/x", "file:x", "file:///x?y", "file:///x#y", "https://host/" + "x" * 2048),
    ],
)
def test_what_is_no_address(url: str) -> None:
    assert refused(url, 1).code == "E_INVALID"


def test_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a b"
    path.write_bytes(b"content")
    assert fetch.fetch(f"file://{tmp_path}/a%20b", 7) == fetch.fetch(f"file://localhost{tmp_path}/a%20b", 7) == b"content"
    assert refused(f"file://{tmp_path}/a%20b", 6).code == "E_LIMIT"
    assert refused(f"file://{tmp_path}/missing", 6).code == "E_NOT_FOUND"
    assert refused(f"file://{tmp_path}/a%00b", 6).code == "E_NOT_FOUND"
    assert refused(f"file://{tmp_path}", 6).code == "E_INVALID"
    os.mkfifo(tmp_path / "pipe")
    assert refused(f"file://{tmp_path}/pipe", 6).code == "E_INVALID"


def test_beside() -> None:
    assert fetch.below("https://host/a/index.json", "b/c") == "https://host/a/b/c"
