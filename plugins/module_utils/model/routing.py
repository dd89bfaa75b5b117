# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Which backend a container's name leads to: the routing rules of NexCage's configuration.

The first rule whose pattern fits decides, then ``container_config.crun_name_patterns``, then
``container_config.default_runtime``. ``routing_compat`` says how a pattern is read:

``nexcage``
    As NexCage 0.7.5 does, traps included. A pattern that begins with ``^`` or ends with ``$`` is a regular expression
    of which ``.``, ``x*``, ``.*`` and one group ``( | )`` are known, anything else a glob of which ``*`` is known and
    never looks back. Runtimes that it does not know are ``lxc``, and so is a name that no rule fits.
``standard`` (the default)
    A pattern that begins with ``^`` or ``.*`` or ends with ``$`` is a regular expression of Python that is searched for,
    anything else a glob of the whole name with ``*``, ``?`` and ``[...]``. A name that no rule fits goes to
    ``default_runtime`` where the file has one, else to the preferred backend.
"""

from __future__ import annotations

import re
import typing as t

from .errors import NexcageError

STANDARD = "standard"
NEXCAGE = "nexcage"
MODES = (STANDARD, NEXCAGE)
LONGEST = 512  # characters of a pattern

# runtime in the configuration -> backend of this collection
RUNTIMES = {"lxc": "proxmox-lxc", "proxmox": "proxmox-vm", "vm": "proxmox-vm", "qemu": "proxmox-vm"}
NEXCAGE_RUNTIMES = {"lxc": "proxmox-lxc", "crun": "crun", "runc": "runc", "proxmox": "proxmox-vm"}
SUFFIX = "-backend"
BROKEN = (re.error, OverflowError, RecursionError)  # what a text that is no regular expression may raise


class Rule(t.NamedTuple):
    """One rule.

    Args:
        pattern: As the file has it.
        runtime: As the file has it.
        key: Where it stands, such as ``container_config.routing[0]``.
    """

    pattern: str
    runtime: str
    key: str


class Routing(t.NamedTuple):
    """What a configuration says of routing.

    Args:
        rules: In the file's order.
        legacy: ``container_config.crun_name_patterns``: globs that lead to crun.
        default: ``container_config.default_runtime``, ``None`` where the file does not have it.
        mode: One of ``MODES``.
    """

    rules: tuple[Rule, ...]
    legacy: tuple[str, ...]
    default: str | None
    mode: str


class Answer(t.NamedTuple):
    """Where a name leads: a backend such as ``crun``, ``None`` for the preferred one; and the key that decided."""

    backend: str | None
    key: str


def parse(content: t.Mapping[str, t.Any]) -> Routing | None:
    """The routing of a configuration; ``None`` where it has neither rules nor a default.

    Raises:
        NexcageError: ``E_INVALID`` naming key, value and what is allowed.
    """
    mode = content.get("routing_compat", STANDARD)
    if mode not in MODES:
        raise _invalid("routing_compat", mode, f"is one of {', '.join(MODES)}")
    container = _section(content, "container_config")
    key = "container_config.routing" if "routing" in container else "runtime.routing"  # the first replaces the second
    rules = container["routing"] if "routing" in container else _section(content, "runtime").get("routing", [])
    legacy = container.get("crun_name_patterns", [])
    default = container.get("default_runtime")
    if not isinstance(rules, list):
        raise _invalid(key, rules, "is a list of rules, each with pattern and runtime")
    if not isinstance(legacy, list) or not all(isinstance(pattern, str) for pattern in legacy):
        raise _invalid("container_config.crun_name_patterns", legacy, "is a list of strings")
    if default is not None and (not isinstance(default, str) or not default):
        raise _invalid("container_config.default_runtime", default, "is the name of a runtime")
    if not rules and not legacy and default is None:
        return None
    return Routing(tuple(check_rule(f"{key}[{number}]", rule, mode) for number, rule in enumerate(rules)), tuple(legacy), default, mode)


def _section(content: t.Mapping[str, t.Any], name: str) -> t.Mapping[str, t.Any]:
    section = content.get(name, {})
    if not isinstance(section, dict):
        raise _invalid(name, section, "is a mapping")
    return section


def check_rule(key: str, rule: object, mode: str) -> Rule:
    """One rule of a file.

    Raises:
        NexcageError: ``E_INVALID`` naming key, value and what is allowed.
    """
    if not isinstance(rule, dict):
        raise _invalid(key, rule, "is a mapping with pattern and runtime")
    for name in ("pattern", "runtime"):
        if not isinstance(rule.get(name), str):
            raise _invalid(f"{key}.{name}", rule.get(name), "is a string")
    pattern = rule["pattern"]
    if len(pattern) > LONGEST:
        raise _invalid(f"{key}.pattern", pattern[:32] + "...", f"has at most {LONGEST} characters")
    if mode == STANDARD and is_expression(pattern):
        try:
            re.compile(pattern)
        except BROKEN as error:
            raise _invalid(f"{key}.pattern", pattern, f"is a regular expression: {error}") from error
    return Rule(pattern, rule["runtime"], key)


def _invalid(key: str, value: object, allowed: str) -> NexcageError:
    return NexcageError("E_INVALID", f"it {allowed}", option=key, value=value, remedy="correct the configuration; nexcage_config_info shows it")


def route(routing: Routing, name: str, mode: str | None = None) -> Answer:
    """The backend for a container of that name.

    Args:
        routing: Of :func:`parse`.
        name: The container's name.
        mode: One of ``MODES``; the configuration's own where not given.
    """
    mode = mode or routing.mode
    fits = fits_nexcage if mode == NEXCAGE else fits_standard
    for rule in routing.rules:
        if fits(rule.pattern, name):
            return Answer(backend_of(rule.runtime, mode), rule.key)
    for number, pattern in enumerate(routing.legacy):
        if _glob_nexcage(_encode(pattern), _encode(name)) if mode == NEXCAGE else _glob(pattern, name):
            return Answer("crun", f"container_config.crun_name_patterns[{number}]")
    if routing.default is None and mode == STANDARD:
        return Answer(None, "no rule")
    return Answer(backend_of(routing.default or "lxc", mode), "container_config.default_runtime")


def differs(routing: Routing, name: str) -> str | None:
    """Where NexCage and the standard way give another backend for a name: a sentence for a warning; ``None`` where not."""
    answers = {mode: route(routing, name, mode) for mode in MODES}
    ours, theirs = answers[routing.mode], answers[NEXCAGE if routing.mode == STANDARD else STANDARD]
    if ours.backend == theirs.backend:
        return None
    other = NEXCAGE if routing.mode == STANDARD else STANDARD
    return (
        f"routing: {name} goes to {_shown(ours)} with routing_compat: {routing.mode}, and would go to {_shown(theirs)} with {other};"
        " write the rules so that both agree, or set routing_compat"
    )


def _shown(answer: Answer) -> str:
    return f"{answer.backend or 'the preferred backend'} ({answer.key})"


def backend_of(runtime: str, mode: str) -> str:
    """The backend that a runtime's name in the configuration stands for; with ``nexcage`` a name it does not know is ``lxc``."""
    if mode == NEXCAGE:
        return NEXCAGE_RUNTIMES.get(runtime, NEXCAGE_RUNTIMES["lxc"])
    short = runtime[: -len(SUFFIX)] if runtime.endswith(SUFFIX) else runtime
    return RUNTIMES.get(short, short)


