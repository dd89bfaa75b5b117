# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests by template: the call ``http.request``.

The manifest says hosts, port, method and path with typed holes; the operator's settings may stand for a host or a port.
No redirect is followed, no proxy asked, and no address connected to that was not judged.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import time
import typing as t
import urllib.parse

from ..model import template
from ..model.errors import NexcageError
from ..worker import channel
from . import connection
from .secret import set_it

if t.TYPE_CHECKING:
    from .secret import Secrets

    Arguments = t.Mapping[str, t.Any]

TIMEOUT = 30.0  # seconds for one request
ANSWER_LIMIT = 4 << 20  # bytes of a response's body
FRAME_LIMIT = channel.TO_WORKER - (64 << 10)  # bytes that an answer may become on its way to the worker
LONGEST_ESCAPE = 6  # bytes that one byte of text can become there
SHOWN = ("content-type", "etag", "last-modified", "location", "retry-after", "link")  # headers that a plugin is told
ACCEPT = "application/json, text/plain;q=0.5, */*;q=0.1"


class Budget:
    """How many connections one operation may still make."""

    def __init__(self, limit: int) -> None:
        self.limit = self._left = limit

    def take(self) -> None:
        """Count one.

        Raises:
            NexcageError: ``E_LIMIT``.
        """
        if self._left <= 0:
            raise NexcageError("E_LIMIT", f"more than {self.limit} connections in one operation", option="max_network_connections")
        self._left -= 1


class Requests:
    """The templates of one kind; no other can be made through it.

    Args:
        manifest: The plugin's.
        kind: ``read`` or ``write``.
        config: The operator's settings for it.
        secrets: What goes into headers.
        budget: Connections left in this operation.
        deadline: When, by the monotonic clock, the operation has to be over.
    """

    def __init__(self, manifest: t.Mapping[str, t.Any], kind: str, config: t.Mapping[str, t.Any], secrets: Secrets, budget: Budget, deadline: float) -> None:
        networks = [
            {**network, "requests": [entry for entry in network["requests"] if template.request_kind(entry["method"]) == kind]}
            for network in manifest.get("network") or ()
        ]
        self._manifest = {"network": networks}
        self._settings = manifest.get("configuration") or {}
        self._config = config
        self._secrets = secrets
        self._budget = budget
        self._deadline = deadline

    def request(self, arguments: Arguments) -> dict[str, t.Any]:
        """Make one; the call ``http.request``. Any status is an answer.

        Returns:
            ``status``, ``headers`` and either ``json`` or, where the answer is none, ``text``.

        Raises:
            NexcageError: ``E_CAPABILITY``, ``E_INVALID``, ``E_LIMIT`` before anything was sent, ``E_LIMIT`` too for an
                answer above 4 MiB, ``E_TIMEOUT``, ``E_HTTP``.
        """
        network, entry = template.request(self._manifest, arguments["network"], arguments["method"], arguments["path"])
        target = _target(entry, arguments)
        host, port, named = self._place(network, arguments["host"])
        headers = self._secrets.headers(network["id"])
        deadline = min(time.monotonic() + TIMEOUT, self._deadline)
        self._budget.take()
        addresses = connection.resolve(host, port, named, deadline)
        if headers and not network["tls"] and not all(connection.is_loopback(address[0]) for _family, address in addresses):
            raise NexcageError("E_CAPABILITY", f"a secret is not sent to {host} without TLS", option="network", value=network["id"])
        bare = f"[{host}]" if ":" in host else host
        shown = f"{bare}:{port}"
        authority = bare if port == (443 if network["tls"] else 80) else shown
        try:
            line = connection.connect(host, addresses, network["tls"], self._authorities(network), deadline)
            try:
                return _exchange(line, authority, entry["method"], target, headers, arguments["body"])
            finally:
                line.end()
        except socket.timeout:
            raise NexcageError("E_TIMEOUT", f"{shown} did not answer in time", option="host", value=host) from None
        except (OSError, http.client.HTTPException) as error:
            raise NexcageError("E_HTTP", f"{shown}: {_reason(error)}", option="host", value=host) from None

    def _place(self, network: t.Mapping[str, t.Any], wanted: str | None) -> tuple[str, int, str | None]:
        """Host and port, and the host once more where the operator wrote it."""
        text = network["hosts"][0] if wanted is None else wanted
        if text not in network["hosts"]:
            raise NexcageError("E_CAPABILITY", f"not a host of the manifest's network {network['id']}", option="host", value=text)
        host, named = text, None
        for name in template.holes(text):
            host = self._setting(name)
            named = host if name in self._config else None
            connection.check_host(host, f"config.{name}")
        port = network["port"]
        for name in template.holes(str(port)):
            port = self._setting(name)
            port = int(port) if isinstance(port, str) and port.isascii() and port.isdigit() else port
            if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
                raise NexcageError("E_INVALID", "not a port from 1 to 65535", option=f"config.{name}", value=port)
        return host, port, named

    def _setting(self, name: str) -> t.Any:
        value = self._config.get(name, self._settings.get(name, {}).get("default"))
        if value is None:
            raise NexcageError("E_INVALID", "not set, and requests need it", option=f"config.{name}", remedy=set_it(name))
        return value

    def _authorities(self, network: t.Mapping[str, t.Any]) -> str | None:
        name = network.get("ca_file")
        return self._config.get(name) if name else None


