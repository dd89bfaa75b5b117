# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/host-calls.md: what a plugin's ``host`` has, from the SDK's types and docstrings and the table of broker calls."""

from __future__ import annotations

import inspect
import re
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import EFFECTS, READ
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import errors, host, host_extra

HEAD = """
# What `host` has

Each operation and each hook of a plugin is given `host`. Every method is one call to the broker, which decides and does it. Values are
what JSON knows. Types and texts are those of [`sdk/host.py`](../plugins/module_utils/sdk/host.py) and
[`sdk/host_extra.py`](../plugins/module_utils/sdk/host_extra.py); what the calls are bound to: [capabilities](capabilities.md), and
[files, commands and requests](plugin-calls.md).

## Errors

A call that is refused, or fails, raises `HostError` of `..sdk.errors`, with `code`, `message` and `remedy`. Let it pass, and the operator
sees the host's own error. Each call can end with these, beside those that are listed with it:

"""
COMMON = (
    ("E_CAPABILITY", "the manifest does not declare what the call needs, or the call is about a container that the task is not about"),
    ("E_GRANT", "the operator has not granted it"),
    ("E_POLICY", "a rule of the host denies it"),
    ("E_READ_ONLY", "it changes something: in check mode, and in operations and events that only read"),
    ("E_INVALID", "an argument is of another type, or not allowed"),
    ("E_LIMIT", "an argument is too long"),
    ("E_AUDIT", "it changes something, and the audit log cannot be written"),
    ("E_UNSUPPORTED", "not offered here, such as changing containers in a hook"),
    ("E_INTERNAL", "a defect of the collection"),
)
PARTS: tuple[tuple[str, type], ...] = (
    ("oci", host.Oci),
    ("image", host.Image),
    ("state", host.State),
    ("fs", host_extra.Files),
    ("command", host_extra.Command),
    ("http", host_extra.Http),
)
WRITTEN_OUT = {"Records": "list[dict[str, Any]]", "Names": "list[str]"}
_ERRORS = re.compile(r"\s*Errors: (.*)\Z", re.DOTALL)

Table = t.Callable[[t.Sequence[str], t.Iterable[t.Sequence[object]]], str]


class Text(t.NamedTuple):
    """A docstring, and what it says of errors."""

    says: str
    errors: str


def text(of: object) -> Text:
    """The docstring of a class or method in one paragraph each, in Markdown."""
    said = (inspect.getdoc(of) or "").replace("``", "`")
    found = _ERRORS.search(said)
    plain = re.sub(r":class:`[~.]*([^`]+)`", r"`\1`", said[: found.start()] if found else said)
    return Text("\n\n".join(" ".join(part.split()) for part in plain.split("\n\n")), " ".join(found.group(1).split()) if found else "")


def methods(part: type) -> dict[str, t.Callable[..., t.Any]]:
    """What a part has, by name, in the order of the source."""
    return {name: method for name, method in vars(part).items() if not name.startswith("_") and inspect.isfunction(method)}


def annotated(annotation: object) -> str:
    """A type as it is written, aliases written out."""
    return re.sub(r"\w+", lambda word: WRITTEN_OUT.get(word.group(), word.group()), str(annotation))


def signature(name: str, method: t.Callable[..., t.Any]) -> str:
    """A call as an author writes it."""
    shown = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        shown.append(f"{parameter.name}: {annotated(parameter.annotation)}{default}")
    return f"{name}({', '.join(shown)})"


def needs(call: str) -> str:
    """Whether a broker call reads or writes, and the capabilities that it needs."""
    effect = EFFECTS.get(call) or EXTRA[call]
    kind = "read" if effect.kind == READ else "by the template" if call in ("command.run", "http.request") else "write"
    wanted = " or ".join(" and ".join(f"`{name}`" for name in names) for names in effect.needs if names)
    return f"{kind}; {wanted}" if wanted else kind


def row(name: str, call: str, method: t.Callable[..., t.Any]) -> tuple[str, str, str, str]:
    """One line of a part's table."""
    said = text(method)
    what = said.says.replace("\n\n", " ") + (f" Errors: {said.errors}" if said.errors else "")
    return f"`{signature(name, method)}`", f"`{annotated(inspect.signature(method).return_annotation)}`", what, needs(call)


def page(table: Table) -> str:
    """The page's Markdown."""
    classes = errors._CLASSES
    rows = [(f"`{code}`", f"`{classes.get(code, errors.HostError).__name__}`", meaning) for code, meaning in COMMON]
    written = HEAD + table(("code", "class", "when"), rows)
    rest = [f"`{code}` a `{kind.__name__}`" for code, kind in classes.items() if code not in dict(COMMON)]
    written += f"\nOf the others {' and '.join(rest)}, the rest plain ones. More than 1000 calls in one operation end the worker.\n"
    head = ("call", "returns", "what it does", "kind and capability")
    for name, part in PARTS:
        said = text(part)
        written += f"\n## `host.{name}`\n\n{said.says}\n\n"
        written += table(head, [row(f"host.{name}.{method}", f"{name}.{method}", function) for method, function in methods(part).items()])
        written += f"\nErrors of all of them: {said.errors}\n"
    return written + "\n## `host.log`\n\n" + table(head, [row("host.log", "log", host.Host.log)])
