# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every file of the repository, and no other tool checks."""

from __future__ import annotations

import pathlib
import re
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
LONGEST_FILE = 400


def tracked() -> list[pathlib.Path]:
    """Every text file that is, or is about to be, part of the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    paths = [ROOT / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and b"\0" not in path.read_bytes()[:4096]]


@pytest.fixture(scope="module")
def files() -> list[pathlib.Path]:
    found = tracked()
    assert ROOT / "galaxy.yml" in found
    return found


def matches(files: list[pathlib.Path], pattern: str) -> list[str]:
    """Where the pattern stands, as ``path:line``."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if expression.search(line)
    ]


def test_action_group_is_complete() -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["nexcage"]
    assert group == MODULES


def test_no_file_is_too_long(files: list[pathlib.Path]) -> None:
    code = [path for path in files if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ("plugins", "roles", "tools")]
    counts = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in code}
    assert {name: count for name, count in counts.items() if count > LONGEST_FILE} == {}


def test_licence_of_the_author_facing_code_is_permissive(files: list[pathlib.Path]) -> None:
    for path in files:
        folders = path.relative_to(ROOT).parts
        if folders[0] == "plugins" and path.suffix == ".py":
            expected = "BSD-2-Clause" if folders[1:2] == ("module_utils",) and folders[2] in ("model", "sdk") else "GPL-3.0-or-later"
            header = path.read_text(encoding="utf-8").splitlines()[:5]
            assert f"# SPDX-License-{'Identifier'}: {expected}" in header, path


def test_annotations_are_never_evaluated(files: list[pathlib.Path]) -> None:
    """Python 3.9 cannot evaluate ``str | None``."""
    for path in files:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".py" and re.search(r"^(def|class|import|from) ", text, re.MULTILINE):
            assert "from __future__ import annotations" in text, path


def test_no_paths_of_one_machine(files: list[pathlib.Path]) -> None:
    assert matches(files, r"/(root/\.pyenv|Users/[a-z]|work/(main|shared))") == []


def test_no_marks_of_unfinished_work(files: list[pathlib.Path]) -> None:
    shipped = [path for path in files if path.relative_to(ROOT).parts[0] in ("plugins", "roles", "playbooks", "extensions")]
    assert matches(shipped, r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError") == []


def test_no_sanity_rule_is_ignored() -> None:
    assert list((ROOT / "tests" / "sanity").glob("ignore*")) == []


def test_collection_needs_no_other_collection() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"] == {}


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in (ROOT / "docs" / "examples").glob("*/plugin.json")))
def test_each_example_says_what_it_asks_for(folder: str) -> None:
    """Else the conformance suite has nothing to hold its calls against."""
    assert (ROOT / "docs" / "examples" / folder / "conformance_calls.json").is_file()
