# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration for a result, without the secrets that only the manifests of plugins know of."""

from __future__ import annotations

import re
import typing as t

from . import configuration, registry, settings

if t.TYPE_CHECKING:
    from ..model.config import Layout
    from .dispatch import Session

_PLUGINS_OWN = re.compile(r"plugins\.(.+)\.config\.([^.]+)")


def information(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """As :func:`configuration.information`; of a plugin's settings its manifest says which are secret, whatever they are called."""
    result = configuration.information(session, parameters)
    for entry in result["settings"]:
        found = _PLUGINS_OWN.fullmatch(entry["key"])
        if found and entry["value"] is not None and _is_secret(session.layout, *found.groups()):
            entry["value"] = settings.MASK
    return result


def _is_secret(layout: Layout, plugin: str, name: str) -> bool:
    """Of a plugin that cannot be read every setting may be one; of one that is not installed its name has to do."""
    if plugin in registry.BUILT_IN or not registry.exists(plugin, layout):
        return False
    known = registry.named(plugin, layout)
    return known.problem is not None or name in settings.hidden(known.manifest, (name,))