def is_expression(pattern: str) -> bool:
    """Whether the standard way reads a pattern as a regular expression; no name begins with a dot, so ``.*`` is no glob."""
    return pattern.startswith(("^", ".*")) or pattern.endswith("$")


def fits_standard(pattern: str, name: str) -> bool:
    """Whether a pattern fits a name, the standard way; what NexCage alone can read, fits none."""
    if is_expression(pattern):
        try:
            return re.search(pattern, name) is not None
        except BROKEN:
            return False
    return _glob(pattern, name)


def _glob(pattern: str, name: str) -> bool:
    import fnmatch

    return fnmatch.fnmatchcase(name, pattern)


def fits_nexcage(pattern: str, name: str) -> bool:
    """Whether a pattern fits a name, as NexCage 0.7.5 has it; it compares bytes."""
    text, word = _encode(pattern), _encode(name)
    if not (text.startswith(b"^") or text.endswith(b"$")):
        return _glob_nexcage(text, word)
    start = text.startswith(b"^")
    text = text[1:] if start else text
    end = text.endswith(b"$")
    text = text[:-1] if end else text
    alternatives = [text]
    if b"|" in text:
        opened, closed = text.find(b"("), text.rfind(b")")
        if opened < 0 or opened >= closed:
            return False
        alternatives = [text[:opened] + part + text[closed + 1 :] for part in text[opened + 1 : closed].split(b"|")]
    if start:  # ^web is ^web$ there
        return any(_sequence(part, word) for part in alternatives)
    # without ^ it looks at as many bytes as the pattern has, whatever they stand for
    return any(len(part) <= len(word) and _sequence(part, word[len(word) - len(part) :]) for part in alternatives)


def _sequence(pattern: bytes, name: bytes) -> bool:
    """Whether the pattern is all of the name. ``x*`` takes all it can and gives nothing back, ``.*`` tries every length.

    Keeps the set of places where the name may have been read to, so that no pattern takes long.
    """
    places = {0}
    at = 0
    while at < len(pattern) and places:
        letter = pattern[at : at + 1]
        if pattern[at + 1 : at + 2] == b"*":
            at += 2
            if letter != b".":
                places = {len(name) - len(name[place:].lstrip(letter)) for place in places}
            elif at >= len(pattern):
                return True
            else:
                places = set(range(min(places), len(name) + 1))
            continue
        places = {place + 1 for place in places if place < len(name) and letter in (b".", name[place : place + 1])}
        at += 1
    return len(name) in places


def _glob_nexcage(pattern: bytes, name: bytes) -> bool:
    """``*`` reads up to the first byte that is the pattern's next one, or to the end, and never further."""
    place = 0
    for at, letter in enumerate(pattern):
        if letter == ord("*"):
            following = pattern[at + 1 : at + 2]
            found = name.find(following, place) if following else -1
            place = len(name) if found < 0 else found
        elif place < len(name) and name[place] == letter:
            place += 1
        else:
            return False
    return place == len(name)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
