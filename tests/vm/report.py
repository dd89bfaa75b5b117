# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the outcome of a run between its two marks in the documentation."""

from __future__ import annotations

import typing as t
from pathlib import Path

NAMES = ("kernel", "systemd", "python3", "crun", "runc", "conmon", "skopeo", "umoci", "ansible-core", "qemu", "accelerator")


def render(outcome: t.Mapping[str, t.Any]) -> str:
    """Markdown: verdict, versions, a table of the stages, a table of the figures."""
    verdict = "all stages passed" if outcome["passed"] else "**not all stages passed**"
    versions = ", ".join(f"{name} {outcome['versions'][name]}" for name in NAMES if name in outcome["versions"])
    lines = [f"### {outcome['suite']}, {outcome['date']}: {verdict}", "", f"{versions}.", "", "| stage | result | seconds |", "|---|---|---:|"]
    for stage in outcome["stages"]:
        lines.append(f"| {stage['title']} | {'pass' if stage['passed'] else '**fail**'} | {stage['seconds']:.0f} |")
    lines += [f"| {title} | not run | |" for title in outcome["not_run"]]
    lines += ["", "| measured | seconds |", "|---|---:|"]
    if outcome["seconds_to_build"]:
        lines.append(f"| build of the guest | {outcome['seconds_to_build']:.0f} |")
    seen: dict[str, list[float]] = {}
    for stage in outcome["stages"]:
        for what, seconds in stage["figures"]:
            seen.setdefault(what, []).append(seconds)
    lines += [f"| {what} | {', '.join(f'{value:.1f}' for value in values)} |" for what, values in seen.items()]
    return "\n".join(lines)


def write(page: Path, outcome: t.Mapping[str, t.Any]) -> None:
    """Replace what stands between the marks of this suite, or append both marks."""
    begin, end = f"<!-- begin {outcome['suite']} -->", f"<!-- end {outcome['suite']} -->"
    text = page.read_text(encoding="utf-8")
    block = f"{begin}\n{render(outcome)}\n{end}"
    if begin in text:
        head, _mark, rest = text.partition(begin)
        text = head + block + rest.partition(end)[2]
    else:
        text = text.rstrip("\n") + "\n\n" + block + "\n"
    page.write_text(text, encoding="utf-8")
