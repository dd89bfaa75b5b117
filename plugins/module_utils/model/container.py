# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The engine-neutral description of one container."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import typing as t

from .errors import NexcageError

SCHEMA_VERSION = 1
SECRET_PREFIX = "hmac-sha256:"
MASKED_PATTERN = re.compile(SECRET_PREFIX + "[0-9a-f]{64}")
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check_name(name: str, option: str = "name") -> str:
    """Return ``name`` if it is a valid container name.

    Raises:
        NexcageError: ``E_INVALID`` with the rule as remedy.
    """
    if not NAME_PATTERN.fullmatch(name):
        raise NexcageError(
            "E_INVALID",
            "not a container name",
            option=option,
            value=name,
            remedy="use 1 to 128 letters, digits, '_', '.', '-', the first one a letter or digit",
        )
    return name


class ContainerSpec:
    """Canonical values by option name; an option that is not there is unmanaged.

    The values are JSON-able and canonical: two specs describe the same container exactly when
    they are equal.
    """

    __slots__ = ("values",)

    def __init__(self, values: t.Mapping[str, t.Any]) -> None:
        self.values: dict[str, t.Any] = {key: values[key] for key in sorted(values) if values[key] is not None}

    def get(self, name: str) -> t.Any:
        """The canonical value of an option, ``None`` where it is unmanaged."""
        return self.values.get(name)

    def over(self, recorded: ContainerSpec) -> ContainerSpec:
        """This spec, completed by what ``recorded`` says of the options that are unmanaged here."""
        return ContainerSpec({**recorded.values, **self.values})

    def masked(self, key: bytes) -> ContainerSpec:
        """The same spec with every secret replaced by its HMAC-SHA256 under ``key``."""
        secrets = self.values.get("secret_env")
        if not secrets:
            return self
        return ContainerSpec({**self.values, "secret_env": {name: mask(value, key) for name, value in secrets.items()}})

    def seal(self, key: bytes) -> str:
        """HMAC-SHA256 (hexadecimal) over the canonical JSON of the masked spec."""
        return hmac.new(key, canonical_json(self.masked(key).values), hashlib.sha256).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainerSpec) and self.values == other.values

    def __hash__(self) -> int:
        return hash(canonical_json(self.values))

    def __repr__(self) -> str:
        """Names only: a value may be a secret."""
        return f"ContainerSpec({', '.join(self.values)})"


def key_id(key: bytes) -> str:
    """What tells one host key from another and nothing else of it (16 hexadecimal digits)."""
    return hmac.new(key, b"nexcage host key", hashlib.sha256).hexdigest()[:16]


def canonical_json(value: t.Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def mask(value: str, key: bytes) -> str:
    """What stands for a secret on disk; a value that is masked already stays as it is."""
    if MASKED_PATTERN.fullmatch(value):
        return value
    return SECRET_PREFIX + hmac.new(key, value.encode("utf-8"), hashlib.sha256).hexdigest()
