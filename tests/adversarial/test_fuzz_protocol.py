# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a worker says, the module's side ends with a typed error and in time, and the worker with it.

Bounded here; ``make fuzz`` goes on for longer.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import threading
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel, strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.launch import Process
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.adversarial.conftest import TIERS
from ansible_collections.nexcage.backends.tests.support import fuzz
from ansible_collections.nexcage.backends.tests.support.worker import LOADED, READY, STRONG
from hypothesis import given
from hypothesis import strategies as st

LIMITS = Limits(timeout=0.05, calls=5, logs=5, frame=4096)
CODES = {"E_SANDBOX", "E_PROTOCOL", "E_LIMIT", "E_TIMEOUT", "E_CRASH", "E_PLUGIN", "E_INVALID", "E_NOT_FOUND", "E_EXISTS", "E_UNSUPPORTED", "E_RUNTIME"}
REFUSALS = {"E_CAPABILITY", "E_INTERNAL"}  # of the handler here, which come back where the plugin lets them pass
SERVES_ON = {"E_PLUGIN", "E_LIMIT", *REFUSALS, "E_INVALID", "E_NOT_FOUND", "E_EXISTS", "E_UNSUPPORTED", "E_RUNTIME"}
SECONDS = 5.0  # far beyond all deadlines of one example

CALL = {"t": "call", "id": 1, "n": 1, "cap": "oci.delete", "params": {"name": "web"}}
LOG = {"t": "log", "level": "info", "message": "x"}
RESULT = {"t": "res", "id": 1, "ok": True, "value": 1}
FAILED = {"t": "res", "id": 1, "ok": False, "error": {"code": "E_PLUGIN", "message": "no", "remedy": "", "call": 1}}
REFUSED = {"t": "failed", "error": {"code": "E_PLUGIN", "message": "no", "remedy": "", "call": 0}}
FRAMES = (READY, STRONG, LOADED, CALL, LOG, RESULT, FAILED, REFUSED)


class Hasty:
    """In the place of a ``launch.Process``: answers each frame of the module with some bytes, and closes its end after the last.

    Args:
        answers: Lists of bytes, each written at once.
    """

    confined = False

    def __init__(self, answers: t.Sequence[t.Sequence[bytes]]) -> None:
        incoming, stdin = os.pipe()
        stdout, outgoing = os.pipe()
        stderr, errors = os.pipe()
        os.close(errors)
        self.descriptors = (stdin, stdout, stderr)
        for descriptor in self.descriptors:
            os.set_blocking(descriptor, False)
        self.unsent = b""
        self.pid = 0
        self.parent = os.getpid()
        self.ended = 0
        self._thread = threading.Thread(target=self._play, args=(channel.Channel(incoming, outgoing), answers, (incoming, outgoing)), daemon=True)
        self._thread.start()

    def _play(self, end: channel.Channel, answers: t.Sequence[t.Sequence[bytes]], descriptors: tuple[int, int]) -> None:
        with contextlib.suppress(EOFError, OSError):
            for answer in answers:
                end.receive()
                for part in answer:
                    os.write(descriptors[1], part)
        for descriptor in descriptors:
            os.close(descriptor)

    def end(self, grace: float = 0.0) -> tuple[int, float]:
        self.ended += 1
        return 0, 0.0

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


