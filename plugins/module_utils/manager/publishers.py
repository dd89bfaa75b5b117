# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may publish what: the rules for ``allowed_signers`` and ``publishers.json``, from their bytes to values.

``publishers.json`` maps a plugin's name, or a pattern in which ``*`` stands for any text, to principals::

    {"schema_version": 1, "publishers": {"acme-*": ["release@acme.example"]}}

An entry for the very name decides alone; else the pattern with the most characters beside ``*`` does.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import re
import time
import typing as t

from ..model.errors import NexcageError
from ..model.manifest_rules import Field, ListOf, MapOf, Record, Text, Whole
from . import document

SCHEMA_VERSION = 1
RESERVED = ("crun", "nexcage", "proxmox-lxc", "proxmox-vm", "runc")  # short names of the collection's own plugins; a test holds that none is missing

_PRINCIPAL = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}"
_KEY_TYPE = r"(?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+"
_LINE = re.compile(rf"([^ \t]+)[ \t]+(?:((?:[^ \t\"]|\"[^\"]*\")+)[ \t]+)??({_KEY_TYPE})[ \t]+([A-Za-z0-9+/]+={{0,2}})(?:[ \t].*)?")
_OPTION = re.compile(r'([a-z-]+)(?:="([^"]*)")?')
_OPTIONS = ("cert-authority", "namespaces", "valid-after", "valid-before")
_TIMES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_PATTERN = Text(1, 64, r"[A-Za-z0-9*](?:[A-Za-z0-9._*-]*[A-Za-z0-9*])?", "a plugin's name, or a pattern with *")
_RULES = Record(
    {
        "schema_version": Field(Whole(SCHEMA_VERSION, SCHEMA_VERSION)),
        "publishers": Field(MapOf(_PATTERN, ListOf(Text(1, 255, _PRINCIPAL, "a principal's name")), 4096)),
    }
)


class Signer(t.NamedTuple):
    """One line of an ``allowed_signers`` file.

    Args:
        principals: Whom the key speaks for.
        key: The public key in SSH's binary form.
        authority: Whether it is the key of a certificate authority.
        valid_after: Seconds since 1970, ``None`` for always.
        valid_before: The same for the end.
        line: Its number in the file, from 1.
    """

    principals: tuple[str, ...]
    key: bytes
    authority: bool
    valid_after: float | None
    valid_before: float | None
    line: int


def signers(content: bytes, path: str, namespace: str) -> list[Signer]:
    """The lines of an ``allowed_signers`` file.

    Raises:
        NexcageError: ``E_TRUST``, the first of :func:`lint`, with the others in its details.
    """
    found, problems = _lines(content, path, namespace)
    if problems:
        first, *others = problems
        first.details.update({"more": [str(other) for other in others]} if others else {})
        raise first
    return found


def lint(content: bytes, path: str, namespace: str) -> list[NexcageError]:
    """All that is wrong with an ``allowed_signers`` file; each error names file, line and remedy.

    Stricter than OpenSSH, which lets a line without ``namespaces`` sign anything and a pattern speak for anybody.
    """
    return _lines(content, path, namespace)[1]


def _lines(content: bytes, path: str, namespace: str) -> tuple[list[Signer], list[NexcageError]]:
    found: list[Signer] = []
    problems: list[NexcageError] = []
    for number, raw in enumerate(content.split(b"\n"), 1):
        try:
            text = raw.decode("ascii", "replace").lstrip(" \t").rstrip(" \t\r")
            if text and not text.startswith("#"):
                found.append(_signer(text, number, namespace, found))
        except _Wrong as wrong:
            details = {"file": path, "line": number}
            problems.append(NexcageError("E_TRUST", f"{path}, line {number}: {wrong.problem}", remedy=wrong.remedy, details=details))
    return found, problems


