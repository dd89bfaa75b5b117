# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/adversarial.md, from docs/data/cases.yml and the tests that there are."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from ansible_collections.nexcage.backends.tests.support.cases import Found

HEAD = """
# Adversaries

What a hostile plugin, package, index or caller tries, by number, and the tests that try it. `make adversarial` runs them, and
so does `make test`. Each is tried at both tiers of the sandbox: `strong`, in namespaces of bubblewrap, and `standard`, on a
host without bubblewrap; the probes 1 to 52 also as the root of an unprivileged container. [Security](security.md) says what
the tiers are.

A test that cannot fail proves nothing, so each has a counterpart. The last column says which:

| otherwise | means |
|---|---|
| gets through | with the lock-down off, the same probe succeeds |
| ends the same | with the lock-down off it is stopped as well, for it is the module that stops it |
| passes without the flaw | the same thing without what makes it an attack passes, in the same test |
"""
CONTROLS = {"succeeds": "gets through", "same": "ends the same", "counterpart": "passes without the flaw"}


def page(cases: t.Mapping[int, t.Sequence[str]], found: t.Sequence[Found], table: t.Callable[..., str]) -> str:
    """The page.

    Args:
        cases: By number: what is tried, what stops it, and a key of ``CONTROLS``.
        found: The tests.
        table: Makes a Markdown table of head and rows.
    """
    rows = []
    for number, (attack, by, control) in cases.items():
        of = [one for one in found if number in one.numbers]
        tiers = ["yes" if any(one.tier == tier for one in of) else "no" for tier in ("strong", "standard")]
        rows.append((number, attack, by, *tiers, CONTROLS[control]))
    names = "".join(f"{number}\n" + "".join(f"    {name}\n" for name in names_of(number, found)) for number in cases)
    head = ["", "what is tried", "what stops it", "`strong`", "`standard`", "otherwise"]
    return (
        HEAD
        + "\n"
        + table(head, rows)
        + "\n## The tests of each\n\nFiles are below `tests/`. Unit tests look at single parts of what stops it, and are not listed.\n\n```text\n"
        + names
        + "```\n"
    )


def names_of(number: int, found: t.Iterable[Found]) -> list[str]:
    """File and function of every test of an adversary, once."""
    return list(dict.fromkeys(f"{one.file} {one.test}" for one in found if number in one.numbers))
