# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the recordings that prove nothing, each with the reason."""

from __future__ import annotations

import re

# File, case, reason. What the recordings' own page calls not authoritative, and what only the recording machine had.
RULES: tuple[tuple[str, str, str], ...] = ()
_COMPILED = tuple((re.compile(file), re.compile(case), reason) for file, case, reason in RULES)


def reason(file: str, case: str) -> str:
    """Why a case is left out; nothing for one that counts."""
    return next((why for names, cases, why in _COMPILED if names.fullmatch(file) and cases.search(case)), "")
