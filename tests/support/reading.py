# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A package, read as whoever sent it hopes, with a bound on what that may cost."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, package
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

NAME = "sample-backend-1.0.0.nexcage-plugin"
MIB = 1 << 20
# Bytes that reading may need beside the package itself: the tar, copies of its parts, and room to grow for zlib.
MEMORY = 4 * archive.UNPACKED_LIMIT


@contextlib.contextmanager
def bounded() -> t.Iterator[None]:
    """What is done in here allocates no more than reading any package may."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= MEMORY
    finally:
        tracemalloc.stop()


def refused(data: bytes, code: str = "E_INTEGRITY") -> NexcageError:
    with bounded(), pytest.raises(NexcageError) as caught:
        package.from_bytes(data, NAME)
    assert caught.value.code == code, caught.value
    assert NAME in str(caught.value) and caught.value.details["file"] == NAME
    json.dumps(caught.value.as_dict())
    return caught.value


def taken(data: bytes) -> package.Package:
    with bounded():
        return package.from_bytes(data, NAME)
