# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides by an endpoint's rule who may call it: ``/vms/{vmid}:VM.Audit``, ``(A and (B or C))``."""

from __future__ import annotations

import re
import typing as t

from .access import Access, Who
from .errors import ApiError, refused
from .facts import Endpoint

_TOKENS = re.compile(r"[()]|[^\s()]+")


class Decision:
    """One reading of a rule, for one request."""

    def __init__(self, access: Access, who: Who, params: dict[str, t.Any], endpoint: Endpoint) -> None:
        self.access, self.who, self.params, self.endpoint = access, who, params, endpoint
        rule = endpoint.may
        self.words = _TOKENS.findall(rule)

    def hold(self) -> None:
        """Raises ApiError 403 where the rule does not hold."""
        if self.who.is_root or self.words[0] in ("all", "world"):
            return
        if self.words[0] == "root":
            raise refused("user != root@pam")
        self._expression()()

    def _expression(self) -> t.Callable[[], None]:
        word = self.words.pop(0)
        if word != "(":
            return lambda: self._simple(word)
        parts = [self._expression()]
        kind = "and"
        while self.words and self.words[0] != ")":
            kind = self.words.pop(0)
            parts.append(self._expression())
        self.words.pop(0)
        return (lambda: self._any(parts)) if kind == "or" else (lambda: self._all(parts))

    def _all(self, parts: list[t.Callable[[], None]]) -> None:
        for part in parts:
            part()

    def _any(self, parts: list[t.Callable[[], None]]) -> None:
        for part in parts:
            try:
                part()
            except ApiError:
                continue
            return
        raise refused()

    def _simple(self, word: str) -> None:
        if word.startswith("?"):
            self._special(word[1:])
            return
        path, _colon, wanted = word.partition(":")
        names = re.findall(r"\{(\w+)\}", path)
        missing = [name for name in names if name not in self.params]
        if any(getattr(self.endpoint.rule(name), "required", False) for name in missing):
            return  # what is missing is told next
        if missing:
            raise refused()
        for name in names:
            path = path.replace("{" + name + "}", str(self.params[name]))
        if not re.fullmatch(r"/[\w./\-]*", path):
            path = ""  # no path of the kind that privileges are given on
        if path:
            self.access.check(self.who, path, *re.split(r"[|&]", wanted), any_of="|" in wanted)
        else:
            raise refused(f", {wanted}")

    def _special(self, name: str) -> None:
        """``userid-param`` and ``userid-group``: oneself, or who may change users. ``perm-modify``: who may give rights."""
        if name == "userid-param" and self.params.get("userid") == self.who.user:
            return
        wanted = "Permissions.Modify" if name == "perm-modify" else "User.Modify"
        if not self.access.may(self.who, "/access/groups", wanted):
            raise refused()
