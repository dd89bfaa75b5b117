# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a call can answer when it does not succeed."""

from __future__ import annotations

VERIFICATION = "Parameter verification failed."
UNDEFINED = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"


class ApiError(Exception):
    """An answer that is no success.

    Args:
        status: HTTP status.
        message: Its first line becomes the reason phrase.
        errors: What is wrong with which parameter.
        plain: The body is the message alone and no JSON; None sends no body at all.
        bare: The message in the body has no end of line.
    """

    def __init__(self, status: int, message: str, errors: dict[str, str] | None = None, plain: bool | None = False, bare: bool = False) -> None:
        super().__init__(message)
        self.status, self.message, self.errors, self.plain, self.bare = status, message, errors, plain, bare

    @property
    def reason(self) -> str:
        return self.message.split("\n", 1)[0]


class TaskError(Exception):
    """A task ends with this text as its exit status."""


class Dropped(Exception):
    """The connection is cut instead of an answer."""


def bad(**errors: str) -> ApiError:
    """400: parameters are not as they must be; ``_`` in a name stands for ``-``."""
    return ApiError(400, VERIFICATION, {name.replace("_", "-"): text for name, text in errors.items()})


def wrong(errors: dict[str, str]) -> ApiError:
    """400: parameters are not as they must be."""
    return ApiError(400, VERIFICATION, errors)


def refused(detail: str = "") -> ApiError:
    """403 with the text that Proxmox VE gives."""
    return ApiError(403, f"Permission check failed ({detail})" if detail else "Permission check failed")


def failed(message: str, errors: dict[str, str] | None = None) -> ApiError:
    """500, which is nearly everything else."""
    return ApiError(500, message, errors)
