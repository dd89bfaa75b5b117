# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames on a pipe: four bytes of length, most significant first, then one JSON object in UTF-8.

Both ends use it: the worker blocks on it, the module side only encodes and decodes. What is refused
here (duplicate keys, NaN, numbers beyond 64 bits, lone surrogates, deep nesting) is what JSON parsers
disagree about.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

HEADER = 4  # bytes of length before each frame
TO_WORKER = 8 << 20  # bytes of the largest frame from the module
FROM_WORKER = 1 << 20  # bytes of the largest frame from the worker, where init says nothing else
DEPTH = 64  # levels of nested lists and objects that always pass
DIGITS = 20  # characters of a whole number: 64 bits and a sign


class FrameError(ValueError):
    """Bytes that are no frame, or a value that cannot become one."""


class FrameTooLarge(FrameError):
    """A frame above its limit."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise FrameError("a key appears twice")
    return value


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise FrameError("a number has too many digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise FrameError("a number is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise FrameError(f"{text} is not JSON")


def _foreign(value: object) -> NoReturn:
    raise TypeError(type(value).__name__)


class _Rules:
    """What the scanner asks a decoder for."""

    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = staticmethod(_real)
    parse_int = staticmethod(_whole)
    parse_constant = staticmethod(_constant)


# No check for circles in either: they end in RecursionError, which encode() reports just the same.
_scan: Any
_chunks: Any
try:  # the package json is these two and 6 ms of imports, a third of a worker's start
    import _json

    _scan = _json.make_scanner(_Rules)  # type: ignore[arg-type]
    _chunks = _json.make_encoder(None, _foreign, _json.encode_basestring, None, ":", ",", False, False, False)
except (ImportError, AttributeError, TypeError):  # they are private, and another Python may have others
    import json

    _scan = json.JSONDecoder(object_pairs_hook=_object, parse_float=_real, parse_int=_whole, parse_constant=_constant).raw_decode
    _encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_foreign)

    def _chunks(value: Any, _level: int) -> list[str]:
        return [_encoder.encode(value)]


def _too_deep(data: bytes) -> bool:
    """Whether the brackets outside strings nest too deep, without recursion and in linear time.

    DEPTH levels always pass, twice as many never do.
    """
    if data.count(b"[") + data.count(b"{") <= DEPTH:
        return False
    outside = b"".join(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(None, bytes(set(range(256)) - set(b"[]{}")))
    for _level in range(DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def encode(value: dict[str, Any], limit: int) -> bytes:
    """The frame of ``value``, header included.

    Args:
        value: A JSON-able object.
        limit: Most bytes after the header.

    Raises:
        FrameTooLarge: More bytes than that.
        FrameError: Not JSON-able: another type, NaN, a lone surrogate, a circle.
    """
    try:
        data = "".join(_chunks(value, 0)).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"not JSON: {error}") from None
    if len(data) > limit:
        raise FrameTooLarge(f"{len(data)} bytes, more than {limit}")
    return len(data).to_bytes(HEADER, "big") + data


def length(header: bytes, limit: int) -> int:
    """The length that a header announces; ``FrameTooLarge`` above ``limit`` bytes."""
    size = int.from_bytes(header, "big")
    if size > limit:
        raise FrameTooLarge(f"{size} bytes announced, more than {limit}")
    return size


def decode(data: bytes) -> dict[str, Any]:
    """The object in a frame's bytes (without header); ``FrameError`` for anything doubtful."""
    if _too_deep(data):
        raise FrameError(f"nested deeper than {DEPTH}")
    try:
        text = data.decode("utf-8")
        value, end = _scan(text, 0)
        if b"\\u" in data:
            "".join(_chunks(value, 0)).encode("utf-8")  # fails on a lone surrogate
    except StopIteration:
        raise FrameError("not JSON") from None
    except (ValueError, RecursionError) as error:
        raise FrameError(str(error)) from None
    if end != len(text):
        raise FrameError("something follows the object")
    if not isinstance(value, dict):
        raise FrameError("not an object")
    return value


class Channel:
    """The worker's end: one frame out, one frame in, blocking.

    Args:
        incoming: Descriptor to read from.
        outgoing: Descriptor to write to.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self.limit = FROM_WORKER  # bytes of a frame sent; the init frame sets it

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = os.read(self._incoming, size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self) -> dict[str, Any]:
        """The next frame; ``EOFError`` when the module is gone, ``FrameError`` as :func:`decode`."""
        return decode(self._take(length(self._take(HEADER), TO_WORKER)))

    def send(self, value: dict[str, Any]) -> None:
        """Write one frame; nothing is written where it raises ``FrameError``."""
        data = memoryview(encode(value, self.limit))
        while data:
            data = data[os.write(self._outgoing, data) :]
