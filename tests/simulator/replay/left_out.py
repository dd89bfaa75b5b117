# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of the recordings that prove nothing, each with the reason."""

from __future__ import annotations

import re

# File, number and case, reason: what the recordings' own page calls not authoritative, and what only the recording machine had.
RULES: tuple[tuple[str, str, str], ...] = (
    (r".*/discovery.json", r"\d+ node capabilities machines", "the recording machine had no list of machines"),
    (r"9.2/vm_disk.json", r"127 new while cloning", "a race of some milliseconds, which 8.4 won the other way: durations are not authoritative"),
    (r"8.4/vm_disk.json", r"66 create running without vmstate: task status", "savevm is not authoritative"),
    (r"9.2/vm_disk.json", r"67 create running without vmstate: task status", "savevm is not authoritative"),
    (r"8.4/tasks.json", r"21 tasks errors", "lists tasks of earlier recordings"),
    (r"8.4/lxc_disk.json", r"201 config", "the order in which disks were cloned was that of a hash"),
    (r"9.2/oci.json", r"72 start: task status", "the start of an OCI container is not authoritative"),
    (r"9.2/oci_start.json", r"(?:8|23|29) start.*: task status", "the start of an OCI container is not authoritative"),
    (r"8.4/vm_lifecycle.json", r"93 start applies pending: task status", "starts with ovmf are not authoritative"),
)
_COMPILED = tuple((re.compile(file), re.compile(case), reason) for file, case, reason in RULES)


def reason(file: str, number: int, case: str) -> str:
    """Why a case is left out; nothing for one that counts."""
    return next((why for names, cases, why in _COMPILED if names.fullmatch(file) and cases.fullmatch(f"{number} {case}")), "")
