# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adversaries 72 to 75: a worker that does not keep to the protocol is ended, and no effect happens."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel
from ansible_collections.nexcage.backends.plugins.module_utils.worker.launch import Process
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
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
