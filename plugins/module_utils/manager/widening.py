# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plugin shall have after a task, and what is new in it where the same names stand for more than before."""

from __future__ import annotations

import typing as t

from ..model import scope
from ..model.capability import ROOT_EQUIVALENT
from . import grants
from .grants import Grant


def grant(old: Grant | None, manifest: t.Mapping[str, t.Any], parameters: t.Mapping[str, t.Any]) -> Grant | None:
    """What the plugin shall have: what the task grants, else what it has already, if that still covers what it asks for.

    Args:
        old: What counts now.
        manifest: Of the package that shall be active.
        parameters: The task's ``grant``, ``accept_root_equivalent`` and ``scope_digest``.

    Raises:
        NexcageError: ``E_GRANT`` as the parts of ``grants``; where the scope is not the one of ``scope_digest``; and
            without that, where a name that was granted before opens something new that is as good as root.
    """
    names, pinned = parameters.get("grant"), parameters.get("scope_digest")
    if pinned is not None and pinned != scope.digest(manifest):
        lines = scope.difference(old.scope, manifest) if old else []
        shown = "".join(f"\n{line}" for line in lines)
        problem = f"its scope is not the one that the task names{', and differs from the one granted here' if lines else ''}{shown}"
        raise grants.refusal(manifest, problem, pinned, "scope_digest", lines, confirm=True)
    if names is None:
        grants.check(manifest, old)
        return old
    made = grants.wanted(manifest, names, bool(parameters.get("accept_root_equivalent")), "nexcage_plugin")
    if old is None:
        return made
    if pinned is None:
        _refuse_risky(old, made, manifest)
    return old if made._replace(granted_at=old.granted_at, granted_by=old.granted_by) == old else made


def _refuse_risky(old: Grant, made: Grant, manifest: t.Mapping[str, t.Any]) -> None:
    """A name that the task adds is the task saying so; one that it has always had says nothing of what is new behind it."""
    same = set(old.capabilities) & set(made.capabilities)
    risky = [entry for entry in scope.widened(old.scope, manifest) if entry.level == ROOT_EQUIVALENT and entry.capability in same]
    if risky:
        problem = "what was granted opens more now that is as good as root, and stops until the task names that scope:\n"
        raise grants.refusal(manifest, problem + "\n".join(f"+ {entry}" for entry in risky), None, "scope_digest", scope.difference(old.scope, manifest), True)


def entries(old: Grant | None, new: Grant | None) -> tuple[list[str], list[str]]:
    """What is gone from the granted scope, and what is new in it, each entry with its class; nothing where one is no grant."""
    if old is None or new is None:
        return [], []
    return [str(entry) for entry in scope.widened(new.scope, old.scope)], [str(entry) for entry in scope.widened(old.scope, new.scope)]


def words(grant: Grant | None) -> str:
    """A grant in words; one of no capability is not none."""
    if grant is None:
        return "not granted"
    accepted = " (root-equivalent accepted)" if grant.root_equivalent_accepted else ""
    return (", ".join(grant.capabilities) or "no capability") + accepted


def steps(old: Grant | None, new: Grant | None) -> list[dict[str, t.Any]]:
    """The step of a plan in which the grant changes, or what it stands for; none where neither does."""
    gone, more = entries(old, new)
    lines = [*(f"+ {line}" for line in more), *(f"- {line}" for line in gone)]
    before, after = (one and (one.capabilities, one.root_equivalent_accepted) for one in (old, new))
    if before == after and not lines:
        return []
    reason = f"{words(old)} -> {words(new)}" if before != after else f"{words(new)}, for another scope"
    return [{"action": "grant", "reason": "; ".join([reason, *lines]), "changes": lines}]


def warnings(name: str, old: Grant | None, new: Grant | None) -> list[str]:
    """One where the plugin asks for more than what was granted before."""
    more = entries(old, new)[1]
    return [f"{name} asks for more than before, and the grant covers it as far as it names the capability: {'; '.join(more)}"] if more else []
