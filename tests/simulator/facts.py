# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads tables/*.txt: which endpoints and parameters which version has.

A file is made of blocks. The first line of a block has no indentation:

- ``format NAME``: the keys of a property string, such as ``net0``
- ``group NAME``: lines that are used more than once, by ``include NAME``
- ``METHOD PATH [partial] [may RULE]``: an endpoint. ``partial``: the real one has more parameters than these

A line of a block is ``[*]NAME[!][[LAST]] TYPE [LOW..HIGH] [/PATTERN/] [:FORMAT] [>NEEDED]``: ``*`` is what a bare value of a
property string means, ``!`` is required, ``net[31]`` stands for net0 to net31, ``>NEEDED`` is another parameter that must
be there too. Types: ``bool int num str``, ``enum A|B``, ``list TYPE``, ``props FORMAT``, ``disk KIND``; ``=OTHER`` is another
name of OTHER, ``=OTHER as KEY`` also sets KEY to this name. ``+9.1``: since 9.1. ``-9.2``: no more since 9.2.

Who may: ``world`` (without authentication), ``all``, ``root``, ``PATH:PRIVILEGE|PRIVILEGE`` (any of), ``&`` (all of),
``and``, ``or`` and parentheses around them; ``?NAME`` is decided in the code.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
import typing as t

