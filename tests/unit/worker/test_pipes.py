# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's end of the pipes, with pipes whose other end the test holds."""

from __future__ import annotations

import os
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import channel, pipes


class Ends:
    """Both ends of a worker's three pipes."""

    def __init__(self) -> None:
        self.stdin, outgoing = os.pipe()
        incoming, self.stdout = os.pipe()
        errors, self.stderr = os.pipe()
        self.near = (outgoing, incoming, errors)
        self.open = {self.stdin, self.stdout, self.stderr, *self.near}
        for descriptor in self.near:
            os.set_blocking(descriptor, False)
        os.set_blocking(self.stdin, False)

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            self.open.remove(descriptor)
            os.close(descriptor)


@pytest.fixture
def ends() -> t.Iterator[Ends]:
    made = Ends()
    yield made
    made.close(*made.open)


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def frame(**value: t.Any) -> bytes:
    return channel.encode(value, channel.TO_WORKER)


def test_frames_in_pieces(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    data = frame(a=1) + frame(b=2)
    os.write(ends.stdout, data[:2])
    with pytest.raises(NexcageError) as caught:
        near.receive(soon(0.01))
    assert caught.value.code == "E_TIMEOUT"
    os.write(ends.stdout, data[2:6])
    with pytest.raises(NexcageError):
        near.receive(soon(0.01))
    os.write(ends.stdout, data[6:])
    assert near.receive(soon()) == b'{"a":1}'
    assert near.pending()
    assert near.receive(soon()) == b'{"b":2}'
    assert not near.pending()


def test_the_end(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    os.write(ends.stdout, frame(a=1) + b"\0")
    ends.close(ends.stdout)
    assert near.receive(soon()) == b'{"a":1}'
    assert near.receive(soon()) is None


def test_a_header_above_the_limit(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    near.limit = 10
    os.write(ends.stdout, b"\0\0\0\x0b")
    with pytest.raises(channel.FrameTooLarge):
        near.receive(soon())


def test_more_than_a_pipe_takes_is_written_while_waiting(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near, unsent=b"first")
    data = b"x" * 200_000
    near.send(data)
    got = b""
    while len(got) < len(data) + 5:
        got += os.read(ends.stdin, 1 << 20)
        with pytest.raises(NexcageError):
            near.receive(soon(0.01))
    assert got == b"first" + data


def test_a_worker_that_reads_nothing_runs_into_the_deadline(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    near.send(b"x" * 200_000)
    begin = time.monotonic()
    with pytest.raises(NexcageError):
        near.receive(soon(0.05))
    assert time.monotonic() - begin < 2


def test_writing_to_a_dead_worker(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    near.send(b"x" * 200_000)
    ends.close(ends.stdin, ends.stdout)
    assert near.receive(soon()) is None
    near.send(b"more")


def test_stderr_is_drained_and_cut(ends: Ends) -> None:
    near = pipes.Pipes(*ends.near)
    for _part in range(3):
        os.write(ends.stderr, b"e" * 50_000)
        with pytest.raises(NexcageError):
            near.receive(soon(0.01))
    ends.close(ends.stderr)
    near.drain()
    assert len(near.stderr) == pipes.STDERR
    with pytest.raises(NexcageError):
        near.receive(soon(0.01))
