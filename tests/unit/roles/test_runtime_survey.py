# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script with which the role ``runtime`` looks at a host."""

from __future__ import annotations

import importlib.util
import pathlib
import typing as t

import pytest

SCRIPT = pathlib.Path(__file__).parents[3] / "roles" / "runtime" / "files" / "survey.py"


def load() -> t.Any:
    specification = importlib.util.spec_from_file_location("survey", SCRIPT)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


survey = load()


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\n", "1.8.1"),
        ("runc version 1.1.5+ds1\nspec: 1.0.2-dev\ngo: go1.19.8\n", "1.1.5"),
        ("runc version 1.0.0-rc93\n", "1.0.0-rc93"),
        ("1.0.0~rc93+ds1-5+deb11u3", "1.0.0~rc93"),
        ("umoci version 0.4.7+ds-3+b7", "0.4.7"),
        ("tini version 0.1.7_catatonit", "0.1.7"),
        ("unshare from util-linux 2.38.1", "2.38.1"),
        ("crun version 1.0.1.0.0.0.12-ba1f", "1.0.1.0.0.0.12"),
        ("skopeo version 1.10.0-dev commit: 41991bab", "1.10.0-dev"),
        ("crun version UNKNOWN", ""),
        ("", ""),
    ],
)
def test_version_is_read_from_what_a_program_prints(printed: str, version: str) -> None:
    assert survey.version_text(printed) == version


def test_versions_sort_as_versions_do() -> None:
    ordered = ["0.17", "1.0.0-alpha", "1.0.0-rc9", "1.0.0~rc10", "1.0.0", "1.0.1-dev", "1.0.1", "1.2", "1.10.0", "2.0"]
    keys = [survey.version_key(text) for text in ordered]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("have", "want", "enough"),
    [("1.10.0", "1.9.9", True), ("1.0.0-rc93", "1.0.0", False), ("1.0", "1.0.0", True), ("", "1.0", False), ("", "", True)],
)
def test_minimum_is_compared(have: str, want: str, enough: bool) -> None:
    assert survey.at_least(have, want) is enough


@pytest.mark.parametrize(
    ("mounts", "mode", "controllers", "beside"),
    [
        (["/sys/fs/cgroup cgroup2 rw,nsdelegate"], "v2", ["cpu", "memory"], []),
        (["/sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct", "/sys/fs/cgroup/systemd cgroup rw,name=systemd"], "v1", ["cpu", "cpuacct"], []),
        (["/sys/fs/cgroup/pids cgroup rw,pids", "/sys/fs/cgroup/unified cgroup2 rw"], "hybrid", ["pids"], ["cpu", "memory"]),
        (["/ ext4 rw"], "none", [], []),
    ],
)
def test_cgroup_mode(monkeypatch: pytest.MonkeyPatch, mounts: list[str], mode: str, controllers: list[str], beside: list[str]) -> None:
    lines = []
    for mount in mounts:
        place, kind, options = mount.split()
        lines.append(f"30 20 0:26 / {place} rw,nosuid shared:9 - {kind} none {options}")

    def read(path: str) -> str:
        return "\n".join(lines) if path == "/proc/self/mountinfo" else "memory cpu" if path.endswith("cgroup.controllers") else ""

    monkeypatch.setattr(survey, "read", read)
    assert survey.Host("/").cgroup() == {"mode": mode, "controllers": controllers, "beside": beside}


def request(folder: pathlib.Path, **changes: t.Any) -> dict[str, t.Any]:
    values: dict[str, t.Any] = {
        "runtimes": ["crun"],
        "helpers": [],
        "downloads": {},
        "minimum_versions": {},
        "components": {"crun": {"kind": "runtime", "minimum": "1.0.0"}},
        "packages": {"crun": ["crun"]},
        "package_manager": "apt",
        "distribution": "Debian 12",
        "folders": [str(folder)],
        "download_folder": str(folder),
        "staging_folder": str(folder / "staging"),
        "state_folder": str(folder),
        "stage": "plan",
    }
    return {**values, **changes}


