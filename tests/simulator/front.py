# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP side: what is a request at all, and how an answer is written."""

from __future__ import annotations

import gzip
import http.client
import http.server
import json
import socket
import ssl
import typing as t
import urllib.parse

from . import control, multipart
from .errors import ApiError, Dropped
from .service import Reply, Service

LARGEST = 512 * 1024  # bytes of a body
PERL = "/usr/share/perl5/PVE/APIServer/AnyEvent.pm"
JSON = "application/json;charset=UTF-8"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    server: Front
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pve-api-daemon/3.0", ""
    timeout = 5  # seconds that an idle connection is kept
    wbufsize = -1  # an answer is one write, not one for each line of its head
    disable_nagle_algorithm = True

    def answer(self) -> None:
        try:
            self._checked()
        except ApiError as error:
            self._failure(error, "json")
        except Dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def unavailable(self) -> None:
        self._failure(ApiError(501, f"method '{self.command}' not available", plain=True), "json")

    do_HEAD = do_PATCH = do_OPTIONS = unavailable  # noqa: N815

    def _checked(self) -> None:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            raise ApiError(501, "chunked transfer encoding not supported", plain=True)
        length = int(self.headers.get("Content-Length") or 0)
        path, _mark, query = self.path.partition("?")
        if length and self.command in ("GET", "DELETE"):
            raise ApiError(501, f"Unexpected content for method '{self.command}'", plain=True)
        kind = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if length > LARGEST and kind != "multipart/form-data":
            self._skip(length)
            raise ApiError(501, "for data too large", plain=True)
        body = self.rfile.read(length)
        if path.startswith(control.PREFIX):
            self._write(200, "OK", JSON, json.dumps(control.do(self.server.service.cluster, _Headers(self.headers), json.loads(body or b"{}"))).encode())
            return
        form, call = self._format(path)
        given = _pairs(query)
        given.update(self._given(kind, body))
        self._call(form, call, given)

    def _skip(self, length: int) -> None:
        """Reads what nobody wants, so that a client that still sends gets to see the answer."""
        while length > 0:
            length -= len(self.rfile.read(min(length, 65536))) or length

    def _format(self, path: str) -> tuple[str, str]:
        """The format and the path of the call in a path."""
        if path in ("/api2/json", "/api2/extjs"):
            message = "file error - /usr/share/pve-manager/index.html.tpl: not found\n"
            raise ApiError(500, message, plain=True)
        if not path.startswith("/api2/"):
            raise ApiError(500, f"no such file '{urllib.parse.unquote(path)}'\n", plain=True)
        form, slash, call = path.removeprefix("/api2/").partition("/")
        if not slash:
            raise ApiError(501, "no such uri", plain=True)
        if form not in ("json", "extjs", "html"):
            raise ApiError(501, f"no formatter for uri /{call}, {form}", plain=True)
        return form, "/" + urllib.parse.unquote(call)

    def _given(self, kind: str, body: bytes) -> dict[str, t.Any]:
        if kind in ("", "application/x-www-form-urlencoded"):
            return _pairs(body.decode())
        if kind == "application/json":
            return _json(body)
        if kind == "multipart/form-data" and self.path.partition("?")[0].endswith("/upload"):
            return multipart.fields(self.headers.get("Content-Type") or "", body)
        raise ApiError(506, f"upload 'Content-Type '{kind}' not implemented", plain=True)

    def _call(self, form: str, path: str, given: dict[str, t.Any]) -> None:
        service = self.server.service
        service.cluster.seen.append({"method": self.command, "path": path, "headers": dict(self.headers), "given": sorted(given)})
        try:
            reply = service.call(self.command, path, given, _Headers(self.headers))
        except ApiError as error:
            if error.status == 403 and path.endswith("/upload"):
                error.plain = None  # refused before the file is read
            self._failure(error, form)
            return
        except Dropped:
            raise
        except Exception as error:  # a defect of the simulator shall not look like Proxmox VE
            self._failure(ApiError(500, f"simulator defect: {error!r}"), form)
            raise
        self._success(form, reply)

    # ---- answers

    def _success(self, form: str, reply: Reply) -> None:
        body: dict[str, t.Any] = {"data": reply.data, **reply.extra}
        if form == "html":
            self._write(200, "OK", "text/html; charset=utf-8", f"<!DOCTYPE html>\n<html><body><pre>{json.dumps(body)}</pre></body></html>\n".encode())
            return
        if "text" in reply.extra:
            self._write(200, "OK", "text/plain", str(reply.extra["text"]).encode())
            return
        if form == "extjs":
            body["success"] = 1
        self._write(200, "OK", JSON, json.dumps(body).encode())

    def _failure(self, error: ApiError, form: str) -> None:
        text = error.message if error.bare or error.message.endswith("\n") else error.message + "\n"
        if error.plain is None:
            self._write(error.status, error.reason, "text/plain", b"")
        elif error.plain:
            self._write(error.status, error.reason, "text/plain", b"" if self.command == "HEAD" else error.message.encode())
        elif form == "extjs":
            status: t.Any = str(error.status) if error.errors else error.status
            self._write(200, "OK", JSON, json.dumps({"data": None, "success": 0, "status": status, "message": text, **_named(error)}).encode())
        else:
            known = {"message": text} if self.server.message else {}
            self._write(error.status, error.reason, JSON, json.dumps({"data": None, **known, **_named(error)}).encode())

    def _write(self, status: int, reason: str, kind: str, body: bytes) -> None:
        closing = status >= 400
        shown = reason if self.server.reasons else http.client.responses.get(status, "Unknown")
        self.send_response(status, shown.encode("latin-1", "replace").decode("latin-1"))
        if len(body) > 1024 and "gzip" in (self.headers.get("Accept-Encoding") or ""):
            body = gzip.compress(body, mtime=0)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Cache-Control", "max-age=0")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close" if closing else "Keep-Alive")
        if self.server.cookie:
            self.send_header("Set-Cookie", self.server.cookie)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        self.close_connection = closing

    def log_message(self, *_details: object) -> None:
        """Nothing on the tests' output."""


