# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small reader of Prometheus' text format that takes nothing else.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re
import typing as t

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL})(?:,{LABEL})*)?\}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)")
HELP, TYPE = re.compile(rf"# HELP ({NAME}) (.+)"), re.compile(rf"# TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)")
SUFFIXES = {"summary": ("", "_sum", "_count")}
Labels = frozenset[tuple[str, str]]


def read(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample by name and labels.

    Raises:
        ValueError: For whatever a Prometheus would refuse, or read otherwise than it is meant.
    """
    found: dict[tuple[str, Labels], float] = {}
    helped, kinds, current = set(), {}, ""
    if not text.endswith("\n"):
        raise ValueError("no line break at the end")
    for line in text.split("\n")[:-1]:
        if match := HELP.fullmatch(line):
            if match[1] in helped:
                raise ValueError(f"a second HELP: {line}")
            helped.add(match[1])
        elif match := TYPE.fullmatch(line):
            if match[1] in kinds:
                raise ValueError(f"a second TYPE: {line}")
            current, kinds[match[1]] = match[1], match[2]
        elif match := SAMPLE.fullmatch(line):
            if match[1] not in [current + suffix for suffix in SUFFIXES.get(kinds.get(current, ""), ("",))]:
                raise ValueError(f"apart from its family: {line}")
            pairs = re.findall(rf"({NAME})=\"((?:[^\"\\]|\\.)*)\"", match[2] or "")
            labels = frozenset((name, value.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")) for name, value in pairs)
            if (match[1], labels) in found or len(labels) != len(pairs):
                raise ValueError(f"twice: {line}")
            found[match[1], labels] = float(match[3])
        else:
            raise ValueError(f"not of the format: {line!r}")
    return found


def value(samples: t.Mapping[tuple[str, Labels], float], name: str, **labels: str) -> float:
    """One sample."""
    return samples[name, frozenset(labels.items())]