WORDS = st.text(max_size=8) | st.sampled_from(["res", "E_TRUST", "E_NOT", "\x1b[2J", "\ud800"])
KEYS = st.text(max_size=4) | st.sampled_from(["t", "id", "n", "ok", "error", "code"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.sampled_from([math.nan, math.inf]) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(KEYS, JSON, max_size=3)


def wire(value: t.Any) -> bytes:
    """As a worker could send it that keeps to no rule: NaN, lone surrogates and endless numbers included."""
    data = json.dumps(value).encode("ascii")
    return len(data).to_bytes(4, "big") + data


@st.composite
def bent(draw: st.DrawFn, frames: t.Sequence[dict[str, t.Any]] = FRAMES) -> bytes:
    """A right frame with some of it changed, in an object within it as well."""
    frame: dict[str, t.Any] = json.loads(json.dumps(draw(st.sampled_from(frames))))
    for _turn in range(draw(st.integers(1, 2))):
        places = [frame, *(value for value in frame.values() if isinstance(value, dict))]
        place = draw(st.sampled_from(places))
        key = draw(st.sampled_from([*place, "extra"]))
        if draw(st.integers(0, 3)) == 0:
            place.pop(key, None)
        else:
            place[key] = draw(WORDS | JSON)
    return wire(frame)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Bytes that were a frame: cut, with another length, or with bytes exchanged."""
    data = bytearray(draw(bent()))
    for position, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=3)):
        data[position] = value
    return bytes(data[: draw(st.integers(0, len(data)))])


RIGHT = st.sampled_from([wire(frame) for frame in FRAMES])
HEADERS = st.integers(0, (1 << 32) - 1).map(lambda size: size.to_bytes(4, "big"))
SAID = st.one_of(RIGHT, RIGHT, bent(), broken(), st.binary(max_size=40), JSON.map(wire), HEADERS)
ANSWER = st.lists(SAID, max_size=3)
STAGES = (wire(READY), wire(LOADED))


def handler(name: str, params: dict[str, t.Any]) -> t.Any:
    """What the gate would be asked; it answers all that can be answered."""
    assert isinstance(name, str)
    assert isinstance(params, dict)
    json.dumps(params, allow_nan=False)
    if params.get("name") != "web":
        raise NexcageError("E_CAPABILITY", f"{name} is not granted")
    return {"set": {1}} if name == "oci.start" else "done"


def converse(answers: t.Sequence[t.Sequence[bytes]]) -> None:
    """A worker's whole life; whatever is said, it ends as it should."""
    process = Hasty(answers)
    worker = Worker(LIMITS, process=t.cast(Process, process))
    begin = time.monotonic()
    try:
        worker.start(patience=0.05)
        worker.load("hostile", {"plugin.py": ""})
        assert all(isinstance(operation, str) for operation in worker.operations)
        for _request in range(2):
            with contextlib.suppress(_Serving):
                ask(worker, process)
    except NexcageError as error:
        check(error, process)
    finally:
        worker.close()
    assert process.ended == 1
    assert time.monotonic() - begin < SECONDS


class _Serving(Exception):
    """An error after which the worker serves on."""


def ask(worker: Worker, process: Hasty) -> None:
    """One request; its value is JSON."""
    try:
        json.dumps(worker.request("list", {}, handler), allow_nan=False)
    except NexcageError as error:
        if not process.ended:
            assert error.code in SERVES_ON
            check(error, process, 0)
            raise _Serving from None
        raise


def check(error: NexcageError, process: Hasty, ended: int = 1) -> None:
    """An error that an operator can be shown, and a worker that is over."""
    assert error.code in CODES | REFUSALS
    assert error.code != "E_INTERNAL" or "the answer cannot be sent" in error.message
    assert process.ended == ended
    text = str(error)
    text.encode("utf-8")
    assert not any(ord(character) < 32 for character in text)
    json.dumps(error.as_dict()).encode("utf-8")


@fuzz.times(150)
@given(st.lists(ANSWER, max_size=5))
def test_fuzz_a_worker_that_says_anything(answers: list[list[bytes]]) -> None:
    converse(answers)


@fuzz.times(250)
@given(st.lists(ANSWER, max_size=4))
def test_fuzz_a_worker_that_got_as_far_as_a_request(answers: list[list[bytes]]) -> None:
    converse([[stage] for stage in STAGES] + answers)


@fuzz.times(400)
@given(bent((CALL, LOG, RESULT, FAILED, FAILED)), bent((READY, STRONG, LOADED, REFUSED)), st.integers(0, 5))
def test_fuzz_one_frame_that_is_nearly_right(late: bytes, early: bytes, stage: int) -> None:
    answers = [wire(READY), wire(LOADED), wire(CALL), wire(RESULT), wire(CALL)]
    answers.insert(stage, early if stage < 2 else late)
    converse([[answer] for answer in answers[: stage + 1]])


@fuzz.times(100)
@given(st.lists(st.sampled_from([CALL, LOG, RESULT, FAILED, {**CALL, "n": 2}, {**RESULT, "id": 2}, {**CALL, "cap": "oci.start"}]), max_size=6), st.data())
def test_fuzz_right_frames_out_of_turn_and_cut_anywhere(frames: list[dict[str, t.Any]], data: st.DataObject) -> None:
    stream = b"".join(wire(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    parts = [stream[first:last] for first, last in zip([0, *cuts], [*cuts, len(stream)])]
    turns = data.draw(st.integers(1, 3))
    converse([[stage] for stage in STAGES] + [parts[turn::turns] for turn in range(turns)])


def test_the_conversation_reaches_its_end() -> None:
    """What the fuzzers above would find at once if nothing got through."""
    process = Hasty([[wire(READY)], [wire(LOADED)], [wire(LOG), wire(CALL)], [wire(RESULT)]])
    with Worker(Limits(), process=t.cast(Process, process)) as worker:
        worker.start()
        worker.load("hostile", {})
        assert worker.request("list", {}, handler) == 1
        with pytest.raises(NexcageError) as caught:
            worker.request("list", {}, handler)
        assert caught.value.code == "E_CRASH"


@fuzz.times(300)
@given(st.one_of(st.binary(max_size=60), OBJECT.map(lambda value: json.dumps(value).encode("ascii")), broken().map(lambda frame: frame[4:])))
def test_fuzz_one_frame_is_read_as_json_is_or_not_at_all(data: bytes) -> None:
    try:
        value = channel.decode(data)
    except channel.FrameError:
        return
    assert value == json.loads(data, parse_constant=lambda _text: None)
    assert channel.decode(channel.encode(value, channel.TO_WORKER)[4:]) == value


@fuzz.times(300)
@given(OBJECT)
def test_fuzz_what_is_sent_arrives(value: dict[str, t.Any]) -> None:
    try:
        frame = channel.encode(value, channel.TO_WORKER)
    except channel.FrameError:
        text = json.dumps(value, ensure_ascii=False)
        assert "NaN" in text or "Infinity" in text or any("\ud800" <= character <= "\udfff" for character in text)
        return
    try:
        assert channel.decode(frame[4:]) == value
    except channel.FrameError as error:
        assert "too many digits" in str(error)
        assert any(len(part.strip("-")) >= channel.DIGITS for part in json.dumps(value).replace(",", " ").replace("]", " ").replace("}", " ").split())


@fuzz.times(300)
@given(st.integers(0, (1 << 32) - 1))
def test_fuzz_headers(size: int) -> None:
    try:
        assert channel.length(size.to_bytes(4, "big"), 4096) == size <= 4096
    except channel.FrameTooLarge:
        assert size > 4096


PLUGIN = """
import os
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    def list(self, host, params):
        server = host._log.__self__
        os.write(server._channel._outgoing, bytes(params["data"]))
        if params["dies"]:
            os._exit(params["dies"])
        return 1


def backend():
    return Backend()
"""


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.requires("linux")
def test_fuzz_a_real_worker(tier: str) -> None:
    """A locked process that writes into the protocol, and may end then."""
    made = 0

    @fuzz.times(12)
    @given(SAID, st.sampled_from([0, 0, 0, 1, 137, 255]))
    def attack(data: bytes, dies: int) -> None:
        nonlocal made
        made += 1
        limits = Limits(memory=128 << 20, timeout=0.5, frame=4096)
        with strong.start(limits, tier) if tier == "strong" else Worker(limits) as worker:
            try:
                worker.load("hostile", {"plugin.py": PLUGIN})
                worker.request("list", {"data": list(data), "dies": dies}, handler)
            except NexcageError as error:
                assert error.code in CODES | REFUSALS
                json.dumps(error.as_dict())
            worker.close()
            assert not os.path.exists(f"/proc/{worker.pid}")

    attack()
    assert made


def test_floats_that_the_oracle_knows() -> None:
    """The comparison above holds for the ends of what a number can be."""
    for value in (0.1, -0.0, math.pi, 1.7976931348623157e308, 5e-324, (1 << 63) - 1, -(1 << 63)):
        assert channel.decode(channel.encode({"a": value}, 99)[4:]) == {"a": value}
