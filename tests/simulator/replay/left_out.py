# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the recordings that prove nothing, each with the reason."""

from __future__ import annotations

import re

# File, case, reason. What the recordings' own page calls not authoritative, and what only the recording machine had.
RULES: tuple[tuple[str, str, str], ...] = (
    (r".*/discovery.json", r"^node capabilities machines$", "the recording machine had no list of machines"),
    (r"9.2/vm_disk.json", r"^new while cloning$", "a race of some milliseconds, won the other way in 8.4"),
    (r".*/vm_disk.json", r"^create running without vmstate", "savevm: not authoritative"),
    (r".*/tasks.json", r"^tasks errors$", "lists tasks of earlier recordings"),
)
_COMPILED = tuple((re.compile(file), re.compile(case), reason) for file, case, reason in RULES)


def reason(file: str, case: str) -> str:
    """Why a case is left out; nothing for one that counts."""
    return next((why for names, cases, why in _COMPILED if names.fullmatch(file) and cases.search(case)), "")
