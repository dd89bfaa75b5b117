# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin API 2 that exists in tests only: the listing has another name and shape, and an exec another parameter and answer."""

from __future__ import annotations

import contextlib
import typing as t
from unittest import mock

from ansible_collections.nexcage.backends.plugins.module_utils.model import version
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import versions
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle

OLD = '''    def list(self, names: Names | None = None) -> Records:
        """Records of the named containers that exist, or of all."""
        return self._call("oci.list", {"names": names})
'''
NEW = '''    def containers(self, only: Names) -> dict[str, Any]:
        """The named containers that exist, by name; [] for all."""
        return self._call("oci.containers", {"only": only})
'''


def host_module() -> str:
    """The SDK's host as version 2 has it."""
    source = bundle.source("sdk.host")
    assert source.count(OLD) == 1
    return source.replace(OLD, NEW)


def api() -> versions.Api:
    """Version 2."""
    listing = versions.Translated(
        "oci.list",
        lambda params: {"names": params["only"] or None},
        lambda records: {record["name"]: record for record in records},
    )
    execution = versions.Translated(
        "exec",
        lambda params: {**{key: value for key, value in params.items() if key != "name"}, "container": params["name"]},
        lambda answer: answer["ended"],
    )
    return versions.Api(2, {"oci.containers": listing}, {"exec": execution}, {"sdk.host": host_module()})


@contextlib.contextmanager
def served() -> t.Iterator[None]:
    """Let this process serve version 2 beside 1."""
    with mock.patch.dict(versions.SERVED, {2: api()}), mock.patch.object(version, "API_VERSIONS", (1, 2)):
        yield
