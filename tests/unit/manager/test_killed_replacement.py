# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that replaces a plugin is killed (SIGKILL) before each of its changes to the file system, which is after the one before."""

from __future__ import annotations

import os
import pathlib
import signal
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import install, installed, records
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.two_versions import ASKS, NAME, Place

pytestmark = pytest.mark.requires("root")
CALLS = ("open", "write", "rename", "unlink", "makedirs")


@pytest.fixture
def place(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # no power cut here
    return Place(tmp_path)


def killed(do: t.Callable[[], object], number: int) -> bool:
    """Whether a process that does it was killed at its change of that number; otherwise it came to its end."""
    pid = os.fork()
    if pid == 0:
        left = number

        def wrapped(original: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
            def call(*arguments: t.Any, **more: t.Any) -> t.Any:
                nonlocal left
                if original.__name__ == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                    return original(*arguments, **more)
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **more)

            return call

        code = 3
        try:
            for name in CALLS:
                setattr(os, name, wrapped(getattr(os, name)))
            do()
            code = 0
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def tidy(place: Place) -> None:
    """What the next change of the plugin leaves."""
    record = records.read(place.layout, NAME)
    assert record is not None and record.active is not None and record.previous is not None
    assert not install.unsettled(place.layout, record)
    assert os.listdir(installed.plugin_dir(place.layout)) == [record.active.file]
    assert sorted(os.listdir(f"{place.layout.configuration}/grants")) == [f"{NAME}.json"]
    kept = os.listdir(f"{records.folder(place.layout, NAME)}/{records.KEPT}")
    assert kept == [record.previous.digest.partition(":")[2]]


@pytest.mark.parametrize("how", ["swap", "back"])
def test_killed_at_every_step(place: Place, how: str) -> None:
    number, ends = 1, set()
    while True:
        before, wanted = place.look(), place.other
        if not killed(getattr(place, how), number):
            break
        now = place.look()  # one of them works, with nobody's help
        ends.add(now == wanted)
        place.bring(wanted)
        assert place.look() == wanted
        tidy(place)
        place.back()
        assert place.look() == before
        tidy(place)
        number += 1
    assert number > 20 and ends == {False, True}
    assert place.look() == wanted
    tidy(place)


def test_another_task_after_it(place: Place) -> None:
    """What is active stays so with its own grant, and nobody has to grant anything again."""
    number = 1
    while killed(place.swap, number):
        now = place.look()
        assert place.prefer(number)
        assert place.look() == now
        tidy(place)
        place.bring(place.other)
        number += 1


def there(place: Place) -> bool:
    """Whether the plugin works; otherwise it is not installed."""
    try:
        return bool(place.look())
    except NexcageError as error:
        assert error.code == "E_NOT_FOUND"
        return False


def files(place: Place) -> list[str]:
    """All that is there of plugins, but for the record with the version floor."""
    folders = (installed.plugin_dir(place.layout), f"{place.layout.configuration}/grants", records.folder(place.layout, NAME))
    return sorted(name for folder in folders for _path, _folders, names in os.walk(folder) for name in names if name != records.FILE)


def test_killed_at_every_step_of_a_first_installation(place: Place) -> None:
    number, ends = 1, set()
    while True:
        place.remove()
        if not killed(lambda: place.bring("1.1.0"), number):
            break
        ends.add(there(place))
        place.bring("1.1.0")
        assert place.look() == "1.1.0" and files(place) == [f"{NAME}-1.1.0.nexcage-plugin", f"{NAME}.json"]
        number += 1
    assert number > 10 and ends == {False, True}


def test_killed_at_every_step_of_a_reload(place: Place) -> None:
    """What is in the place of the active package is the operator's doing; the same state again goes on from anywhere."""
    number, ends = 1, set()
    while True:
        wanted = place.lay()
        if not killed(lambda wanted=wanted: place.reload(wanted), number):
            break
        try:
            ends.add(place.look() == wanted)
        except NexcageError as error:
            assert error.code == "E_INTEGRITY" and "reloaded" in error.remedy
            ends.add(False)
        place.reload(wanted)
        assert place.look() == wanted and not place.reload(wanted)
        number += 1
    assert number > 10 and ends == {False, True}


def test_reloaded_after_an_update_that_was_killed(place: Place) -> None:
    """The package that was replaced lies beside the new one then, and is not taken for a second one."""
    both, number = 0, 1
    while True:
        wanted = place.other
        if not killed(place.swap, number):
            break
        both += len(os.listdir(installed.plugin_dir(place.layout))) > 1
        place.reload(place.look())
        tidy(place)
        place.bring(wanted)
        number += 1
    assert both


def test_less_granted_with_the_same_package_or_the_next(place: Place) -> None:
    """Whatever a killed run left active, it has what was granted for it, and no more."""
    asked = ASKS["1.1.0"]
    for version, changes in (("1.1.0", 3), ("1.2.0", 10)):
        number = 1
        while killed(lambda version=version: place.bring(version, asked[:1]), number):
            found = place.used()
            assert found.granted == set(asked[:1] if version != "1.1.0" and found.package.version == version else found.granted)
            assert sorted(found.granted) in (asked, asked[:1])
            assert place.prefer(number) and place.used() == found
            place.bring("1.1.0", asked)
            assert sorted(place.used().granted) == asked
            number += 1
        assert number > changes
        assert sorted(place.used().granted) == asked[:1]


def test_killed_at_every_step_of_a_removal(place: Place) -> None:
    """It is there with its grant or gone; what is granted goes with it, or with the next task of that plugin."""
    grant = pathlib.Path(place.layout.configuration, "grants", f"{NAME}.json")
    number, ends, late = 1, set(), 0
    while True:
        wanted = place.look()
        if not killed(place.remove, number):
            break
        there = installed.is_installed(place.layout, NAME)
        ends.add(there)
        if there:
            assert place.look() == wanted
        else:
            late += grant.exists()
            place.bring_for_nothing() if number % 2 else place.remove()
            assert not grant.exists()
            record = records.read(place.layout, NAME)
            assert record is not None and not install.unsettled(place.layout, record)
        place.bring(wanted)
        number += 1
    assert ends == {False, True} and late and not grant.exists()
