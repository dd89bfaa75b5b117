# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's end of the pipes: never blocks longer than its deadline, and never stops draining stderr."""

from __future__ import annotations

import contextlib
import os
import select
import time

from ..model.errors import NexcageError
from . import channel

STDERR = 64 << 10  # bytes kept of what a worker writes to stderr
_CHUNK = 64 << 10


class Pipes:
    """Frames to and from one worker.

    Args:
        outgoing: Descriptor of the worker's stdin.
        incoming: Descriptor of its stdout.
        errors: Descriptor of its stderr. None of the three blocks.
        unsent: What still has to be written first.
    """

    def __init__(self, outgoing: int, incoming: int, errors: int, unsent: bytes = b"") -> None:
        self._outgoing, self._incoming = outgoing, incoming
        self._queue = bytearray(unsent)  # not yet written
        self._buffer = bytearray()  # read, not yet a frame
        self._open = True
        self.stderr = bytearray()
        self.limit = channel.FROM_WORKER
        self._poll = select.poll()
        self._poll.register(incoming, select.POLLIN)
        self._poll.register(errors, select.POLLIN)

    def send(self, data: bytes) -> None:
        """Queue a frame and write what the pipe takes now; the rest follows while waiting."""
        self._queue += data
        self._write()

    def _write(self) -> None:
        try:
            while self._queue:
                del self._queue[: os.write(self._outgoing, self._queue)]
        except BlockingIOError:
            self._poll.register(self._outgoing, select.POLLOUT)
            return
        except BrokenPipeError:
            self._queue.clear()  # the end of its stdout will tell
        self._forget(self._outgoing)

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(descriptor)

    def _pump(self, seconds: float) -> None:
        """Move what can be moved; wait at most that long for the first event."""
        for descriptor, _event in self._poll.poll(max(0, int(seconds * 1000) + 1) if seconds > 0 else 0):
            if descriptor == self._outgoing:
                self._write()
            else:
                self._read(descriptor)

    def _read(self, descriptor: int) -> None:
        data = os.read(descriptor, _CHUNK)
        if not data:
            self._forget(descriptor)
            self._open = self._open and descriptor != self._incoming
        elif descriptor == self._incoming:
            self._buffer += data
        else:
            self.stderr += data[: STDERR - len(self.stderr)]

    def pending(self) -> bool:
        """Whether the worker has sent something that nobody asked for."""
        if not self._buffer:
            self._pump(0)
        return bool(self._buffer)

    def receive(self, deadline: float) -> bytes | None:
        """The bytes of the next frame, ``None`` when the worker is gone.

        Args:
            deadline: On the monotonic clock, in seconds.

        Raises:
            NexcageError: ``E_TIMEOUT``.
            channel.FrameTooLarge: A header above the limit.
        """
        while True:
            if len(self._buffer) >= channel.HEADER:
                end = channel.HEADER + channel.length(bytes(self._buffer[: channel.HEADER]), self.limit)
                if len(self._buffer) >= end:
                    data = bytes(self._buffer[channel.HEADER : end])
                    del self._buffer[:end]
                    return data
            if not self._open:
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise NexcageError("E_TIMEOUT", "no answer in time")
            self._pump(left)

    def drain(self) -> None:
        """Read what is left of stderr after the worker's end."""
        self._pump(0)
