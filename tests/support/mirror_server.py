# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server for a mirror: real HTTPS on loopback, with certificates of an authority made for the test."""

from __future__ import annotations

import contextlib
import datetime as dt
import http.server
import ipaddress
import pathlib
import ssl
import threading
import typing as t

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, str], bytes]
HOST = "127.0.0.1"


class Authority:
    """A certificate authority.

    Args:
        folder: Where ``ca.pem`` is written.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._certificate = self._sign(self._name, self._key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, address: str = HOST, days: int = 30) -> pathlib.Path:
        """A file with certificate and key of a server at an IP address; a negative number of days has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._sign(name, key, [(addresses, False)], days)
        path = self.folder / f"server-{address}-{days}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        return path

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[tuple[x509.ExtensionType, bool]], days: int = 30) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        start, end = sorted((now - dt.timedelta(days=1), now + dt.timedelta(days=days)))
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number(), start, end)
        # Python 3.13 asks for what RFC 5280 does: key identifiers everywhere, and what an authority's key is for (4.2.1.1 to 4.2.1.3).
        always: list[tuple[x509.ExtensionType, bool]] = [
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.KeyUsage(True, False, False, False, False, name == self._name, name == self._name, False, False), True),
        ]
        for extension, critical in [*extensions, *always]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


class Server:
    """What a server answers and was asked.

    Args:
        port: Where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer | t.Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str = "/") -> str:
        """The address of a path."""
        return f"https://{HOST}:{self.port}{path}"

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.asked.append((handler.path, dict(handler.headers)))
        chosen = self.answers.get(handler.path)
        if callable(chosen):
            chosen(handler)
            return
        found = self.files.get(handler.path)
        status, headers, body = chosen or ((404, {}, b"no") if found is None else (200, {}, found))
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@contextlib.contextmanager
def serve(certificate: pathlib.Path) -> t.Iterator[Server]:
    """A server that runs as long as the block does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                made.answer(self)

        def log_message(self, *_arguments: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_arguments: object) -> None:
            """Clients that go away are part of the tests."""

    with Quiet((HOST, 0), Handler) as server:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        made = Server(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
