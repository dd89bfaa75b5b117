# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time of the simulated cluster: real, sped up, or moved by hand."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
import typing as t

EPOCH = 1_800_000_000.0  # where a clock that is moved by hand starts, seconds


class Clock:
    """Seconds since 1970 in the simulated cluster, and what is due when.

    Args:
        speed: Simulated seconds in a real one; 0 makes a clock that only moves when something waits or a test moves it.
        lock: Held by whoever looks at the cluster; let go while a call waits.
    """

    def __init__(self, speed: float, lock: threading.RLock) -> None:
        self.speed, self.lock = speed, lock
        self._start, self._real = (time.time() if speed else EPOCH), time.monotonic()
        self._events: list[tuple[float, int, t.Callable[[], None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        if not self.speed:
            return self._start
        return self._start + (time.monotonic() - self._real) * self.speed

    def later(self, seconds: float, act: t.Callable[[], None]) -> None:
        """Does something in so many simulated seconds."""
        heapq.heappush(self._events, (self.now() + max(seconds, 0.0), next(self._numbers), act))

    def run_due(self) -> None:
        """Does all that is due by now, in order."""
        while self._events and self._events[0][0] <= self.now():
            heapq.heappop(self._events)[2]()

    def step(self, until: float) -> bool:
        """Moves a clock of ours to the next event, if there is one by then, and does it."""
        if not self._events or self._events[0][0] > until:
            return False
        moment, _number, act = heapq.heappop(self._events)
        self._start = max(self._start, moment)
        act()
        return True

    def advance(self, seconds: float) -> None:
        """Moves the clock; only one that is moved by hand."""
        target = self._start + seconds
        while self.step(target):
            pass
        self._start = max(self._start, target)

    def wait(self, seconds: float, done: t.Callable[[], bool] = lambda: False) -> bool:
        """Lets so many simulated seconds pass, or fewer if it is done before; whether it is done.

        Others are served meanwhile.
        """
        end = self.now() + seconds
        self.run_due()
        while not done() and self.now() < end:
            if not self.speed:
                if not self.step(end):
                    self._start = end
                continue
            self.pause(min(end - self.now(), 0.05 * self.speed) / self.speed)
            self.run_due()
        return done()

    def pause(self, seconds: float) -> None:
        """Lets real seconds pass, and others be served."""
        held = 0
        while self.lock._is_owned():  # type: ignore[attr-defined]
            self.lock.release()
            held += 1
        try:
            time.sleep(max(seconds, 0.0))
        finally:
            for _turn in range(held):
                self.lock.acquire()
