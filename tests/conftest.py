# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: which of them can run on this machine, and where the repository lies.

Where the environment variable CI is set, a skip is a failure: a machine that is there to test must be able to. Only
tests marked ``shared_data`` may skip, for their recordings are not part of the repository.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def in_ci() -> bool:
    """Whether the environment says that this is a continuous integration run."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def missing(names: t.Iterable[str]) -> list[str]:
    """Those of the required things that this machine does not have: 'root', 'linux', or a program's name."""
    conditions = {"root": os.geteuid() == 0, "linux": sys.platform == "linux"}
    path = os.environ.get("PATH", "") + ":" + SYSTEM_FOLDERS
    return [name for name in names if not (conditions[name] if name in conditions else shutil.which(name, path=path))]


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = missing([name for marker in item.iter_markers("requires") for name in marker.args])
    if lacking:
        pytest.skip("this machine lacks " + ", ".join(lacking))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and in_ci() and not hasattr(report, "wasxfail") and item.get_closest_marker("shared_data") is None:
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as a failure where CI is set: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> t.Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.outcome == "skipped" and in_ci():
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skipped as a whole, which counts as a failure where CI is set"
    return report


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root folder of the collection."""
    return ROOT


@pytest.fixture
def shared_data(request: pytest.FixtureRequest) -> pathlib.Path:
    """The folder of recordings beside the repository; for tests marked ``shared_data``."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("there is no ../shared/data")
    return folder