def _target(entry: t.Mapping[str, t.Any], arguments: Arguments) -> str:
    filled = template.texts(entry["parameters"], arguments["parameters"], entry["path"])
    path = template.fill(entry["path"], {name: urllib.parse.quote(text, safe="/") for name, text in filled.items()})
    pairs = [(name, str(value).lower() if isinstance(value, bool) else value) for name, value in arguments["query"]]
    return f"{path}?{urllib.parse.urlencode(pairs)}" if pairs else path


def _exchange(line: connection.Line, authority: str, method: str, target: str, secrets: t.Mapping[str, str], body: str | None) -> dict[str, t.Any]:
    """One request and its answer on a connection that serves no other."""
    data = None if body is None else body.encode("ascii")
    exchange = http.client.HTTPConnection("unused")
    exchange.sock = line
    exchange.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    headers = {"Host": authority, "User-Agent": "nexcage", "Accept": ACCEPT, "Accept-Encoding": "identity", "Connection": "close"}
    if data is not None:
        headers["Content-Type"] = "application/json"
    if data is not None or method not in template.READ_METHODS:
        headers["Content-Length"] = str(len(data or b""))
    for name, value in {**headers, **secrets}.items():
        exchange.putheader(name, value)
    exchange.endheaders(data)
    with exchange.getresponse() as response:
        content = _content(response)
        told = {name: response.headers[name] for name in SHOWN if name in response.headers}
        return {"status": response.status, "headers": told, **_parsed(content, response.headers.get_content_type())}


def _content(response: http.client.HTTPResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        part = response.read(1 << 16)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT:
            raise NexcageError("E_LIMIT", f"the answer is larger than {ANSWER_LIMIT} bytes", remedy="ask for less at once")
    if response.length:  # announced, and never sent
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _parsed(content: bytes, kind: str) -> dict[str, t.Any]:
    """JSON by the very rules that the worker has, and everything else as text."""
    found: dict[str, t.Any] = {}
    if kind == "application/json" or kind.endswith("+json"):
        with contextlib.suppress(channel.FrameError):
            found = channel.decode(b'{"":' + content + b"}")
    is_json = set(found) == {""}
    answer = {"json": found[""], "text": ""} if is_json else {"json": None, "text": content.decode("utf-8", "replace")}
    if len(content) * LONGEST_ESCAPE > FRAME_LIMIT:
        try:
            channel.encode(answer, FRAME_LIMIT)
        except channel.FrameError:
            raise NexcageError("E_LIMIT", "the answer is too large to be passed on", remedy="ask for less at once") from None
    return answer


def _reason(error: Exception) -> str:
    """What went wrong, and nothing of what was sent."""
    text = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
