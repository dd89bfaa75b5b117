# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's own key: it stands behind the seal of a record and behind what replaces a secret on disk."""

from __future__ import annotations

import os

from ..model.config import Layout
from ..model.errors import NexcageError
from . import store

LENGTH = 32  # bytes, as many as SHA-256 gives


def path(layout: Layout) -> str:
    """The file."""
    return layout.state + "/host.key"


def there(layout: Layout) -> bool:
    """Whether the host has one."""
    return os.path.lexists(path(layout))


def host_key(layout: Layout, make: bool) -> bytes:
    """The host's key.

    Args:
        layout: The folders; the key lies in the state folder, for its owner alone (0600).
        make: Whether to make a missing one. Without it a passing one is returned: no record
            exists then that it could be compared with.

    Raises:
        NexcageError: ``E_STATE`` for a damaged key, ``E_SPACE`` where none can be written.
    """
    file = path(layout)
    key = store.read_bytes(file)
    if key is None and not make:
        return os.urandom(LENGTH)
    if key is None:
        store.ensure_folder(layout.state)
        temporary = f"{file}.{os.getpid()}{store.TEMPORARY_SUFFIX}"
        store.atomic_write(temporary, os.urandom(LENGTH))
        try:
            os.link(temporary, file)  # unlike a rename it never takes the place of another run's key
        except FileExistsError:
            pass
        finally:
            store.remove(temporary)
        key = store.read_bytes(file)
    if key is None or len(key) != LENGTH:
        raise NexcageError(
            "E_STATE",
            f"{file} is not a key of {LENGTH} bytes",
            value=file,
            remedy="bring it back from a backup; or remove it, and make each container again once with recreate: true",
        )
    return key
