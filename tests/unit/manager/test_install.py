# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which package is active: records, the change from one to another, and that change killed at every step."""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import install, installed, records
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import releases

NAME = "demo-backend"
# All that changes a file system here goes through these.
CALLS = ("open", "write", "rename", "unlink", "fsync", "makedirs")
PIDS = itertools.count(5_000_000)  # a run that was killed is another process than the next one


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})


def bring(layout: Layout, version: str, **fields: t.Any) -> records.Release:
    """Make a package of that version the active one."""
    content = releases.data(version=version, **fields)
    release = releases.release(content, version=version)
    install.activate(layout, NAME, release, content)
    return release


def lying(layout: Layout) -> list[str]:
    """What is in plugin_dir."""
    return sorted(os.listdir(installed.plugin_dir(layout)))


def kept(layout: Layout) -> list[str]:
    """The digests of the packages in the state folder."""
    return sorted("sha256:" + name for name in os.listdir(f"{records.folder(layout, NAME)}/{records.KEPT}"))


def test_one_after_another(layout: Layout) -> None:
    first = bring(layout, "1.0.0")
    assert lying(layout) == [first.file] and kept(layout) == []
    second = bring(layout, "1.1.0")
    assert lying(layout) == [second.file] and kept(layout) == [first.digest]
    record = records.read(layout, NAME)
    assert record == records.Record(NAME, second, first, "1.1.0")
    assert installed.names(layout) == [NAME]
    bring(layout, "1.1.0")  # the same again changes nothing of what can be rolled back to
    assert records.read(layout, NAME) == record and kept(layout) == [first.digest]


def test_another_package_of_the_same_version(layout: Layout) -> None:
    first, second = bring(layout, "1.0.0"), bring(layout, "1.0.0", description="Another one")
    assert first.digest != second.digest and lying(layout) == [second.file] and kept(layout) == [first.digest]
    assert installed.fetch(layout, NAME, first)[0].digest == first.digest
    assert installed.fetch(layout, NAME, second)[0].digest == second.digest


def test_removed(layout: Layout) -> None:
    bring(layout, "1.0.0")
    bring(layout, "1.1.0")
    install.deactivate(layout, NAME)
    assert lying(layout) == [] and kept(layout) == [] and installed.names(layout) == []
    assert records.read(layout, NAME) == records.Record(NAME, None, None, "1.1.0")  # nobody gets below it unasked
    install.deactivate(layout, "never-there")
    assert bring(layout, "1.0.0") and records.read(layout, NAME) == records.Record(NAME, releases.release(releases.data()), None, "1.1.0")


def test_a_package_that_somebody_removed_or_changed(layout: Layout) -> None:
    release = bring(layout, "1.0.0")
    path = pathlib.Path(installed.plugin_dir(layout), release.file)
    path.write_bytes(releases.data(description="Another one"))
    with pytest.raises(NexcageError, match="is another package") as caught:
        installed.fetch(layout, NAME, release)
    assert caught.value.code == "E_INTEGRITY" and "reloaded" in caught.value.remedy
    path.unlink()
    with pytest.raises(NexcageError, match="is gone"):
        installed.fetch(layout, NAME, release)
    bring(layout, "1.1.0")  # there is nothing to keep of what it replaces
    assert kept(layout) == []


class Killed(BaseException):
    """Stands for the end of the process."""


class Killer:
    """Ends the run at the n-th call that changes something, before it or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
        self.left = number
        pid = next(PIDS)
        monkeypatch.setattr(os, "getpid", lambda: pid)
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name), after))

    def _wrapped(self, original: t.Callable[..., t.Any], after: bool) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **more: t.Any) -> t.Any:
            if original.__name__ == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return original(*arguments, **more)
            self.left -= 1
            if self.left == 0 and not after:
                raise Killed
            value = original(*arguments, **more)
            if self.left == 0:
                raise Killed
            return value

        return call


def steps(layout: Layout, monkeypatch: pytest.MonkeyPatch, do: t.Callable[[], object], restore: t.Callable[[], object]) -> t.Iterator[None]:
    """Kill ``do`` at every step in turn, until it comes to its end."""
    for after in (False, True):
        number = 0
        while True:
            number += 1
            restore()
            with monkeypatch.context() as patch:
                killer = Killer(patch, number, after)
                with contextlib.suppress(Killed):
                    do()
            yield
            if killer.left > 0:
                assert number > 10  # otherwise nothing was killed
                break


@pytest.mark.parametrize("version", ["1.1.0", "1.0.0"])
def test_case_96_killed_at_every_step_of_an_update(layout: Layout, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    old_data, new_data = releases.data(), releases.data(version=version, description="New")
    old, new = releases.release(old_data), releases.release(new_data, version=version)
    seen = set()

    def restore() -> None:
        install.activate(layout, NAME, new, new_data)
        install.activate(layout, NAME, old, old_data)

    for _number in steps(layout, monkeypatch, lambda: install.activate(layout, NAME, new, new_data), restore):
        record = records.read(layout, NAME)
        assert record is not None and record.active in (old, new)
        assert installed.fetch(layout, NAME, record.active)[0].digest == record.active.digest
        seen.add(record.active)
        if record.active == new:  # then the old one can be brought back
            assert record.previous == old and installed.fetch(layout, NAME, old)[0].digest == old.digest
        install.settle(layout, record)  # the next run
        assert not install.unsettled(layout, record) and lying(layout) == [record.active.file]
        assert installed.fetch(layout, NAME, record.active)[0].digest == record.active.digest
    assert seen == {old, new}


def test_killed_at_every_step_of_a_removal(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    data = releases.data()
    release = releases.release(data)

    for _number in steps(layout, monkeypatch, lambda: install.deactivate(layout, NAME), lambda: install.activate(layout, NAME, release, data)):
        record = records.read(layout, NAME)
        assert record is not None
        if record.active is None:
            install.settle(layout, record)
            assert lying(layout) == []
        else:
            assert installed.fetch(layout, NAME, release)[0].digest == release.digest


@pytest.mark.parametrize("text", ['{"schema_version": 2}', "[]", '{"schema_version": 1}', '{"schema_version": 1, "active": {}, "previous": null}', "{"])
def test_a_record_that_cannot_be_read(layout: Layout, text: str) -> None:
    bring(layout, "1.0.0")
    path = pathlib.Path(records.folder(layout, NAME), records.FILE)
    path.write_text(text)
    with pytest.raises(NexcageError) as caught:
        records.read(layout, NAME)
    assert caught.value.code == "E_STATE" and str(path) in caught.value.message


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a\0", "-x"])
def test_names_that_are_none(layout: Layout, name: str) -> None:
    with pytest.raises(NexcageError):
        records.read(layout, name)


def test_one_at_a_time(layout: Layout) -> None:
    with install.lock(layout, 1.0), pytest.raises(NexcageError) as caught, install.lock(layout, 0.01):
        raise AssertionError
    assert caught.value.code == "E_LOCKED"


def test_a_full_disk_keeps_what_was(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    release = bring(layout, "1.0.0")
    content = releases.data(version="2.0.0")

    def full(*_arguments: object, **_more: object) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_write_all", full)
        with pytest.raises(NexcageError) as caught:
            install.activate(layout, NAME, releases.release(content, version="2.0.0"), content)
    assert caught.value.code == "E_SPACE"
    record = records.read(layout, NAME)
    assert record is not None and record.active == release and not install.unsettled(layout, record)
