# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each numbered adversary has tests that are really collected, at each tier, and something that shows that they could fail."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.tests.support import cases
from ansible_collections.nexcage.backends.tests.support.cases import Found
from ansible_collections.nexcage.backends.tools import cases_page

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES: dict[int, list[str]] = yaml.safe_load((ROOT / "docs/data/cases.yml").read_text())


def lacking(rows: t.Mapping[int, t.Sequence[str]], found: t.Sequence[Found]) -> list[str]:
    """What is missing of every adversary."""
    missing = []
    for number, row in rows.items():
        tiers = {one.tier for one in found if number in one.numbers}
        needed = ["strong", "standard"] if row[2] == "counterpart" else list(cases.TIERS)
        missing += [f"{number}: no test at {tier}" for tier in needed if tier not in tiers]
    return missing


def test_every_number_has_its_row() -> None:
    assert list(CASES) == list(range(1, 98))
    assert all(len(row) == 3 and all(row) and row[2] in cases_page.CONTROLS for row in CASES.values())


def test_every_number_has_its_tests() -> None:
    assert lacking(CASES, cases.collected()) == []


def test_no_test_is_of_a_number_that_there_is_not() -> None:
    assert {number for one in cases.collected() for number in one.numbers} == set(CASES)


def test_a_missing_one_would_be_seen() -> None:
    found = cases.collected()
    without = [one for one in found if not (65 in one.numbers and one.tier == "strong")]
    assert lacking(CASES, without) == ["65: no test at strong"]
    assert lacking({98: ["a new one", "nothing", "succeeds"]}, found) == [f"98: no test at {tier}" for tier in cases.TIERS]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("test_case_65_a_file_outside_the_root", [65]),
        ("test_72_73_frames_that_are_none", [72, 73]),
        ("TestCase67::test_a_redirect", [67]),
        ("test_39_a_print_harms_nobody", [39]),
        ("test_case_651", []),
        ("test_the_1001st_call", []),
        ("test_in_2026_it_rains", []),
    ],
)
def test_what_a_name_says(name: str, numbers: list[int]) -> None:
    assert cases.numbers_in(name) == numbers
