# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adversaries 72 to 75: a worker that does not keep to the protocol is ended, and no effect happens.

First one that plays a script, in every detail; then a plugin in a real worker of each tier, and with the lock-down off,
that has dug out the protocol's descriptor and writes to it.
"""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel
from ansible_collections.nexcage.backends.plugins.module_utils.worker.launch import Process
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.adversarial.conftest import start_control
from ansible_collections.nexcage.backends.tests.support.worker import LOADED, READY, ScriptedWorker

CALL = {"t": "call", "id": 1, "n": 1, "cap": "oci.delete", "params": {}}
RESULT = {"t": "res", "id": 1, "ok": True, "value": 1}
LOG = {"t": "log", "level": "info", "message": "x"}


def raw(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def attack(*answers: t.Any, requests: int = 1, **limits: int) -> tuple[NexcageError, list[str]]:
    """The error of the last request, and the effects that happened until then."""
    script = ScriptedWorker(READY, LOADED, *answers)
    worker = Worker(Limits(**limits), process=t.cast(Process, script))
    worker.load("hostile", {})
    effects: list[str] = []

    def handler(name: str, _params: dict[str, t.Any]) -> None:
        effects.append(name)

    for _request in range(requests - 1):
        worker.request("list", {}, handler)
    with pytest.raises(NexcageError) as caught:
        worker.request("list", {}, handler, deadline_s=5)
    assert script.ended == 1, "the worker lives on"
    return caught.value, effects


@pytest.mark.parametrize(
    "answer",
    [
        [{**RESULT, "id": 2}],
        [{**CALL, "id": 2}],
        [{**CALL, "id": 0}],
        [{**CALL, "n": 2}],
        [{**CALL, "n": 0}],
        [{**CALL, "n": True}],
        [{**CALL, "id": 1.0}],
        [{**CALL, "cap": ["oci.delete"]}],
        [{**CALL, "params": []}],
        [{**CALL, "extra": 1}],
        [{key: value for key, value in CALL.items() if key != "params"}],
        [{**RESULT, "ok": 1}],
        [{**RESULT, "ok": False}],
        [{**RESULT, "error": {}}],
        [{"t": "res", "id": 1, "ok": False, "error": "text"}],
        [{**LOG, "level": 1}],
        [{"t": "ready"}],
        [READY],
        [LOADED],
        [{"t": "bye"}],
        [{"t": ["res"]}],
        [{}],
        [raw(b"[]")],
        [raw(b"")],
        [raw(b'{"t":"res","id":1,"ok":true,"value":NaN}')],
        [raw(b'{"t":"res","t":"res","id":1,"ok":true,"value":1}')],
        [raw(b'{"t":"res","id":1,"ok":true,"value":"\\ud800"}')],
        [raw(b'{"t":"res","id":1,"ok":true,"value":' + b"9" * 100_000 + b"}")],
        [raw(b'{"t":"res","id":1,"ok":true,"value":1e400}')],
        [b"\x7f\xff\xff\xff"],
        [raw(b"\xff" * 100)],
    ],
    ids=lambda answer: str(answer[0])[:50],
)
def test_72_73_frames_that_are_none(answer: list[t.Any]) -> None:
    error, effects = attack(answer)
    assert error.code == "E_PROTOCOL"
    assert effects == []


def test_72_two_results() -> None:
    error, _effects = attack([RESULT, RESULT], {**RESULT, "id": 2}, requests=2)
    assert error.code == "E_PROTOCOL"


def test_72_a_call_after_the_result() -> None:
    error, effects = attack(channel.encode(RESULT, 9999) + channel.encode({**CALL, "id": 2}, 9999), RESULT, requests=2)
    assert (error.code, effects) == ("E_PROTOCOL", [])


@pytest.mark.parametrize("real", [False, True])
def test_74_too_many_calls(real: bool) -> None:
    most = 1000 if real else 3
    error, effects = attack(*({**CALL, "n": number} for number in range(1, most + 2)), calls=most)
    assert (error.code, len(effects)) == ("E_LIMIT", most)


def test_too_many_log_lines() -> None:
    error, effects = attack([LOG] * 4, logs=3)
    assert (error.code, len(effects)) == ("E_LIMIT", 3)
    error, effects = attack([LOG] * 3 + [CALL], [LOG] * 1, logs=3)
    assert error.code == "E_LIMIT"


def test_75_a_second_call_while_one_is_outstanding() -> None:
    error, effects = attack([channel.encode(CALL, 9999) + channel.encode({**CALL, "n": 2}, 9999)])
    assert (error.code, effects) == ("E_PROTOCOL", [])


def test_75_a_result_while_a_call_is_outstanding() -> None:
    error, effects = attack([channel.encode(CALL, 9999) + channel.encode(RESULT, 9999)])
    assert (error.code, effects) == ("E_PROTOCOL", [])


def test_75_a_frame_that_arrives_during_the_call() -> None:
    script = ScriptedWorker(READY, LOADED, CALL)
    worker = Worker(process=t.cast(Process, script))
    worker.load("hostile", {})

    def handler(_name: str, _params: dict[str, t.Any]) -> None:
        script.say(RESULT)

    with pytest.raises(NexcageError) as caught:
        worker.request("list", {}, handler)
    assert caught.value.code == "E_PROTOCOL"


def sent(*frames: t.Any) -> bytes:
    """Frames as one write, which the module reads as one."""
    return b"".join(frame if isinstance(frame, bytes) else channel.encode(frame, 9999) for frame in frames)


# what a plugin writes during its first operation -> how many operations it takes until that is seen
WRITTEN: dict[int, dict[str, tuple[bytes, int]]] = {
    72: {
        "two results for one request": (sent(RESULT, RESULT), 2),
        "a result for another request": (sent({**RESULT, "id": 2}), 1),
        "a call for another request": (sent({**CALL, "id": 2}), 1),
        "a call after the result": (sent(RESULT, CALL), 2),
        "an unknown frame": (sent({"t": "grant", "cap": "oci.delete"}), 1),
        "a frame of the start": (sent(READY), 1),
    },
    73: {
        "NaN": (raw(b'{"t":"res","id":1,"ok":true,"value":NaN}'), 1),
        "a key twice": (raw(b'{"t":"res","t":"res","id":1,"ok":true,"value":1}'), 1),
        "a lone surrogate": (raw(b'{"t":"res","id":1,"ok":true,"value":"\\ud800"}'), 1),
        "100,000 digits": (raw(b'{"t":"res","id":1,"ok":true,"value":' + b"9" * 100_000 + b"}"), 1),
    },
    75: {
        "a second call while one is outstanding": (sent(CALL, {**CALL, "n": 2}), 1),
        "a result while a call is outstanding": (sent(CALL, RESULT), 1),
    },
}
SENT = [pytest.param(*row, id=f"{case}: {what}", marks=pytest.mark.case(case)) for case, rows in WRITTEN.items() for what, row in rows.items()]


def written(worker: Worker, data: bytes, requests: int) -> None:
    """The end of a worker whose plugin writes these bytes, and no effect of any of them."""
    effects: list[str] = []

    def handler(name: str, _params: dict[str, t.Any]) -> None:
        effects.append(name)

    given = {"probe": "frames", "data": data.decode("latin-1")}
    for _request in range(requests - 1):
        assert worker.request("exec", given, handler) == 1
    with pytest.raises(NexcageError) as caught:
        worker.request("exec", given, handler, deadline_s=10)
    assert (caught.value.code, effects) == ("E_PROTOCOL", [])
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.requires("linux")
@pytest.mark.parametrize(("data", "requests"), SENT)
def test_a_real_plugin_writes_to_the_protocol(data: bytes, requests: int, locked: Worker) -> None:
    written(locked, data, requests)


@pytest.mark.requires("linux")
@pytest.mark.parametrize(
    ("data", "requests"), [pytest.param(*row.values, id=row.id, marks=pytest.mark.case(int(str(row.id)[:2]), control=True)) for row in SENT]
)
def test_it_ends_the_same_without_the_lockdown(data: bytes, requests: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_control(monkeypatch) as worker:
        written(worker, data, requests)


@pytest.mark.requires("linux")
@pytest.mark.case(72, 73, 75)
def test_what_keeps_to_the_protocol_passes(locked: Worker) -> None:
    """The same way of writing, with one frame that is right; then the plugin's own answer is one too many."""
    assert locked.request("exec", {"probe": "frames", "data": sent(RESULT).decode("latin-1")}, lambda _name, _params: None) == 1
