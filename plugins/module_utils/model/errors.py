# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The one error type of the collection: what is wrong, where, and what to do."""

from __future__ import annotations

import typing as t

# code -> what the operator does about it when the place that raised it knows nothing better
REMEDIES: dict[str, str] = {
    "E_INVALID": "correct the value",
    "E_NOT_FOUND": "check the name, or create it first",
    "E_EXISTS": "choose another name, or remove the existing one first",
    "E_OWNER": "choose another name; this one belongs to somebody else",
    "E_MANIFEST": "correct the plugin's manifest",
    "E_VERSION": "install a version in the range that is named",
    "E_DEPENDENCY": "install or enable the plugin that is named",
    "E_BINARY": "install the program; the role nexcage.backends.runtime does it",
    "E_SYSTEM": "run on a host that meets the requirement",
    "E_PRIVILEGE": "run the task with 'become: true'",
    "E_SIGNATURE": "ask the publisher for a package that is signed, or pin its digest",
    "E_INTEGRITY": "fetch the package again; if it stays so, tell its publisher",
    "E_TRUST": "see who may sign what in /etc/nexcage/trust",
    "E_HTTP": "check the address and that its server is up",
    "E_CAPABILITY": "report it to the plugin's author: it asks for what neither its manifest nor the task names",
    "E_GRANT": "grant the capability to the plugin",
    "E_POLICY": "ask whoever wrote the policy",
    "E_VETO": "do what the plugin that is named says, or take the right to refuse from its hook",
    "E_READ_ONLY": "report it to the plugin's author: an operation that only reads asks for a change",
    "E_UNSUPPORTED": "choose a backend that supports it",
    "E_SANDBOX": "run on a host that offers the required sandbox tier",
    "E_LIMIT": "raise the limit in the plugin's resource requirements",
    "E_TIMEOUT": "raise the timeout, or find out why it takes so long",
    "E_CRASH": "report it to the plugin's author",
    "E_PROTOCOL": "report it to the plugin's author",
    "E_QUARANTINED": "look at what the plugin does, then enable it with nexcage_plugin",
    "E_DISABLED": "enable the plugin with nexcage_plugin",
    "E_RUNTIME": "read the runtime's own message",
    "E_IMAGE": "check the image reference",
    "E_REGISTRY": "check that the registry is up and that the reference and the credentials are right",
    "E_FS": "see the message; look at the folder that the root stands for",
    "E_SPACE": "free some space",
    "E_AUDIT": "make the audit log writable",
    "E_STATE": "see the message; the file was left as it is",
    "E_LOCKED": "wait for the other run, or raise the timeout",
    "E_PLUGIN": "report it to the plugin's author",
    "E_INTERNAL": "report it to the collection's authors",
}


class NexcageError(Exception):
    """A refusal or failure that names the option, the value and the remedy.

    Args:
        code: One of the keys of ``REMEDIES``.
        message: One sentence that says what is wrong.
        option: Name of the task's option at fault, as the user typed it.
        value: The offending value; never a secret.
        remedy: What to do; the code's general remedy where not given.
        details: More facts for the result, JSON-able.
    """

    def __init__(
        self,
        code: str,
        message: str,
        option: str | None = None,
        value: object = None,
        remedy: str | None = None,
        details: dict[str, t.Any] | None = None,
    ) -> None:
        super().__init__(message)
        if code not in REMEDIES:
            code, message = "E_INTERNAL", f"{message} (unknown error code {code})"
        self.code = code
        self.message = message
        self.option = option
        self.value = value
        self.remedy = remedy or REMEDIES[code]
        self.details = details or {}
        self.about(None, self.details.get("file"))

    def about(self, option: str | None, value: object) -> NexcageError:
        """Say what it is about, where whoever raised it did not; the same error."""
        if self.option is None and self.value is None:
            self.option, self.value = option, value
        return self

    def __str__(self) -> str:
        """One line for the result's ``msg``: option and value, what is wrong, what to do."""
        where = ""
        if self.option is not None:
            where = f"{self.option}: " if self.value is None else f"{self.option}={self.value!r}: "
        elif self.value is not None:
            shown = self.value if isinstance(self.value, str) and self.value.isprintable() else repr(self.value)
            where = "" if shown in self.message else f"{shown}: "
        return f"{where}{self.message}. Remedy: {self.remedy}."

    def as_dict(self) -> dict[str, t.Any]:
        """The error as it stands in a result and crosses the worker's pipe."""
        value = self.value if isinstance(self.value, (str, int, float, bool, type(None))) else repr(self.value)
        return {
            "code": self.code,
            "message": self.message,
            "option": self.option,
            "value": value,
            "remedy": self.remedy,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, data: t.Mapping[str, t.Any]) -> NexcageError:
        """The inverse of :meth:`as_dict`; missing keys become ``None``."""
        return cls(
            str(data.get("code", "E_INTERNAL")),
            str(data.get("message", "")),
            option=data.get("option"),
            value=data.get("value"),
            remedy=data.get("remedy"),
            details=dict(data.get("details") or {}),
        )
