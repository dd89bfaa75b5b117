# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small files from a web server or a folder, in memory: bounded in size and time, verified TLS, no surprises on the way.

Proxies are not used: neither the environment nor anybody on the way decides where bytes come from.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import ssl
import stat
import threading
import time
import typing as t
import urllib.parse

from ..model.errors import NexcageError

TIMEOUT = 60.0  # seconds for one file, redirects included
REDIRECTS = 3
_BLOCK = 65536
_MOVED = (301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": "nexcage", "Accept-Encoding": "identity"}


def fetch(url: str, limit: int, ca_file: str | None = None, timeout: float = TIMEOUT) -> bytes:
    """The content behind an ``https://`` or ``file://`` address.

    Args:
        url: Without user, password and fragment.
        limit: Bytes that it may have.
        ca_file: The certificates that are trusted instead of the system's, in PEM.
        timeout: Seconds for all of it.

    Raises:
        NexcageError: ``E_INVALID`` for an address of another kind, ``E_HTTP`` where the server is not there, cannot be
            trusted or says something else, ``E_NOT_FOUND``, ``E_LIMIT``, ``E_TIMEOUT``.
    """
    parts = _parse(url)
    if parts.scheme == "file":
        return _read(urllib.parse.unquote(parts.path), url, limit)
    deadline = time.monotonic() + timeout
    context = _context(ca_file)
    for _turn in range(REDIRECTS + 1):
        answer = _get(parts, limit, context, deadline)
        if isinstance(answer, bytes):
            return answer
        following = _parse(urllib.parse.urljoin(parts.geturl(), answer))
        if (following.scheme, following.hostname, following.port or 443) != ("https", parts.hostname, parts.port or 443):
            message = f"the server sends us on to {following.scheme}://{following.netloc}"
            raise NexcageError("E_HTTP", message, value=url, remedy="give the final address; a redirect to another host is not followed")
        parts = following
    raise NexcageError("E_HTTP", f"more than {REDIRECTS} redirects", value=url, remedy="give the final address")


def below(url: str, relative: str) -> str:
    """The address of a file beside or below the file ``url``."""
    return url[: url.rindex("/") + 1] + relative


def _parse(url: str) -> urllib.parse.SplitResult:
    remedy = "give https://HOST/PATH, or file:///PATH for a folder on this host"
    try:
        parts = urllib.parse.urlsplit(url)
        right = not re.search(r"[\x00-\x20\x7f-\U0010ffff\\]", url) and not parts.fragment and "@" not in parts.netloc and parts.port != 0 and len(url) <= 2048
    except ValueError:
        raise NexcageError("E_INVALID", "not an address", value=url, remedy=remedy) from None
    if parts.scheme == "https":
        right = right and bool(parts.hostname)
    else:
        right = right and parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/") and not parts.query
    if not right:
        raise NexcageError("E_INVALID", "not an address that is fetched from here", value=url, remedy=remedy)
    return parts


def _read(path: str, url: str, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        message = f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise NexcageError("E_NOT_FOUND", message, value=url, remedy="check the address") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NexcageError("E_INVALID", f"{path} is no regular file", value=url, remedy="check the address")
    with open(descriptor, "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_long(url, limit)
    return content


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise NexcageError("E_INVALID", f"no file of certificates: {error}", option="ca_file", value=ca_file, remedy="give a PEM file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # which Python 3.9 leaves to OpenSSL
    return context


def _get(parts: urllib.parse.SplitResult, limit: int, context: ssl.SSLContext, deadline: float) -> bytes | str:
    """The body, or the address that a redirect leads to."""
    url = parts.geturl()
    left = max(deadline - time.monotonic(), 0.001)
    connection = http.client.HTTPSConnection(t.cast(str, parts.hostname), parts.port or 443, timeout=left, context=context)
    guard: threading.Timer | None = None
    try:
        connection.connect()
        guard = threading.Timer(max(deadline - time.monotonic(), 0.001), _cut, (connection.sock,))  # a drip of single bytes ends too
        guard.daemon = True
        guard.start()
        connection.request("GET", (parts.path or "/") + ("?" + parts.query if parts.query else ""), headers=_HEADERS)
        response = connection.getresponse()
        if response.status in _MOVED:
            return response.headers.get("Location") or url
        if response.status != 200:
            code = "E_NOT_FOUND" if response.status in (404, 410) else "E_HTTP"
            reason = ascii(response.reason)[1:-1][:100]
            raise NexcageError(code, f"the server says {response.status} {reason}", value=url, remedy="check the address and that its server is up")
        return _body(response, url, limit, deadline)
    except (OSError, http.client.HTTPException) as error:
        raise _failure(error, url, deadline) from None
    finally:
        if guard is not None:
            guard.cancel()
        connection.close()


def _body(response: http.client.HTTPResponse, url: str, limit: int, deadline: float) -> bytes:
    announced = response.length
    if announced is not None and announced > limit:
        raise _too_long(url, limit)
    parts: list[bytes] = []
    size = 0
    while block := response.read1(_BLOCK):
        parts.append(block)
        size += len(block)
        if size > limit:
            raise _too_long(url, limit)
    if time.monotonic() >= deadline:
        raise TimeoutError
    if announced is not None and size != announced:
        raise http.client.IncompleteRead(b"", announced - size)
    return b"".join(parts)


def _cut(connection: t.Any) -> None:
    """End a connection that another thread is reading from."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _failure(error: Exception, url: str, deadline: float) -> NexcageError:
    if time.monotonic() >= deadline or isinstance(error, (TimeoutError, socket.timeout)):
        return NexcageError("E_TIMEOUT", "the server did not answer in time", value=url, remedy="check the server, or the way to it")
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = "give the authority that signed its certificate as ca_file, or correct the certificate"
        return NexcageError("E_HTTP", f"the server's certificate cannot be trusted: {error.verify_message}", value=url, remedy=remedy)
    return NexcageError("E_HTTP", f"the server cannot be read from: {error or type(error).__name__}", value=url)


def _too_long(url: str, limit: int) -> NexcageError:
    return NexcageError("E_LIMIT", f"more than {limit} bytes", value=url, remedy="check the address; nothing of ours is that long")