FOLDER = pathlib.Path(__file__).resolve().parent / "tables"
WIDE = ("volume", "poolid")  # may have slashes
VERSIONS = ("8.4", "9.1", "9.2")
DISKS = {
    "lxc": ["rootfs", *(f"mp{number}" for number in range(256))],
    "qemu": [f"{bus}{number}" for bus, last in (("ide", 3), ("scsi", 30), ("virtio", 15), ("sata", 5)) for number in range(last + 1)]
    + ["efidisk0", "tpmstate0"],
}
DISKS["lxc used"] = DISKS["lxc"]
DISKS["lxc"] = [*DISKS["lxc"], *(f"unused{number}" for number in range(256))]
DISKS["qemu all"] = [*DISKS["qemu"], *(f"unused{number}" for number in range(256))]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a parameter, or a key of a property string, must be like."""

    name: str
    kind: str
    required: bool = False
    last: int | None = None
    bare: bool = False
    low: float | None = None
    high: float | None = None
    pattern: str | None = None
    values: tuple[str, ...] = ()
    form: str | None = None
    needs: str | None = None
    item: Rule | None = None
    props: str | None = None
    alias: str | None = None
    alias_key: str | None = None


@dataclasses.dataclass
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    may: str
    partial: bool
    rules: dict[str, Rule]

    def __post_init__(self) -> None:
        self.names = re.findall(r"\{(\w+)\}", self.path)
        pattern = re.sub(r"\{(\w+)\}", lambda match: rf"(?P<{match[1]}>{'.+' if match[1] in WIDE else '[^/ ]+'})", self.path)
        self.expression = re.compile(pattern + r"\Z", re.DOTALL)

    def rule(self, name: str) -> Rule | None:
        """The rule of a parameter; ``net3`` is found as ``net``."""
        return indexed(self.rules, name)


def indexed(rules: dict[str, Rule], name: str) -> Rule | None:
    found = rules.get(name)
    if found is not None:
        return found if found.last is None else None
    match = re.fullmatch(r"([a-z]+)(0|[1-9]\d*)", name)
    family = rules.get(match[1] + "[]") if match else None
    return family if match and family and int(match[2]) <= (family.last or 0) else None


@dataclasses.dataclass
class Facts:
    """All that one version has."""

    version: str
    endpoints: list[Endpoint]
    formats: dict[str, dict[str, Rule]]

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
        """The endpoint of a request, and the parameters in its path."""
        for endpoint in self.endpoints:
            match = endpoint.expression.match(path) if endpoint.method == method else None
            if match:
                return endpoint, match.groupdict()
        return None


_LINE = re.compile(
    r"(?P<bare>\*)?(?P<name>[^\s!\[]+)(?:\[(?P<last>\d+)\])?(?P<required>!)?"
    r"(?: =(?P<alias>\S+)(?: as (?P<alias_key>\S+))?| (?P<type>.*?))"
    r"(?P<marks>(?: [+-]\d+\.\d+)*)"
)
_TYPE = re.compile(
    r"(?P<kind>list (?:int|str|num)|disk \w+(?: \w+)?|enum \S+|props \S+|bool|int|num|str)"
    r"(?: (?P<low>-?[\d.]*?)\.\.(?P<high>-?\d*))?(?: /(?P<pattern>.*)/)?(?: :(?P<form>\S+))?(?: >(?P<needs>\S+))?"
)


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _typed(text: str) -> dict[str, t.Any]:
    match = _TYPE.fullmatch(text)
    if not match:
        raise ValueError(f"no type: {text}")
    kind, _space, rest = match["kind"].partition(" ")
    found: dict[str, t.Any] = {"kind": kind, "form": match["form"], "needs": match["needs"], "pattern": match["pattern"]}
    found["low"], found["high"] = _number(match["low"]), _number(match["high"])
    if kind == "enum":
        found["values"] = tuple(rest.split("|"))
    elif kind == "disk":
        found.update(kind="enum", values=tuple(DISKS[rest]))
    elif kind == "props":
        found["props"] = rest
    elif kind == "list":
        found["item"] = Rule("item", **{**_typed(text.removeprefix("list ")), "needs": None})
    return found


def applies(marks: str, version: str) -> bool:
    """Whether ``+SINCE`` and ``-GONE`` leave this version in."""
    place = VERSIONS.index(version)
    for mark in marks.split():
        since = VERSIONS.index(mark[1:])
        if (place < since) if mark[0] == "+" else (place >= since):
            return False
    return True


def _rule(line: str, version: str) -> Rule | None:
    match = _LINE.fullmatch(line)
    if not match:
        raise ValueError(f"no rule: {line}")
    if not applies(match["marks"], version):
        return None
    common: dict[str, t.Any] = {"name": match["name"], "required": bool(match["required"]), "bare": bool(match["bare"])}
    common["last"] = int(match["last"]) if match["last"] else None
    if match["alias"]:
        return Rule(kind="alias", alias=match["alias"], alias_key=match["alias_key"], **common)
    return Rule(**common, **_typed(match["type"]))


def _rules(lines: list[str], blocks: dict[str, list[str]], version: str) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for line in lines:
        if line.startswith("include "):
            rules.update(_rules(blocks[line.partition(" ")[2]], blocks, version))
            continue
        rule = _rule(line, version) if not line.startswith("may ") else None
        if rule is not None:
            rules[rule.name + ("[]" if rule.last is not None else "")] = rule
    return rules


def _may(head: str, lines: list[str], version: str) -> str:
    for line in [head, *lines]:
        match = re.search(r"(?:^| )may (.*?)((?: [+-]\d+\.\d+)*)$", line)
        if match and applies(match[2], version):
            return match[1]
    raise ValueError(f"nobody may: {head}")


def _blocks() -> dict[str, list[str]]:
    blocks: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.txt")):
        lines: list[str] = []
        for line in path.read_text().splitlines():
            if line.startswith(" "):
                lines.append(line.strip())
            elif line and not line.startswith("#"):
                lines = blocks.setdefault(line.removeprefix("format ").removeprefix("group "), [])
    return blocks


@functools.cache
def read(version: str) -> Facts:
    """The facts of one version."""
    blocks = _blocks()
    endpoints, formats = [], {}
    for head, lines in blocks.items():
        match = re.match(r"([A-Z]+) (/\S*)((?: [+-]\d+\.\d+)*)( partial)?", head)
        rules = _rules(lines, blocks, version)
        if not match:
            formats[head] = rules
        elif applies(match[3], version):
            endpoints.append(Endpoint(match[1], match[2], _may(head, lines, version), bool(match[4]), rules))
    endpoints.sort(key=lambda one: (len(one.names), one.path))  # what is named comes before what is any name
    return Facts(version, endpoints, formats)