class _Headers(t.Mapping[str, str]):
    """Headers by name in any case."""

    def __init__(self, message: t.Any) -> None:
        self._message = message

    def __getitem__(self, name: str) -> str:
        found = self._message.get(name)
        if found is None:
            raise KeyError(name)
        return str(found)

    def __iter__(self) -> t.Iterator[str]:
        return iter(self._message.keys())

    def __len__(self) -> int:
        return len(self._message)


def _named(error: ApiError) -> dict[str, t.Any]:
    return {"errors": error.errors} if error.errors else {}


def _pairs(text: str) -> dict[str, t.Any]:
    """Parameters of a query or a form; a repeated one becomes a list."""
    given: dict[str, t.Any] = {}
    for name, value in urllib.parse.parse_qsl(text, keep_blank_values=True):
        if name in given:
            earlier = given[name]
            given[name] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        else:
            given[name] = value
    return given


def _json(body: bytes) -> dict[str, t.Any]:
    try:
        given = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError(500, f"malformed JSON string, at character offset {getattr(error, 'pos', 0)} at {PERL} line 934.\n", plain=True) from None
    if not isinstance(given, dict):
        raise ApiError(500, f"Not a HASH reference at {PERL} line 978.\n", plain=True)
    return given


class Front(http.server.ThreadingHTTPServer):
    """The server of one cluster; all nodes answer on the same port.

    Attributes:
        reasons: Reason phrases say what is wrong; a proxy with HTTP/2 loses them.
        message: Bodies have ``message``; before 8.3 there is none.
        cookie: A header that a load balancer adds to every answer.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, service: Service, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self.service, self.context = service, context
        self.reasons = self.message = True
        self.cookie = ""
        super().__init__(address, Handler)
        service.cluster.access.clock = service.cluster.clock
        control.FRONTS[id(service.cluster)] = self

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        """The handshake is made in the connection's own thread: one that hangs holds up nobody."""
        if self.context is not None:
            request.settimeout(10)
            with self.context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
            return
        super().finish_request(request, client_address)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Clients that go away are no news; anything else is."""
        import sys

        error = sys.exc_info()[1]
        if not isinstance(error, (OSError, ssl.SSLError)):
            super().handle_error(request, client_address)
