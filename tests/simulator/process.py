# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator as a process of its own, for tests, and a small client that knows nothing of what it calls."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import ssl
import subprocess
import sys
import typing as t
import urllib.parse

from . import worlds

MODULE = "ansible_collections.nexcage.backends.tests.simulator"


class Answer(t.NamedTuple):
    """One answer; ``body`` is what its JSON holds, or its text."""

    status: int
    reason: str
    body: t.Any
    headers: dict[str, str]

    @property
    def data(self) -> t.Any:
        return self.body["data"]


class Simulator:
    """A simulator that runs.

    Attributes:
        url: Where it answers, without a path.
        fingerprint: SHA-256 of its certificate, in pairs of hexadecimal digits with colons.
        secret: What ``POST /_sim`` wants.
        token: A token that may do everything, as the header ``Authorization: PVEAPIToken=`` wants it.
    """

    def __init__(self, ready: dict[str, str]) -> None:
        self.url, self.fingerprint, self.secret = ready["url"], ready["fingerprint"], ready["secret"]
        self.token = worlds.TOKEN
        parts = urllib.parse.urlsplit(self.url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def connect(self, timeout: float = 20.0) -> http.client.HTTPConnection:
        """A new connection, which trusts any certificate."""
        if self.url.startswith("http:"):
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self._context)

    def raw(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            text = response.read()
        try:
            found = json.loads(text) if text else None
        except ValueError:
            found = text.decode("utf-8", "replace")
        return Answer(response.status, response.reason, found, {name.lower(): value for name, value in response.getheaders()})

    def call(self, method: str, path: str, params: t.Any = None, token: str | None = None, headers: dict[str, str] | None = None) -> Answer:
        """One call of the API; without a token, the one that may do everything."""
        text = urllib.parse.urlencode(params or {}, doseq=True)
        sent = {"Authorization": "PVEAPIToken=" + (self.token if token is None else token), **(headers or {})}
        place = "/api2/json" + urllib.parse.quote(path, safe="/%:@!=")
        if method in ("POST", "PUT"):
            return self.raw(method, place, text.encode(), {**sent, "Content-Type": "application/x-www-form-urlencoded"})
        return self.raw(method, place + ("?" + text if text else ""), None, sent)

    def do(self, act: str, **details: t.Any) -> t.Any:
        """Does something to the cluster behind its back; ``control.py`` has all that there is.

        Raises:
            ValueError: The simulator refuses.
        """
        answer = self.raw("POST", "/_sim", json.dumps({"do": act, **details}).encode(), {"X-Simulator": self.secret})
        if answer.status != 200:
            raise ValueError(answer.body["message"].strip())
        return answer.body

    def wait(self, upid: str) -> str:
        """Lets a task end; its exit status."""
        self.do("finish", upid=upid)
        node = upid.split(":")[1]
        return str(self.call("GET", f"/nodes/{node}/tasks/{urllib.parse.quote(upid, safe='')}/status").data["exitstatus"])


@contextlib.contextmanager
def running(version: str = "9.2", *, speed: float = 0.0, plain: bool = True, world: pathlib.Path | None = None, lag: float = 10.0) -> t.Iterator[Simulator]:
    """A simulator for as long as the context lasts.

    Args:
        version: ``8.4``, ``9.1`` or ``9.2``.
        speed: Simulated seconds in a real one; 0 for a clock that only moves when a call waits or a test moves it.
        plain: HTTP; HTTPS otherwise.
        world: A file with what there is at the start.
        lag: Simulated seconds that statistics are late.
    """
    command = [sys.executable, "-m", MODULE, "--version", version, "--speed", str(speed), "--lag", str(lag)]
    command += (["--plain"] if plain else []) + (["--world", str(world)] if world else [])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"the simulator ended with {process.wait(10)} before it was ready")
            yield Simulator(json.loads(line))
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