class _Wrong(Exception):
    """What is wrong with a line, before it is known which."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def _signer(text: str, number: int, namespace: str, earlier: list[Signer]) -> Signer:
    form = f'write it as: PRINCIPAL namespaces="{namespace}" KEY-TYPE KEY'
    matched = _LINE.fullmatch(text)
    if matched is None:
        raise _Wrong("not a line of an allowed_signers file", form)
    principals = tuple(matched[1].split(","))
    for name in principals:
        if not re.fullmatch(_PRINCIPAL, name):
            problem = f"the principal {name!r} " + ("stands for anybody" if set(name) & set("*?!") else "is no plain name")
            raise _Wrong(problem, "name each publisher: letters, digits and . _ @ + -, such as release@acme.example")
    options = _options(matched[2] or "", form)
    if options.get("namespaces") != namespace:
        there = options.get("namespaces")
        problem = f'it has no namespaces="{namespace}"' if there is None else f"its namespaces are {there!r}"
        raise _Wrong(problem + ": the key could be used for more than it is meant for, or not for this", form)
    try:
        key = base64.b64decode(matched[4], validate=True)
    except binascii.Error:
        raise _Wrong("the key is cut off or changed", "copy the whole line of the publisher's .pub file") from None
    kind = matched[3].encode("ascii")
    if key[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind or len(key) <= 4 + len(kind):
        raise _Wrong(f"the key is no key of type {matched[3]}", "copy the whole line of the publisher's .pub file")
    for other in earlier:
        if other.key == key:
            raise _Wrong(f"the key stands in line {other.line} too", "write one line for a key, with its principals separated by commas")
    return Signer(principals, key, "cert-authority" in options, _time(options, "valid-after"), _time(options, "valid-before"), number)


def _options(text: str, form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    position = 0 if text else -1
    while position >= 0:
        matched = _OPTION.match(text, position)
        name = matched[1] if matched else ""
        if matched is None or name not in _OPTIONS or name in found or (matched[2] is None) != (name == "cert-authority"):
            raise _Wrong(f"its options {text!r} are not understood from character {position + 1} on", f"{form}; options are {', '.join(_OPTIONS)}, once each")
        found[name] = matched[2] or ""
        following = text[matched.end() :]
        if following and not following.startswith(","):
            raise _Wrong(f"its options {text!r} are not separated by commas", form)
        position = matched.end() + 1 if following else -1
    return found


def _time(options: dict[str, str], name: str) -> float | None:
    text = options.get(name)
    if text is None:
        return None
    try:
        digits = text[:-1] if text.endswith("Z") else text
        if not re.fullmatch("[0-9]+", digits):
            raise ValueError(text)
        return float(calendar.timegm(time.strptime(digits, _TIMES[len(digits)])))
    except (KeyError, ValueError):
        raise _Wrong(f"{name} is {text!r}, which is no time", f'write it as {name}="YYYYMMDD" or "YYYYMMDDHHMMSS"; it is in UTC') from None


def refuse_reserved(name: str) -> None:
    """Refuse a plugin whose name is that of a built-in one, or looks like it, or begins with ``nexcage.``.

    Raises:
        NexcageError: ``E_TRUST``.
    """
    plain = re.sub("[._-]+", "-", name).lower()
    short = plain[: -len("-backend")] if plain.endswith("-backend") else plain
    if short in RESERVED or plain.startswith("nexcage-"):
        raise NexcageError(
            "E_TRUST",
            f"the name is reserved for the collection's own plugins ({', '.join(RESERVED)} and nexcage.*), whoever signed it",
            option="name",
            value=name,
            remedy="the publisher has to give the plugin another name",
        )


class Publishers:
    """The content of ``publishers.json``.

    Args:
        content: Its bytes.
        path: Where they come from, for messages.

    Raises:
        NexcageError: ``E_TRUST`` naming file and entry.
    """

    def __init__(self, content: bytes, path: str) -> None:
        remedy = f'write it as {{"schema_version": {SCHEMA_VERSION}, "publishers": {{"acme-*": ["release@acme.example"]}}}}'
        self._entries: dict[str, list[str]] = document.parse(content, path, _RULES, "E_TRUST", remedy)["publishers"]

    def of(self, name: str) -> tuple[str, ...]:
        """The principals who may publish the plugin ``name``; empty where nobody may."""
        if name in self._entries and "*" not in name:
            return tuple(self._entries[name])
        fitting = [pattern for pattern in self._entries if "*" in pattern and _fits(pattern, name)]
        if not fitting:
            return ()
        longest = max(len(pattern.replace("*", "")) for pattern in fitting)
        return tuple(sorted({who for pattern in fitting if len(pattern.replace("*", "")) == longest for who in self._entries[pattern]}))


def _fits(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern, in time linear in both: the pieces between the stars follow each other."""
    first, *pieces = pattern.split("*")
    last = pieces.pop()
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    middle, position = name[len(first) : len(name) - len(last)], 0
    for piece in pieces:
        position = middle.find(piece, position)
        if position < 0:
            return False
        position += len(piece)
    return True
