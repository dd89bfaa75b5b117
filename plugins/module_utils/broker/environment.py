# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of environment variables that the operator names."""

from __future__ import annotations

import typing as t

from ..model import values
from ..model.errors import NexcageError
from . import store


def read_files(paths: t.Sequence[str]) -> dict[str, str]:
    """What the files say together; a later one wins.

    One ``NAME=value`` a line; blank lines and lines that begin with ``#`` are passed over. The value
    is everything after the first ``=``, as it stands: nothing is unquoted, as with podman and docker. Lines
    end with LF or CR LF; whatever else Unicode takes for the end of a line belongs to the value.

    Raises:
        NexcageError: ``E_INVALID`` naming the file, and the line that is not of that form.
    """
    merged: dict[str, str] = {}
    for path in paths:
        try:
            data = store.read_bytes(path)
        except OSError as error:
            raise NexcageError("E_INVALID", f"cannot be read: {error.strerror}", option="env_file", value=path) from None
        if data is None:
            raise NexcageError(
                "E_INVALID", "there is no such file on the managed host", option="env_file", value=path, remedy="copy it there first, or correct the path"
            )
        merged.update(_parse(path, data))
    return merged


def _parse(path: str, data: bytes) -> dict[str, str]:
    result = {}
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise NexcageError("E_INVALID", "is not UTF-8 text", option="env_file", value=path) from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line[:-1].partition("=") if line.endswith("\r") else line.partition("=")
        name = name.strip()
        if not equals or not name or "\0" in line:
            # the line itself may hold a secret
            raise NexcageError(
                "E_INVALID", f"line {number} is not NAME=value", option="env_file", value=path, remedy="correct the line; a variable needs a value here"
            )
        if name.split() != [name]:
            message, remedy = values.variable_fault(name)
            raise NexcageError("E_INVALID", f"line {number}: {message}", option="env_file", value=path, remedy=remedy)
        result[name] = value
    return result
