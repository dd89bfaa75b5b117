# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real HTTP and HTTPS servers on loopback, and certificates for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import json
import pathlib
import socket
import ssl
import threading
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by its path, and keeps what it was asked in ``server.seen``."""

    server: Server
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        self.server.seen.append({"method": self.command, "target": self.path, "headers": dict(self.headers), "body": body.decode()})
        path = self.path.partition("?")[0]
        act = self.server.routes.get(path)
        if act is not None:
            act(self)
            return
        status, kind, content = 200, "application/json", json.dumps({"path": self.path, "headers": dict(self.headers), "body": body.decode()}).encode()
        self.reply(status, kind, content)

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

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that goes away is what some tests are about."""


@contextlib.contextmanager
def serving(address: str = "127.0.0.1", certificate: pathlib.Path | None = None) -> t.Iterator[Server]:
    """A server that answers until the end of the block."""
    server = Server(address, certificate)
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


def certificate(folder: pathlib.Path, *names: str, days: int = 1) -> pathlib.Path:
    """A self-signed certificate for names and addresses, with its key, in one file; negative ``days`` for one that is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.timezone.utc)
    begin, end = sorted((now - dt.timedelta(hours=1), now + dt.timedelta(days=days)))
    alternatives: list[x509.GeneralName] = []
    for text in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            alternatives.append(x509.DNSName(text))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(end).add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    file = folder / f"{names[0]}-{days}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