def outcome(asked: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch, printed: str) -> t.Any:
    monkeypatch.setattr(survey, "output_of", lambda *_command: printed)
    monkeypatch.setattr(survey.Components, "lists_are_missing", lambda _self: False)
    return survey.survey(asked)


OFFER = "crun:\n  Installed: (none)\n  Candidate: {}\n  Version table:\n     9.9 500\n"


def test_missing_package_is_planned(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = outcome(request(tmp_path), monkeypatch, OFFER.format("1:1.8.1-1"))
    assert answer["packages"] == ["crun"]
    assert answer["problems"] == []


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (OFFER.format("0.17+dfsg-1"), "Debian 12 offers only 0.17+dfsg-1, needed is 1.0.0"),
        (OFFER.format("(none)"), "no configured repository has the package crun"),
        ("", "no configured repository has the package crun"),
    ],
)
def test_what_apt_cannot_deliver_is_refused_before(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, printed: str, message: str) -> None:
    answer = outcome(request(tmp_path), monkeypatch, printed)
    assert answer["packages"] == []
    assert message in answer["problems"][0]["message"]
    assert "runtime_downloads.crun" in answer["problems"][0]["remedy"]


def test_what_is_missing_after_the_installation_is_refused(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = outcome(request(tmp_path, stage="verify"), monkeypatch, "")
    assert [problem["message"] for problem in answer["problems"]] == ["crun is not installed"]


def test_distribution_without_packages_names_a_way(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = outcome(request(tmp_path, packages={}), monkeypatch, "")
    assert "no package of it on Debian 12" in answer["problems"][0]["message"]
    assert "install it by hand" in answer["problems"][0]["remedy"]


@pytest.mark.requires("root")  # for files that belong to root
@pytest.mark.parametrize(
    ("mode", "printed", "state"),
    [
        (0o755, "crun version 1.8.1", "ready"),
        (0o755, "cannot execute", "broken"),
        (0o775, "crun version 1.8.1", "unsafe"),
        (0o644, "crun version 1.8.1", "unsafe"),
        (0o755, "crun version 0.17\n" + OFFER.format("1.8.1"), "outdated"),
    ],
)
def test_state_of_a_program(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, mode: int, printed: str, state: str) -> None:
    (tmp_path / "crun").write_bytes(b"")
    (tmp_path / "crun").chmod(mode)
    answer = outcome(request(tmp_path), monkeypatch, printed)
    assert answer["components"]["crun"]["state"] == state
    assert bool(answer["problems"]) is (state in ("unsafe", "broken"))
    assert answer["packages"] == (["crun"] if state == "outdated" else [])


@pytest.mark.parametrize(
    "download", [{}, "https://example.org/crun", {"url": "ftp://example.org/crun", "sha256": "0" * 64}, {"url": "https://example.org/crun"}]
)
def test_download_that_is_none(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, download: t.Any) -> None:
    answer = outcome(request(tmp_path, downloads={"crun": download}), monkeypatch, "")
    assert answer["downloads"] == []
    assert answer["problems"][0]["subject"].startswith("runtime_downloads.crun")


def test_download_that_is_not_there_yet(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crun").write_bytes(b"another")
    answer = outcome(request(tmp_path, downloads={"crun": {"url": "https://example.org/crun", "sha256": "AB" * 32}}), monkeypatch, "")
    assert answer["problems"] == []
    assert answer["components"]["crun"]["state"] == "download"
    assert answer["downloads"] == [
        {
            "name": "crun",
            "url": "https://example.org/crun",
            "sha256": "ab" * 32,
            "target": str(tmp_path / "crun"),
            "mode": "0755",
            "staged": str(tmp_path / "staging" / "crun"),
        }
    ]
