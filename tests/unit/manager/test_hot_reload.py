# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that is used while it is replaced: whoever looks at it at whatever moment finds the old one or the new one, whole."""

from __future__ import annotations

import os
import pathlib
import threading
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import grants, installed, records, registry
from ansible_collections.nexcage.backends.plugins.module_utils.manager.dispatch import Session
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.two_versions import NAME, Place

pytestmark = pytest.mark.requires("root")
CHANGES = ("rename", "unlink")
LOOKS = ("open", "stat", "lstat")
MOVING = (NAME, records.FILE, records.KEPT)  # a look for anything else, such as trust files, sees no change


class Writer(threading.Thread):
    """Replaces the plugin, and makes each change to the file system only when it is told to.

    Args:
        patch: Puts itself between the calls and the system.
        do: The replacement.
    """

    def __init__(self, patch: pytest.MonkeyPatch, do: t.Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._do, self._free = do, False
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = False
        self.meanwhile: t.Callable[[], None] | None = None  # called before each look of somebody else
        for name in (*CHANGES, *LOOKS):
            patch.setattr(os, name, self._wrapped(getattr(os, name), name in CHANGES))

    def _wrapped(self, original: t.Callable[..., t.Any], changes: bool) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **more: t.Any) -> t.Any:
            if threading.current_thread() is self:
                if changes and not self._free:
                    self._arrived.release()
                    self._go.acquire()
            elif self.meanwhile is not None and not changes and any(word in str(arguments[0]) for word in MOVING):
                self.meanwhile()
            return original(*arguments, **more)

        return call

    def run(self) -> None:
        """The thread."""
        try:
            self._do()
        finally:
            self.ended = True
            self._arrived.release()

    def advance(self, changes: int) -> None:
        """Let it make that many changes."""
        for _number in range(changes):
            if self.ended:
                return
            self._go.release()
            self._arrived.acquire()

    def begin(self) -> None:
        """Start it; it waits before its first change."""
        self.start()
        self._arrived.acquire()

    def finish(self) -> None:
        """Let it come to its end."""
        self._free = True
        self._go.release()
        self.join()


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power cut here
    return Place(tmp_path)


def changes_of(place: Place, do: t.Callable[[], object]) -> int:
    """How many changes to the file system it makes."""
    number = 0
    with pytest.MonkeyPatch.context() as patch:
        writer = Writer(patch, do)
        writer.begin()
        while not writer.ended:
            writer.advance(1)
            number += 1
        writer.join()
    assert number > 5
    return number


@pytest.mark.parametrize("how", ["swap", "back"])
def test_looked_at_between_any_two_changes(place: Place, how: str) -> None:
    do = getattr(place, how)
    seen = []
    for changes in range(changes_of(place, do) + 1):
        before = place.look()
        with pytest.MonkeyPatch.context() as patch:
            writer = Writer(patch, do)
            writer.begin()
            writer.advance(changes)
            seen.append(place.look() != before)
            writer.finish()
        assert place.look() != before
    assert seen == sorted(seen) and set(seen) == {False, True}  # there is one moment


@pytest.mark.parametrize(("how", "more"), [("swap", 0), ("back", 1)])
def test_replaced_in_the_middle_of_a_look(place: Place, how: str, more: int) -> None:
    """The look begins at any change of the replacement, which ends, with some more of them, at any step of the look."""
    do = getattr(place, how)
    for changes in range(changes_of(place, do) + 1):
        wait = 0
        while True:
            with pytest.MonkeyPatch.context() as patch:
                writer = Writer(patch, do)
                writer.begin()
                writer.advance(changes)
                left = [wait := wait + 1]

                def look(writer: Writer = writer, left: list[int] = left) -> None:
                    left[0] -= 1
                    if left[0] == 0:
                        writer.meanwhile = None
                        writer.finish()
                        for _number in range(more):
                            place.swap()

                writer.meanwhile = look
                place.look()
                writer.meanwhile = None
                if left[0] > 0:
                    writer.finish()
                    break


def test_a_run_goes_on_with_what_it_began_with(place: Place) -> None:
    def versions(session: Session) -> tuple[str, str]:
        """Of the record now, and of the code that answers."""
        plugin = registry.get(NAME, place.layout)
        return str(plugin.manifest["version"]), str(session.operate(plugin, "health", {})["version"])

    with Session(place.layout, check_mode=False) as session:
        assert versions(session) == ("1.1.0", "1.1.0")
        place.bring("1.0.0")
        assert versions(session) == ("1.0.0", "1.1.0")
        with Session(place.layout, check_mode=False) as other:
            assert versions(other) == ("1.0.0", "1.0.0")
        worker = session._workers.pop(NAME)  # as the budget does for another plugin's
        worker.close()
        session._budget.leave(NAME)
        assert versions(session) == ("1.0.0", "1.1.0")


@pytest.mark.parametrize("missing", ["package", "grant"])
def test_what_stays_missing_is_refused(place: Place, missing: str) -> None:
    paths = {"package": f"{installed.plugin_dir(place.layout)}/{NAME}-1.1.0.nexcage-plugin", "grant": grants.path(place.layout, NAME)}
    os.rename(paths[missing], paths[missing] + ".away")
    with pytest.raises(NexcageError) as refused:
        place.look()
    assert refused.value.code == {"package": "E_INTEGRITY", "grant": "E_GRANT"}[missing]
    os.rename(paths[missing] + ".away", paths[missing])
    assert place.look() == "1.1.0"


def test_a_record_that_never_rests_is_refused_in_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    os.unlink(f"{installed.plugin_dir(place.layout)}/{NAME}-1.1.0.nexcage-plugin")
    marks = iter(range(1000))
    monkeypatch.setattr(records, "mark", lambda _layout, _name: (next(marks),))
    with pytest.raises(NexcageError) as refused:
        place.look()
    assert refused.value.code == "E_INTEGRITY" and next(marks) < 200
