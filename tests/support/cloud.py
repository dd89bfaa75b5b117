# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small cloud on loopback, over TLS: the API that docs/examples/cloud-backend speaks, with faults where a test wants them."""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
import typing as t
import urllib.parse

from ansible_collections.nexcage.backends.tests.support import certificates, web

PAGE = 3  # instances
TOKEN = "an-api-token-that-nobody-shows"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class Fault(t.NamedTuple):
    """What goes wrong with requests of one kind.

    Args:
        method: Of the requests.
        ending: Of their paths.
        kind: ``500``, ``cut``: an answer that ends early, ``silent``: none before the end of the test, ``html``: no JSON.
        done: Whether the cloud does what it was asked for all the same.
    """

    method: str
    ending: str
    kind: str
    done: bool = False


class Cloud:
    """What the cloud has.

    Attributes:
        instances: By name.
        asked: Method and path of each request.
        faults: What goes wrong until it is taken out.
        authorization: The headers that requests came with.
    """

    def __init__(self) -> None:
        self.instances: dict[str, dict[str, t.Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[t.Any] = []
        self.faults: list[Fault] = []
        self.authorization: set[str] = set()
        self.incidents: list[str] = []
        self.over = threading.Event()

    def writes(self) -> list[tuple[str, str]]:
        """The requests that were none for reading."""
        return [entry for entry in self.asked if entry[0] != "GET"]

    def act(self, method: str, target: str, body: t.Any) -> tuple[int, t.Any]:
        """Status and answer of one request that is signed in."""
        parts = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(parts.query))
        words = parts.path.strip("/").split("/")
        if words == ["v1", "status"]:
            return 200, {"version": "7.1", "incidents": self.incidents}
        if words[:2] != ["v1", "instances"] or len(words) > 4:
            raise Refused(404, "no such resource")
        if len(words) == 2:
            return 200, self._page(int(query.get("page", "0")))
        name = urllib.parse.unquote(words[2])
        if method == "PUT":
            return 201, self._make(name, body)
        if name not in self.instances:
            raise Refused(404, f"there is no instance {name}")
        return self._one(self.instances[name], method, words[3] if len(words) == 4 else "", body, query)

    def _page(self, begin: int) -> dict[str, t.Any]:
        names = sorted(self.instances)
        more = str(begin + PAGE) if begin + PAGE < len(names) else None
        return {"items": [self.instances[name] for name in names[begin : begin + PAGE]], "next": more}

    def _make(self, name: str, body: dict[str, t.Any]) -> dict[str, t.Any]:
        if name in self.instances:
            raise Refused(409, f"there is an instance {name} already")
        if body.get("memory_bytes", 0) > 1 << 30:
            raise Refused(422, "memory_bytes is above the quota")
        made = {"name": name, "id": f"i-{len(self.asked):06d}", "state": "new", "region": "north", "created_at": "2026-01-01T00:00:00Z", "exit_code": None}
        self.instances[name] = {**made, "env": {}, "labels": {}, **body}
        return self.instances[name]

    def _one(self, entry: dict[str, t.Any], method: str, verb: str, body: t.Any, query: dict[str, str]) -> tuple[int, t.Any]:
        if (method, verb) == ("DELETE", ""):
            del self.instances[entry["name"]]
            return 204, None
        if (method, verb) == ("PATCH", ""):
            entry.update(body)
        elif (method, verb) == ("POST", "start"):
            entry.update(state="running", exit_code=None, address="192.0.2.7")
        elif (method, verb) == ("POST", "stop") and entry["state"] == "running":
            entry.update(state="stopped", exit_code=137 if body.get("grace_seconds") == 0 else 143)
        elif (method, verb) == ("POST", "exec"):
            if entry["state"] != "running":
                raise Refused(409, "the instance does not run")
            failed = body["argv"][0] == "false"
            return 200, {"exit_code": int(failed), "stdout": "" if failed else " ".join(body["argv"][1:]), "stderr": ""}
        elif (method, verb) == ("GET", "log"):
            return 200, {"lines": [{"time": "2026-01-01T00:00:00Z", "stream": "stdout", "text": "up"}][: int(query.get("tail", "9"))]}
        return 200, entry

    def serve(self, handler: web.Handler) -> None:
        """Answer one request, or let it fail."""
        request = handler.server.seen[-1]
        method, target = request["method"], request["target"]
        self.asked.append((method, target))
        self.authorization.add(request["headers"].get("Authorization", ""))
        body = json.loads(request["body"]) if request["body"] else None
        self.bodies.append(body)
        fault = next((fault for fault in self.faults if fault.method == method and target.partition("?")[0].endswith(fault.ending)), None)
        try:
            if request["headers"].get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, f"unknown credentials {request['headers'].get('Authorization')}")
            status, answer = self.act(method, target, body) if fault is None or fault.done else (200, {})
        except Refused as refused:
            status, answer = refused.status, {"message": str(refused)}
        if fault is None:
            handler.reply(status, "application/json", b"" if status == 204 else json.dumps(answer).encode())
        else:
            self._fail(handler, fault.kind, json.dumps(answer).encode())

    def _fail(self, handler: web.Handler, kind: str, content: bytes) -> None:
        if kind == "500":
            handler.reply(503, "application/json", b'{"message": "the zone north is being repaired"}', Retry_After="7")
        elif kind == "html":
            handler.reply(200, "text/html", b"<h1>a proxy's own page</h1>")
        elif kind == "silent":
            self.over.wait(30)
            handler.close_connection = True
        else:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content) + 10))
            handler.end_headers()
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True


class Everything(dict[str, t.Callable[[web.Handler], None]]):
    """One answer for all paths."""

    def __init__(self, answer: t.Callable[[web.Handler], None]) -> None:
        super().__init__()
        self._answer = answer

    def get(self, _path: str, _default: t.Any = None) -> t.Any:
        return self._answer


@contextlib.contextmanager
def serving(folder: pathlib.Path) -> t.Iterator[tuple[Cloud, dict[str, t.Any]]]:
    """A cloud, and the settings with which the plugin reaches it."""
    certificate = certificates.self_signed(folder, "localhost", "127.0.0.1")
    cloud = Cloud()
    with web.serving(certificate=certificate) as server:
        server.routes = Everything(cloud.serve)
        try:
            yield cloud, {"api_host": "127.0.0.1", "api_port": server.port, "authorities": str(certificate), "token": TOKEN}
        finally:
            cloud.over.set()
