# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of a host: what counts, where it comes from, what does nothing, and where names are routed.

NexCage looks for ``./config.json``, ``/etc/nexcage/config.json`` and ``/etc/nexcage/nexcage.json``; the first one that
is there counts, alone. The last two are read here too, in this order. A file in the folder where a task happens to run is
not: it could be anybody's, and OCI bundles have one of that name.
"""

from __future__ import annotations

import os
import typing as t

from ..broker import guarded
from ..model import configuration, routing
from ..model.config import Layout
from ..model.container import check_name
from ..model.errors import NexcageError
from . import settings

if t.TYPE_CHECKING:
    from .dispatch import Session

# file in the configuration folder -> why it is not read; only the descriptions of NexCage knew them
NOT_READ = {
    "plugins/config.json": "NexCage never read it; playbooks/migrate.yml does",
    "config.yaml": "a managed host can read JSON only; playbooks/migrate.yml reads it",
}


def manager(layout: Layout) -> dict[str, t.Any]:
    """The twelve settings of the manager of plugins by their short names, such as ``max_plugins``.

    They decide over trust, so nobody but root and this user may be able to change the file.

    Raises:
        NexcageError: ``E_INVALID`` naming the key; ``E_INTEGRITY`` naming what others could change;
            ``E_STATE`` and ``E_PRIVILEGE`` as :func:`settings.load`.
    """
    path, content = settings.load(layout)
    if configuration.MANAGER_SECTION in content:
        os.close(guarded.open_folder(os.path.dirname(path)))
        guarded.read(os.path.realpath(path), settings.LARGEST)
    return configuration.manager(content, defaults(layout))


def defaults(layout: Layout) -> dict[str, t.Any]:
    """The defaults that depend on the host and the user."""
    section = configuration.MANAGER_SECTION
    return {f"{section}.plugin_dir": f"{layout.configuration}/plugins", f"{section}.cache_dir": f"{layout.cache}/plugins"}


def information(session: Session, parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What ``nexcage_config_info`` returns.

    Raises:
        NexcageError: ``E_INVALID`` naming key, value and what is allowed; as :func:`settings.load`.
    """
    names = [check_name(name) for name in parameters.get("names") or ()]
    path, content = _file(session.layout, parameters.get("path"))
    found = configuration.parse(content or {}, path, defaults(session.layout))
    found.refuse()
    rules = routing.parse(content or {})
    ignored = _ignored(session.layout, path)
    shown = sorted(found.settings, key=lambda setting: setting.source == configuration.DEFAULT)  # what the file says first, each in the order of the table
    without = [setting for setting in found.settings if setting.source != configuration.DEFAULT and not setting.key.effect]
    differing = [] if rules is None else [text for text in (routing.differs(rules, name) for name in names) if text]
    return {
        "changed": False,
        "file": None if content is None else path,
        "settings": [setting.as_dict() for setting in shown if setting.source != configuration.DEFAULT or parameters.get("defaults") is not False],
        "without_effect": [{"key": setting.path, "reason": setting.key.reason} for setting in without],
        "unknown": list(found.unknown),
        "ignored_files": ignored,
        "routing": {
            "compat": found.value("routing_compat"),
            "active": rules is not None,
            "answers": [_answer(rules, name) for name in names],
        },
        "warnings": [*differing, *(f"{path} has the unknown key {key}" for key in found.unknown), *(f"{file['path']}: {file['reason']}" for file in ignored)],
    }


def _file(layout: Layout, path: str | None) -> tuple[str, dict[str, t.Any] | None]:
    """Path and content of the file that counts, or of the one that is asked for; ``None`` where there is none."""
    if path is not None:
        content = settings.load_file(path)
        if content is None:
            raise NexcageError("E_NOT_FOUND", "there is no such file", option="path", value=path)
        return path, content
    path, content = settings.load(layout)
    return path, content if os.path.exists(path) else None


def _ignored(layout: Layout, used: str) -> list[dict[str, str]]:
    """Files that look like configuration and are not read, with the reason."""
    reasons = {**dict.fromkeys(settings.FILES, f"{used} comes first"), **NOT_READ}
    paths = {f"{layout.configuration}/{name}": reason for name, reason in reasons.items()}
    return [{"path": path, "reason": reason} for path, reason in paths.items() if path != used and os.path.exists(path)]


def _answer(rules: routing.Routing | None, name: str) -> dict[str, t.Any]:
    """Where one name goes; ``backend`` is ``None`` for the preferred one."""
    if rules is None:
        return {"name": name, "backend": None, "key": None, "differs": False}
    answer = routing.route(rules, name)
    return {"name": name, "backend": answer.backend, "key": answer.key, "differs": routing.differs(rules, name) is not None}
