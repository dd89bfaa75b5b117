# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run keeps of the code that it was sent: what is new, what others cannot exchange, and the newest versions."""

from __future__ import annotations

import os
import pathlib
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import kept_code
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle, delivered
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery

DIGEST, DATA = delivery.code("/nexcage/no/such/folder")


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in (folder / "code").iterdir()}


def test_a_process_of_an_installed_collection_keeps_nothing(tmp_path: pathlib.Path) -> None:
    kept_code.keep(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_what_is_kept_already_is_not_written_again(finders: list[t.Any], tmp_path: pathlib.Path) -> None:
    finders.insert(0, delivered.Code(DIGEST, DATA, {}))
    kept_code.keep(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_more_is_compiled_by_and_by(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    kept_code.keep(str(tmp_path))
    found = delivered.kept(DIGEST, str(tmp_path / "code"))
    assert found is not None and "model/errors.py" in found.kept and "worker/bootstrap.py" in found.kept and "model/plan.py" not in found.kept
    sys.meta_path[0] = t.cast("t.Any", found)
    found.get_code(delivered.BASE + "model.plan")
    kept_code.keep(str(tmp_path))
    again = delivered.kept(DIGEST, str(tmp_path / "code"))
    assert again is not None and {*again.kept} == {*found.kept, "model/plan.py"}


def test_only_the_newest_versions_are_kept(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    kept_code.keep(str(tmp_path))
    now = time.time()
    for age in range(1, 7):
        for name in (f"{age:064}", f"{age:064}.cpython-39-00000000"):
            (tmp_path / "code" / name).write_bytes(b"")
            os.utime(tmp_path / "code" / name, (now, now - 100 * age))
    kept_code.keep(str(tmp_path))
    assert {name[:64] for name in names(tmp_path)} == {DIGEST, *(f"{age:064}" for age in (1, 2, 3))}
    assert len(names(tmp_path)) == 8


def test_what_a_killed_run_left_goes(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    kept_code.keep(str(tmp_path))
    for name, age in ((f"{DIGEST}.1-1.tmp", 7200), (f"{DIGEST}.2-2.tmp", 60)):
        (tmp_path / "code" / name).write_bytes(b"")
        os.utime(tmp_path / "code" / name, (0, time.time() - age))
    kept_code.keep(str(tmp_path))
    assert names(tmp_path) == {f"{DIGEST}.2-2.tmp", DIGEST, delivered.compiled_name(DIGEST)}


def test_what_cannot_be_written_is_let_be(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    kept_code.keep(str(tmp_path / "cache"))
    assert (tmp_path / "cache").read_bytes() == b"a file"


@pytest.mark.parametrize("error", [MemoryError(), ImportError("code")])
def test_what_cannot_be_compiled_is_let_be(code: delivered.Code, tmp_path: pathlib.Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise error

    monkeypatch.setattr(bundle, "compile_all", refuse)
    kept_code.keep(str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_what_others_can_exchange_is_not_written(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    """Nobody would read it, and what lies there may be something else."""
    (tmp_path / "shared/code").mkdir(parents=True)
    (tmp_path / "shared").chmod(0o777)
    (tmp_path / "shared/code/theirs").touch()
    kept_code.keep(str(tmp_path / "shared"))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/code").symlink_to(tmp_path / "shared/code")
    kept_code.keep(str(tmp_path / "linked"))
    assert names(tmp_path / "shared") == {"theirs"}


def test_what_another_run_is_about_to_keep_stays(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    """Two controllers of different versions come at once; the archive of the other is not in place yet."""
    kept_code.keep(str(tmp_path))
    for name, age in (("0" * 64 + ".1-1.tmp", 60), ("0" * 64 + ".2-2.tmp", 7200), ("1" * 64 + ".3-3.tmp", -7200)):
        (tmp_path / "code" / name).write_bytes(b"")
        os.utime(tmp_path / "code" / name, (0, time.time() - age))
    kept_code.keep(str(tmp_path))
    assert names(tmp_path) == {DIGEST, delivered.compiled_name(DIGEST), "0" * 64 + ".1-1.tmp"}


def test_what_cannot_be_removed_does_not_hold_up_the_rest(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    for name in ("0", "lost+found", "z"):
        (tmp_path / "code" / name).mkdir(parents=True)
    for age in range(1, 7):
        (tmp_path / "code" / f"{age:064}").write_bytes(b"")
        os.utime(tmp_path / "code" / f"{age:064}", (0, time.time() - 10 - age))
    for name in ("0", "lost+found", "z"):
        os.utime(tmp_path / "code" / name, (0, 0))
    kept_code.keep(str(tmp_path))
    assert {name for name in names(tmp_path) if len(name) == 64} == {DIGEST, *(f"{age:064}" for age in (1, 2, 3))}


def test_versions_of_the_future_do_not_drive_out_those_of_today(code: delivered.Code, tmp_path: pathlib.Path) -> None:
    (tmp_path / "code").mkdir()
    for number, age in enumerate((-1e8, -2e8, -3e8, 10, 20), 1):
        (tmp_path / "code" / f"{number:064}").write_bytes(b"")
        os.utime(tmp_path / "code" / f"{number:064}", (0, time.time() - age))
    kept_code.keep(str(tmp_path))
    assert {name for name in names(tmp_path) if len(name) == 64} == {DIGEST, *(f"{number:064}" for number in (1, 4, 5))}
