# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server for a mirror: files, and answers as a test wants them."""

from __future__ import annotations

import contextlib
import http.server
import pathlib
import typing as t

from ansible_collections.nexcage.backends.tests.support import web
from ansible_collections.nexcage.backends.tests.support.certificates import HOST

Answer = tuple[int, dict[str, str], bytes]


class Server(web.Server):
    """What a server answers and was asked.

    Args:
        certificate: Its certificate and key.
    """

    def __init__(self, certificate: pathlib.Path) -> None:
        super().__init__(HOST, certificate)
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Answer | t.Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def url(self, path: str = "/") -> str:
        """The address of a path."""
        return f"https://{HOST}:{self.port}{path}"

    def respond(self, handler: web.Handler, body: str) -> None:
        """Answer one request, and hang up."""
        self.asked.append((handler.path, dict(handler.headers)))
        handler.close_connection = True
        with contextlib.suppress(OSError):
            self._answer(handler)

    def _answer(self, handler: web.Handler) -> None:
        chosen = self.answers.get(handler.path)
        if callable(chosen):
            chosen(handler)
            return
        found = self.files.get(handler.path)
        status, headers, content = chosen or ((404, {}, b"no") if found is None else (200, {}, found))
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)


@contextlib.contextmanager
def serve(certificate: pathlib.Path) -> t.Iterator[Server]:
    """A server that runs as long as the block does."""
    with web.running(Server(certificate)) as made:
        yield made
