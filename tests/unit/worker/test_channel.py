# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames: what goes in comes out, and what parsers disagree about does not get in."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel
from hypothesis import example, given, settings
from hypothesis import strategies as st

LIMIT = 1 << 20
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=10)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=5)


@settings(max_examples=80, deadline=None)
@given(OBJECTS)
def test_a_value_survives_the_pipe(value: dict[str, t.Any]) -> None:
    frame = channel.encode(value, LIMIT)
    assert channel.length(frame[:4], LIMIT) == len(frame) - 4
    assert channel.decode(frame[4:]) == value
    assert json.loads(frame[4:]) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"{}")
@example(b'{"a":1}\x00')
@example(b'{"a":1e999}')
def test_any_bytes_are_an_object_or_refused(data: bytes) -> None:
    try:
        value = channel.decode(data)
    except channel.FrameError:
        return
    assert channel.decode(channel.encode(value, LIMIT)[4:]) == value


@settings(max_examples=80, deadline=None)
@given(OBJECTS, st.data())
def test_a_damaged_frame_never_surprises(value: dict[str, t.Any], data: st.DataObject) -> None:
    frame = bytearray(channel.encode(value, LIMIT)[4:])
    frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = channel.decode(bytes(frame))
    except channel.FrameError:
        return
    assert isinstance(result, dict)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"[1]", "not an object"),
        (b"1", "not an object"),
        (b" {}", "not JSON"),
        (b"{} ", "follows"),
        (b"{}{}", "follows"),
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":{"b":1,"b":1}}', "twice"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":-Infinity}', "Infinity"),
        (b'{"a":1e999}', "too large"),
        (b'{"a":-1e999}', "too large"),
        (b'{"a":' + b"1" * 100_000 + b"}", "too many digits"),
        (b'{"a":"\\ud800"}', "surrogates"),
        (b'{"\\udfff":1}', "surrogates"),
        (b'{"a":"\xff"}', "utf-8"),
        (b'{"a":"\n"}', "control"),
        (b"{'a':1}", "quotes"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "deeper"),
        (b'{"a":' + b'{"b":' * 200 + b"1" + b"}" * 201, "deeper"),
        (b"[" * 200_000, "deeper"),
        (b'{"a":"' + b"\\" * 3, "nterminated"),
    ],
)
def test_doubtful_frames_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(channel.FrameError, match=why):
        channel.decode(data)


@pytest.mark.parametrize("text", ["[" * 500, "{" * 500, '"[' * 300, "\\" * 99 + '"' + "[" * 200, "}]" * 200])
def test_brackets_inside_strings_do_not_count(text: str) -> None:
    value = {"text": text, "more": [text, {text: text}]}
    assert channel.decode(channel.encode(value, LIMIT)[4:]) == value


def nested(levels: int) -> dict[str, t.Any]:
    value: t.Any = 1
    for level in range(levels - 1):
        value = [value] if level % 2 else {"a": value}
    return {"a": value}


def test_depth() -> None:
    wide = {"wide": [[]] * 500}
    for value in (nested(channel.DEPTH), wide):
        assert channel.decode(channel.encode(value, LIMIT)[4:]) == value
    with pytest.raises(channel.FrameError, match="deeper"):
        channel.decode(channel.encode(nested(2 * channel.DEPTH + 1), LIMIT)[4:])


def circle() -> dict[str, t.Any]:
    value: dict[str, t.Any] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {"a": b""}, {"a": object()}, {"a": float("nan")}, {"a": "\ud800"}, {(1,): 1}, circle()])
def test_what_is_not_json_is_not_sent(value: dict[str, t.Any]) -> None:
    with pytest.raises(channel.FrameError):
        channel.encode(value, LIMIT)


def test_sizes() -> None:
    assert channel.encode({"a": "x" * 10}, 18) == b"\0\0\0\x12" + b'{"a":"xxxxxxxxxx"}'
    with pytest.raises(channel.FrameTooLarge):
        channel.encode({"a": "x" * 10}, 17)
    with pytest.raises(channel.FrameTooLarge):
        channel.length(b"\x80\0\0\0", LIMIT)
    assert channel.length(b"\0\x10\0\0", LIMIT) == LIMIT


def test_the_workers_end() -> None:
    incoming, host_out = os.pipe()
    host_in, outgoing = os.pipe()
    end = channel.Channel(incoming, outgoing)
    frame = channel.encode({"a": "ä" * 3000}, LIMIT)
    os.write(host_out, frame[:3])
    os.write(host_out, frame[3:])
    assert end.receive() == {"a": "ä" * 3000}
    end.send({"b": 1})
    assert os.read(host_in, 100) == channel.encode({"b": 1}, LIMIT)
    end.limit = 5
    with pytest.raises(channel.FrameTooLarge):
        end.send({"b": 1})
    os.write(host_out, b"\0\0")
    os.close(host_out)
    with pytest.raises(EOFError):
        end.receive()
    for descriptor in (incoming, host_in, outgoing):
        os.close(descriptor)


@pytest.fixture
def without_c(monkeypatch: pytest.MonkeyPatch) -> t.Any:
    """The same module on a Python without the C functions."""
    monkeypatch.setitem(sys.modules, "_json", None)
    spec = importlib.util.find_spec(channel.__name__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_another_python_has_only_the_package(without_c: t.Any) -> None:
    value = {"a": [1, 2.5, "ä", None, {"b": True}], "c": "\x00"}
    frame = without_c.encode(value, LIMIT)
    assert frame == channel.encode(value, LIMIT)
    assert without_c.decode(frame[4:]) == value
    refused = [b"", b" {}", b"{} ", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":' + b"1" * 100 + b"}", b'{"a":"\\ud800"}', b"[" * 9999, b"[]"]
    for data in refused:
        with pytest.raises(without_c.FrameError):
            without_c.decode(data)
    for wrong in ({"a": {1}}, {"a": float("nan")}, {"a": "\ud800"}, circle()):
        with pytest.raises(without_c.FrameError):
            without_c.encode(wrong, LIMIT)
