# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real HTTP and HTTPS servers on loopback."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import socket
import ssl
import threading
import typing as t


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by its path, and keeps what it was asked in ``server.seen``."""

    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.seen.append({"method": self.command, "target": self.path, "headers": dict(self.headers), "body": body.decode()})
        self.server.respond(self, body.decode())

    def reply(self, status: int, kind: str, content: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_details: object) -> None:
        """Nothing on the tests' output."""


class Server(http.server.ThreadingHTTPServer):
    """One server on a port of its own.

    Attributes:
        seen: What it was asked, in order.
        routes: Path to what answers there.
    """

    daemon_threads = True

    def __init__(self, address: str, certificate: pathlib.Path | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.seen: list[dict[str, t.Any]] = []
        self.routes: dict[str, t.Callable[[Handler], None]] = {}
        super().__init__((address, 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def respond(self, handler: Handler, body: str) -> None:
        """Answer one request: as its path says, else with what was asked."""
        act = self.routes.get(handler.path.partition("?")[0])
        if act is not None:
            act(handler)
            return
        handler.reply(200, "application/json", json.dumps({"path": handler.path, "headers": dict(handler.headers), "body": body}).encode())

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that goes away is what some tests are about."""


Kind = t.TypeVar("Kind", bound=Server)


@contextlib.contextmanager
def serving(address: str = "127.0.0.1", certificate: pathlib.Path | None = None) -> t.Iterator[Server]:
    """A server that answers until the end of the block."""
    with running(Server(address, certificate)) as server:
        yield server


@contextlib.contextmanager
def running(server: Kind) -> t.Iterator[Kind]:
    """The same for a server that was made already."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def raw(*parts: bytes, pause: float = 0.0, address: str = "127.0.0.1") -> t.Iterator[int]:
    """A port where each connection gets the same bytes, whatever it says, with a pause after each part; then it is closed."""
    listener = socket.create_server((address, 0))
    stop = threading.Event()

    def speak(connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError):
            connected.recv(65536)
            for part in parts:
                connected.sendall(part)
                if stop.wait(pause):
                    return

    def accept() -> None:
        while True:
            try:
                connected, _peer = listener.accept()
            except OSError:
                return
            threading.Thread(target=speak, args=(connected,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
