# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Versions as programs print them, and the ranges that manifests ask for."""

from __future__ import annotations

import re
import typing as t

from .errors import NexcageError

COMPATIBILITY_LEVEL = "0.7.5"  # the NexCage level that plugins are compared with, not the collection's version
API_VERSIONS = (1,)  # of the interface of plugins, served side by side; sdk.versions says how

FINAL = 4
_STAGES = {"dev": 0, "alpha": 1, "beta": 2, "pre": 3, "rc": 3}
_STAGE_NAMES = {stage: name for name, stage in _STAGES.items()}
# Existing NexCage keeps each number in 32 bits: what this lets through always fits.
_NUMBER = r"(?:0|[1-9][0-9]{0,8}|[1-3][0-9]{9})"
EXACT_PATTERN = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_CLAUSE = rf"(?:(?:>=|<=|==|!=|>|<) ?{_NUMBER}(?:\.{_NUMBER}){{0,2}}|~= ?{_NUMBER}(?:\.{_NUMBER}){{1,2}})"
RANGE_PATTERN = rf"(?:{EXACT_PATTERN}|{_CLAUSE}(?: ?, ?{_CLAUSE}){{0,7}})"
# A pre-release as in 1.0.0-rc93, 1.0~rc1, 2.0beta2. Whatever else follows (+ds1, -18-amd64, p1) is packaging.
_LOOSE = (
    r"(?<![0-9.])([0-9]{1,10})\.([0-9]{1,10})(?:\.([0-9]{1,10}))?(?![0-9])"
    r"(?:[-.~_]?(dev|alpha|beta|pre|rc)[-.]?([0-9]{0,9})(?![A-Za-z0-9]))?"
)


class Version(t.NamedTuple):
    """One version; the order of the tuple is the order of versions, a pre-release is before its release."""

    major: int
    minor: int
    patch: int
    stage: int = FINAL
    step: int = 0

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        if self.stage == FINAL:
            return text
        return f"{text}-{_STAGE_NAMES[self.stage]}{self.step}"


def parse_version(text: str) -> Version:
    """An exact version ``x.y.z`` as manifests carry it.

    Raises:
        NexcageError: ``E_INVALID`` for anything else.
    """
    if not re.fullmatch(EXACT_PATTERN, text):
        raise NexcageError("E_INVALID", f"not a version of the form x.y.z: {text[:200]!r}", remedy="write it like 1.0.0")
    return _version(text)


def find_version(output: str) -> Version | None:
    """The first version in what a program prints about itself, ``None`` where there is none.

    Real examples: ``crun version 1.8.1``, ``runc version 1.1.5+ds1``, ``1.0.0-rc93``,
    ``curl 7.88.1 (x86_64-pc-linux-gnu)``, a kernel's ``6.1.0-18-amd64``.
    """
    found = re.search(_LOOSE, output)
    if found is None:
        return None
    major, minor, patch, stage, step = found.groups()
    return Version(int(major), int(minor), int(patch or 0), _STAGES.get(stage, FINAL), int(step or 0))


class Range:
    """A version range; ``version in Range(">=1.0.0")`` tells whether a version lies in it.

    One to eight of ``>= > <= < == != ~=`` with ``x``, ``x.y`` or ``x.y.z``, separated by commas, all of
    which hold; or a bare ``x.y.z``: the same major version and not lower (existing NexCage's rule).
    ``~=1.4.2`` is ``>=1.4.2`` within 1.4, ``~=1.4`` is ``>=1.4`` within 1. A pre-release of the version
    below which a range ends does not lie in it: 2.0.0-rc1 is not ``<2``.

    Raises:
        NexcageError: ``E_INVALID`` naming the text that is no range.
    """

    __slots__ = ("_clauses", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._clauses: list[tuple[str, Version, int]] = []
        if re.fullmatch(EXACT_PATTERN, text):
            self._clauses.append(("bare", _version(text), 3))
            return
        if not re.fullmatch(RANGE_PATTERN, text):
            raise NexcageError(
                "E_INVALID",
                f"not a version range: {text[:200]!r}",
                remedy="write it like '>=1.0.0', '>=1,<2', '~=1.4', '==1.2.3' or a bare '1.2.3' (same major, not lower)",
            )
        for clause in text.split(","):
            number = clause.strip("<>=!~ ")
            self._clauses.append((clause.strip()[:2].rstrip("0123456789 "), _version(number), number.count(".") + 1))

    def __contains__(self, version: Version) -> bool:
        return all(_holds(version, *clause) for clause in self._clauses)

    def __repr__(self) -> str:
        return f"Range({self.text!r})"


def chosen(text: str) -> Range:
    """What a task's option ``version`` names: a range, or a bare version, which is exactly that one.

    Raises:
        NexcageError: ``E_INVALID`` with the option and its value as it was written.
    """
    try:
        return Range(text if text[:1] in tuple("<>=!~") else f"=={text}")
    except NexcageError:
        remedy = "write it like '1.2.3' (exactly that one), '>=1.0.0', '>=1,<2' or '~=1.4'"
        raise NexcageError("E_INVALID", "neither a version nor a range of versions", option="version", value=text[:200], remedy=remedy) from None


def satisfies(version: Version | str, text: str) -> bool:
    """Whether a version, or the first one in a program's output, lies in a range.

    Raises:
        NexcageError: ``E_INVALID`` where ``text`` is no range or ``version`` holds no version.
    """
    if isinstance(version, str):
        found = find_version(version)
        if found is None:
            raise NexcageError(
                "E_INVALID",
                f"no version found in {version[:200]!r} to compare with {text}",
                remedy="look at what the program prints about its version",
            )
        version = found
    return version in Range(text)


def require(subject: str, version: Version | str, text: str) -> None:
    """Refuse a version that does not lie in a range.

    Raises:
        NexcageError: ``E_VERSION`` naming subject, version and range; ``E_INVALID`` as :func:`satisfies`.
    """
    if not satisfies(version, text):
        raise NexcageError(
            "E_VERSION",
            f"{subject} is {version}, and {text} is needed",
            details={"found": str(version), "range": text},
        )


def _version(text: str) -> Version:
    major, minor, patch = (*(int(part) for part in text.split(".")), 0, 0)[:3]
    return Version(major, minor, patch)


def _holds(version: Version, operator: str, bound: Version, parts: int) -> bool:
    if operator == "bare":
        return version.major == bound.major and version >= bound
    if operator == "~=":
        return version >= bound and version[: parts - 1] == bound[: parts - 1]
    if operator == "<":
        return version < bound and version[:3] != bound[:3]
    compared: dict[str, bool] = {
        ">=": version >= bound,
        ">": version > bound,
        "<=": version <= bound,
        "==": version == bound,
        "!=": version != bound,
    }
    return compared[operator]
