# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets of a plugin that the plugin never sees: the operator's values of its ``sensitive`` settings.

The broker puts them into the headers that the manifest names, and takes them out of all that goes anywhere else: by
structure first, as settings and headers are not passed on at all, and by their text where it is long enough.
"""

from __future__ import annotations

import base64
import json
import re
import typing as t
import urllib.parse

from ..model.errors import NexcageError

if t.TYPE_CHECKING:
    Call = t.Callable[[str, t.Mapping[str, t.Any]], t.Any]

MASK = "********"
SHORTEST = 8  # characters; a shorter one is part of innocent words, and masked only where it stands alone
_LAST_PART = re.compile(r"[^\s=:]*\Z")  # the token of "Bearer token", "PVEAPIToken=id=token", "user:password"


def set_it(setting: str) -> str:
    """What to do about a setting of a plugin that is not set."""
    return f"give it to the plugin by the module nexcage_plugin, under config, as in config: {{{setting}: VALUE}}"


class Secrets:
    """The secrets of one plugin.

    Args:
        manifest: The plugin's; ``configuration`` and ``secrets`` are read.
        config: The operator's settings for it.
    """

    def __init__(self, manifest: t.Mapping[str, t.Any], config: t.Mapping[str, t.Any]) -> None:
        declared = manifest.get("configuration") or {}
        names = [name for name, setting in declared.items() if setting.get("sensitive")]
        self._values = {name: str(config[name]) for name in names if config.get(name) not in (None, "")}
        self._rules = tuple(manifest.get("secrets") or ())
        self._sensitive = frozenset(names)
        forms = {form for value in self._values.values() for form in _forms(value)}
        long = sorted((form for form in forms if len(form) >= SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(re.escape(form) for form in long)) if long else None
        self._short = frozenset(value for value in self._values.values() if len(value) < SHORTEST)

    def visible(self, config: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The settings that a worker may see."""
        return {name: value for name, value in config.items() if name not in self._sensitive}

    def headers(self, network: str) -> dict[str, str]:
        """The headers that carry secrets in every request to one of the manifest's networks.

        Raises:
            NexcageError: ``E_INVALID`` where the operator has set none, or one that is no header; never with its value.
        """
        found = {}
        for rule in self._rules:
            if rule["network"] != network:
                continue
            value = self._values.get(rule["configuration"])
            option = f"config.{rule['configuration']}"
            if value is None:
                message = f"requests to {network} need this secret, and it is not set"
                raise NexcageError("E_INVALID", message, option=option, remedy=set_it(rule["configuration"]))
            if not value.isascii() or not value.isprintable():
                raise NexcageError("E_INVALID", "not a value that a header can carry: ASCII without control characters is needed", option=option)
            found[rule["header"]] = rule.get("prefix", "") + value
        return found

    def scrub(self, value: t.Any) -> t.Any:
        """A JSON value without the secrets, in names and values alike."""
        if not self._values:
            return value
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, t.Mapping):
            return {self.scrub(key): self.scrub(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.scrub(entry) for entry in value]
        return value

    def _clean(self, text: str) -> str:
        if text in self._short:
            return MASK
        return self._pattern.sub(MASK, text) if self._pattern else text

    def scrub_error(self, error: NexcageError) -> NexcageError:
        """The same error, without the secrets."""
        error.message, error.remedy = self._clean(error.message), self._clean(error.remedy)
        error.value, error.details = self.scrub(error.value), self.scrub(error.details)
        error.args = (error.message,)
        return error

    def around(self, call: Call) -> Call:
        """The same broker calls: nothing that they answer, refuse or log holds a secret."""

        def clean(name: str, params: t.Mapping[str, t.Any]) -> t.Any:
            try:
                return self.scrub(call(name, self.scrub(params) if name == "log" else params))
            except NexcageError as error:
                self.scrub_error(error)
                raise

        return clean


def _forms(value: str) -> set[str]:
    """How a secret may come back: as it is, its last part alone, and as others write it."""
    last = _LAST_PART.search(value)
    forms = {value, last.group() if last else value}
    for plain in tuple(forms):
        forms |= {urllib.parse.quote(plain, safe=""), urllib.parse.quote(plain), urllib.parse.quote_plus(plain)}
        forms |= {json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]}
        forms.add(base64.b64encode(plain.encode("utf-8", "replace")).decode("ascii").rstrip("="))
    return forms
