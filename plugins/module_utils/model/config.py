# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where nexcage's own folders lie on a host."""

from __future__ import annotations

import typing as t

from .errors import NexcageError

PREFIX_VARIABLE = "NEXCAGE_ROOT"


class Layout(t.NamedTuple):
    """The folders of one user on one host; absolute paths without a trailing slash."""

    configuration: str
    state: str
    runtime: str
    cache: str
    audit: str

    @classmethod
    def for_user(cls, uid: int, environment: t.Mapping[str, str]) -> Layout:
        """The folders of ``uid``: system folders for root, XDG folders for everybody else.

        ``NEXCAGE_ROOT`` in the environment puts all of root's folders below another root, as for a
        test or an image that is being built. Without the XDG variables their defaults hold (XDG
        Base Directory Specification); the runtime folder then is ``/run/user/<uid>``.

        Raises:
            NexcageError: ``E_INVALID`` for a prefix that is no absolute path.
        """
        if uid == 0 or environment.get(PREFIX_VARIABLE):
            prefix = environment.get(PREFIX_VARIABLE, "").rstrip("/")
            if prefix and not prefix.startswith("/"):  # conmon and the runtimes run in other folders than we do
                raise NexcageError(
                    "E_INVALID", "not an absolute path", option=PREFIX_VARIABLE, value=prefix, remedy="set it to an absolute path, or not at all"
                )
            return cls(
                prefix + "/etc/nexcage",
                prefix + "/var/lib/nexcage",
                prefix + "/run/nexcage",
                prefix + "/var/cache/nexcage",
                prefix + "/var/log/nexcage/audit.jsonl",
            )
        home = environment.get("HOME", "/").rstrip("/")

        def folder(variable: str, default: str) -> str:
            return (environment.get(variable) or default).rstrip("/") + "/nexcage"

        state = folder("XDG_STATE_HOME", home + "/.local/state")
        return cls(
            folder("XDG_CONFIG_HOME", home + "/.config"),
            state,
            folder("XDG_RUNTIME_DIR", f"/run/user/{uid}"),
            folder("XDG_CACHE_HOME", home + "/.cache"),
            state + "/audit.jsonl",
        )
