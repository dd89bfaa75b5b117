# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions that programs really print, and ranges."""

from __future__ import annotations

import re

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.version import (
    EXACT_PATTERN,
    RANGE_PATTERN,
    Range,
    Version,
    find_version,
    parse_version,
    require,
    satisfies,
)
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.integers(0, 30)
VERSIONS = st.builds(Version, NUMBERS, NUMBERS, NUMBERS, st.just(4), st.just(0))
LOOSE = st.builds(Version, NUMBERS, NUMBERS, NUMBERS, st.integers(0, 3), NUMBERS) | VERSIONS
BOUNDS = st.lists(NUMBERS, min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
CLAUSES = st.tuples(st.sampled_from([">=", ">", "<=", "<", "==", "!=", "~="]), BOUNDS).filter(lambda clause: clause[0] != "~=" or "." in clause[1])


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a096be\nspec: 1.0.0", "1.8.1"),
        ("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1", "1.1.5"),
        ("runc version 1.0.0-rc93\nspec: 1.0.2-dev", "1.0.0-rc93"),
        ("curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1", "7.88.1"),
        ("OpenSSH_9.2p1 Debian-2", "9.2.0"),
        ("systemd 252 (252.22-1~deb12u1)", "252.22.0"),
        ("6.1.0-18-amd64", "6.1.0"),
        ("4.18.0-553.el8_10.x86_64", "4.18.0"),
        ("umoci version 0.4.7+ds", "0.4.7"),
        ("v2.3", "2.3.0"),
        ("1.0~rc1-2", "1.0.0-rc1"),
        ("2.0beta2", "2.0.0-beta2"),
        ("1.1.0-rc.1+dev", "1.1.0-rc1"),
        ("1.2.3-pre4", "1.2.3-rc4"),
        ("1.0.0-rcx", "1.0.0"),
        ("1.2.3.4", "1.2.3"),
        ("1.2.99999999999", "1.2.0"),
        ("build of 2024.01.02", "2024.1.2"),
        ("99999999999.1.2", None),
        ("version 4", None),
        ("", None),
    ],
)
def test_the_first_version_in_what_a_program_prints(output: str, version: str | None) -> None:
    found = find_version(output)
    assert (str(found) if found else None) == version


@pytest.mark.parametrize(
    ("version", "text", "holds"),
    [
        ("1.8.1", ">=1.0.0", True),
        ("1.1.5+ds1", ">=1.0.0", True),
        ("1.0.0-rc93", ">=1.0.0", False),
        ("1.0.0", ">=1", True),
        ("0.9.9", ">=1", False),
        ("1.9.0", ">=1,<2", True),
        ("2.0.0", ">=1,<2", False),
        ("2.0.0-rc1", ">=1,<2", False),
        ("2.0.0-rc1", "<=2", True),
        ("1.4.9", "~=1.4.2", True),
        ("1.4.1", "~=1.4.2", False),
        ("1.5.0", "~=1.4.2", False),
        ("1.5.0", "~=1.4", True),
        ("2.0.0-rc1", "~=1.4", False),
        ("1.2.0", "==1.2", True),
        ("1.2.1", "==1.2", False),
        ("1.2.1", "!=1.2", True),
        ("1.0.1", "> 1", True),
        ("1.0.0", ">= 1 , != 1.0.0", False),
        ("0.7.5", "0.7.0", True),
        ("0.7.5", "0.7.6", False),
        ("0.7.5", "0.8.0", False),
        ("1.0.0", "0.7.0", False),
    ],
)
def test_ranges(version: str, text: str, holds: bool) -> None:
    assert satisfies(version, text) is holds


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "*", ">=", "1", "1.2", ">=1,", ",>=1", "=1", "===1", "~=1", ">=1,1.0.0", ">=01", "1.0.0\n", ">=1.2.3.4"),
        *(">=1.0.0-rc1", ">=9999999999", "4000000000.0.0", ">=٣", ",".join([">=1"] * 9), ">=1;<2", "^1.0.0"),
    ],
)
def test_what_is_no_range_is_named(text: str) -> None:
    with pytest.raises(NexcageError) as refused:
        Range(text)
    assert refused.value.code == "E_INVALID"
    assert repr(text) in str(refused.value)


def test_an_exact_version() -> None:
    assert parse_version("1.0.10") == Version(1, 0, 10)
    assert parse_version("2026112200.0.0").major == 2026112200
    for wrong in ("1.0", "1.0.0-rc1", "1.0.0\n", "01.0.0", "9999999999.0.0", "v1.0.0"):
        with pytest.raises(NexcageError, match=r"not a version of the form x\.y\.z"):
            parse_version(wrong)


def test_a_version_out_of_range_names_subject_version_and_range() -> None:
    require("crun", "1.8.1", ">=1.0.0")
    with pytest.raises(NexcageError, match=r"crun is 0\.9\.0, and >=1\.0\.0 is needed") as refused:
        require("crun", Version(0, 9, 0), ">=1.0.0")
    assert refused.value.code == "E_VERSION"
    assert refused.value.details == {"found": "0.9.0", "range": ">=1.0.0"}
    with pytest.raises(NexcageError, match=r"no version found in 'help' to compare with >=6\.0\.0"):
        require("qm", "help", ">=6.0.0")


def test_a_range_shows_itself() -> None:
    assert repr(Range(">=1,<2")) == "Range('>=1,<2')"


@given(LOOSE)
def test_a_version_is_read_back_as_it_is_written(version: Version) -> None:
    assert find_version(f"program version {version}\n") == version


@given(VERSIONS, LOOSE)
def test_a_bare_version_is_the_same_major_and_not_lower(wanted: Version, found: Version) -> None:
    assert (found in Range(str(wanted))) == (found.major == wanted.major and found >= wanted)


@given(LOOSE, st.lists(CLAUSES, min_size=1, max_size=8))
def test_a_comma_means_and(version: Version, clauses: list[tuple[str, str]]) -> None:
    texts = [operator + bound for operator, bound in clauses]
    assert (version in Range(",".join(texts))) == all(version in Range(text) for text in texts)


@given(VERSIONS, VERSIONS)
def test_the_operators_agree_with_each_other(version: Version, bound: Version) -> None:
    inside = {operator: version in Range(f"{operator}{bound}") for operator in (">=", ">", "<=", "<", "==", "!=", "~=")}
    assert inside["<"] is not inside[">="]
    assert inside[">"] is not inside["<="]
    assert inside["=="] is not inside["!="]
    assert inside["=="] == (inside[">="] and inside["<="])
    assert not inside["~="] or inside[">="]


@given(LOOSE, CLAUSES)
def test_what_lies_in_a_compatible_range_lies_in_the_range_above_its_bound(version: Version, clause: tuple[str, str]) -> None:
    if "." in clause[1] and version in Range("~=" + clause[1]):
        assert version in Range(">=" + clause[1])


@given(st.text() | st.from_regex(RANGE_PATTERN) | st.text("0123456789.<>=!~, "))
def test_the_pattern_and_the_parser_agree(text: str) -> None:
    try:
        Range(text)
    except NexcageError:
        assert not re.fullmatch(RANGE_PATTERN, text)
    else:
        assert re.fullmatch(RANGE_PATTERN, text)


@given(st.text())
def test_any_text_has_a_version_or_none(text: str) -> None:
    found = find_version(text)
    assert found is None or re.fullmatch(EXACT_PATTERN, str(found).split("-", maxsplit=1)[0]) or max(found) >= 4_000_000_000
