# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the operator granted to each third-party plugin, and whether that still covers what the plugin asks for.

A grant names capabilities one by one and is bound to the scope they were granted for. Built-in plugins need none.
"""

from __future__ import annotations

import os
import time
import typing as t

from ..broker import store
from ..model import scope
from ..model.capability import CAPABILITIES, NOTHING, ROOT_EQUIVALENT
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.manifest_fields import NAME
from . import strict

SCHEMA_VERSION = 1
NEXT = ".next-"  # and the digest of the package that is about to be active
KEYS = ("plugin", "scope_digest", "scope", "capabilities", "root_equivalent_accepted", "granted_by", "granted_at")


class Grant(t.NamedTuple):
    """What one plugin was granted.

    Args:
        plugin: The plugin's name.
        scope: All that the manifest asked for at that time, as :func:`scope.normal` has it.
        capabilities: Names, sorted; maybe fewer than the manifest declares.
        root_equivalent_accepted: Whether the operator accepted what can become root on the host.
        granted_by: Who or what granted it, for a reader.
        granted_at: ISO 8601, UTC.
    """

    plugin: str
    scope: t.Mapping[str, t.Any]
    capabilities: tuple[str, ...]
    root_equivalent_accepted: bool
    granted_by: str
    granted_at: str

    @property
    def scope_digest(self) -> str:
        """Of the scope that it was given for."""
        return scope.digest(self.scope)

    def as_dict(self) -> dict[str, t.Any]:
        """The grant as it stands in its file and in a result."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{key: getattr(self, key) for key in KEYS},
            "scope": scope.normal(self.scope),
            "capabilities": list(self.capabilities),
        }


def wanted(
    manifest: t.Mapping[str, t.Any],
    names: t.Sequence[str],
    accept_root_equivalent: bool = False,
    granted_by: str = "",
    now: float | None = None,
) -> Grant:
    """The grant that a task asks for; not written yet.

    Args:
        manifest: Of the plugin.
        names: The task's ``grant``: capabilities, each named; any order, and empty for none at all.
        accept_root_equivalent: The task's option of that name.
        granted_by: Who or what grants it.
        now: Seconds since the epoch, by default this moment.

    Raises:
        NexcageError: ``E_GRANT`` for a name that is no capability, is not declared or can never be granted, and for
            a root-equivalent one without ``accept_root_equivalent``.
    """
    for name in names:
        problem = _refused(manifest, name)
        if problem:
            raise refusal(manifest, problem, name)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if now is None else now))
    made = Grant(manifest["name"], scope.normal(manifest), tuple(sorted(set(names))), accept_root_equivalent, granted_by, moment)
    check(manifest, made)
    return made


def check(manifest: t.Mapping[str, t.Any], grant: Grant | None) -> frozenset[str]:
    """The capabilities that a plugin has here.

    Args:
        manifest: Of the package that shall be used now.
        grant: What is stored, or what a task asks for; ``None`` where nothing was granted.

    Returns:
        The granted names; the gate takes of them what the manifest declares.

    Raises:
        NexcageError: ``E_GRANT``, with the block to paste into the task in message and details.
    """
    if all(entry.level == NOTHING for entry in scope.entries(manifest)) and not (grant and any(scope.disclosed(grant.scope, manifest))):
        return frozenset()
    if grant is None:
        raise refusal(manifest, "nothing was granted to it")
    if grant.plugin != manifest["name"]:
        raise refusal(manifest, f"the grant is for the plugin {grant.plugin}")
    added = scope.widened(grant.scope, manifest)
    if added:
        lines = scope.difference(grant.scope, manifest)
        risky = any(entry.level == ROOT_EQUIVALENT for entry in added)
        raise refusal(manifest, "it asks for more than was granted, and stops until that is granted too:\n" + "\n".join(lines), difference=lines, confirm=risky)
    rooted = [name for name in grant.capabilities if _level(manifest, name) == ROOT_EQUIVALENT]
    if rooted and not grant.root_equivalent_accepted:
        raise refusal(manifest, f"{', '.join(rooted)} can become root on the host, which was not accepted", option="accept_root_equivalent")
    return frozenset(grant.capabilities)


def block(manifest: t.Mapping[str, t.Any]) -> str:
    """The YAML to paste into the task: everything that the plugin can be granted, each entry with its class."""
    details = scope.entries(manifest)
    groups: dict[str, list[scope.Entry]] = {}
    for entry in details:
        if entry.capability in CAPABILITIES and entry.level != NOTHING:
            groups.setdefault(entry.capability, []).append(entry)
    lines = ["grant:"] if groups else ["grant: []"]
    for name, (first, *others) in groups.items():
        lines += [f"  - {name}  # {first.level}: {first.detail}", *(f"  #   {other.level}: {other.detail}" for other in others)]
    accept = ["accept_root_equivalent: true"] if any(entry.level == ROOT_EQUIVALENT for entry in details) else []
    rest = [f"# {entry}" for entry in details if entry.capability not in groups]
    return "\n".join([*lines, *accept, *rest]) + "\n"


def path(layout: Layout, plugin: str) -> str:
    """The file of one plugin's grant.

    Raises:
        NexcageError: ``E_MANIFEST`` for what cannot be a plugin's name.
    """
    return f"{layout.configuration}/grants/{NAME.check('name', plugin)}.json"


def read(layout: Layout, plugin: str, suffix: str = "") -> Grant | None:
    """What is stored for one plugin, ``None`` where nothing is.

    Raises:
        NexcageError: ``E_INTEGRITY`` where others can have written the file, ``E_STATE`` where it is damaged or of a
            later version of the collection.
    """
    place = path(layout, plugin) + suffix
    content = strict.read(place)
    if content is None:
        return None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        problem = f"the schema version is {version!r}, and this collection knows {SCHEMA_VERSION}"
        raise strict.damaged(place, problem, remedy="use the collection that wrote it, or grant anew")
    problem = _problem(content, plugin)
    if problem:
        raise strict.damaged(place, problem, remedy="grant anew; until then the plugin has nothing")
    return Grant(
        plugin,
        content["scope"],
        tuple(content["capabilities"]),
        content["root_equivalent_accepted"],
        content["granted_by"],
        content["granted_at"],
    )


def write(layout: Layout, grant: Grant, suffix: str = "") -> None:
    """Store a grant: a reader sees the old one or the new one.

    Raises:
        NexcageError: ``E_STATE`` or ``E_SPACE``; the old one still counts.
    """
    place = path(layout, grant.plugin)
    folder = os.path.dirname(place)
    os.makedirs(layout.configuration, mode=0o755, exist_ok=True)
    store.ensure_folder(folder)
    store.write_json(place + suffix, grant.as_dict())
    store.sync_folder(folder)


def _staged(digest: str) -> str:
    return NEXT + digest.rpartition(":")[2]


def stage(layout: Layout, plugin: str, grant: Grant | None, digest: str) -> None:
    """Store a grant for one package beside the one that counts; it counts as soon, and as long, as that package is active.

    So whichever of two packages a killed change left active, it has the grant that was given for it.

    Args:
        layout: The host's folders.
        plugin: The plugin's name.
        grant: What is granted; ``None`` where the package asks for nothing.
        digest: Of the package.

    Raises:
        NexcageError: As :func:`write`.
    """
    if grant is None or grant == read(layout, plugin):
        store.remove(path(layout, plugin) + _staged(digest))
    else:
        write(layout, grant, _staged(digest))


def settle(layout: Layout, plugin: str, digest: str) -> None:
    """Let the grant that is staged for the active package take the place of the stored one; what is staged for others goes.

    Args:
        layout: The host's folders.
        plugin: The plugin's name.
        digest: Of its active package.

    Raises:
        NexcageError: ``E_STATE``.
    """
    place = path(layout, plugin)
    for left in staged(layout, plugin):
        if left != place + _staged(digest):
            store.remove(left)
            continue
        try:
            os.rename(left, place)
        except OSError as error:
            raise store.failure(error, f"{place} cannot be written") from error
        store.sync_folder(os.path.dirname(place))


def staged(layout: Layout, plugin: str) -> list[str]:
    """The files of what is staged for any package of a plugin."""
    folder, file = os.path.split(path(layout, plugin))
    try:
        return [f"{folder}/{entry}" for entry in sorted(os.listdir(folder)) if entry.startswith(file + NEXT)]
    except FileNotFoundError:
        return []


def remove(layout: Layout, plugin: str) -> None:
    """Take back all that was granted to a plugin; nothing stored is fine.

    Raises:
        NexcageError: ``E_STATE`` where a file stays.
    """
    for place in (path(layout, plugin), *staged(layout, plugin)):
        store.remove(place)


def granted(layout: Layout, manifest: t.Mapping[str, t.Any], digest: str) -> frozenset[str]:
    """What was granted to a plugin, checked against the manifest that shall be used now.

    Args:
        layout: The host's folders.
        manifest: Of the package.
        digest: Of the same package.

    Raises:
        NexcageError: As :func:`read` and :func:`check`.
    """
    return check(manifest, effective(layout, manifest["name"], digest))


def effective(layout: Layout, plugin: str, digest: str) -> Grant | None:
    """The grant that counts while the package with this digest is active, ``None`` where nothing was granted.

    Raises:
        NexcageError: As :func:`read`.
    """
    if os.path.lexists(path(layout, plugin) + _staged(digest)):
        found = read(layout, plugin, _staged(digest))
        if found is not None:  # it has not taken its place just now
            return found
    return read(layout, plugin)


def _level(manifest: t.Mapping[str, t.Any], name: str) -> str:
    return next((entry.level for entry in scope.entries(manifest) if entry.capability == name), NOTHING)


def _refused(manifest: t.Mapping[str, t.Any], name: object) -> str:
    """Why a name cannot be granted to this plugin; empty where it can."""
    if not isinstance(name, str) or name not in CAPABILITIES:
        return "there is no such capability; each one is granted by its own name"
    if name not in manifest["capabilities"]:
        return f"{manifest['name']} does not declare it"
    return "" if CAPABILITIES[name].grantable else "it can be granted to nobody: no broker call stands behind the name"


def _problem(content: dict[str, t.Any], plugin: str) -> str:
    """What is wrong with the content of a grant file; empty where nothing is."""
    if set(content) != {"schema_version", *KEYS}:
        return f"its keys are {', '.join(sorted(content))}, and must be schema_version, {', '.join(KEYS)}"
    kinds: dict[str, type] = {"scope": dict, "capabilities": list, "root_equivalent_accepted": bool}
    for key in KEYS:
        if not isinstance(content[key], kinds.get(key, str)):
            return f"{key} is not of type {kinds.get(key, str).__name__}"
    if content["plugin"] != plugin:
        return f"it is the grant of {content['plugin']!r}"
    unknown = [name for name in content["capabilities"] if not isinstance(name, str) or name not in CAPABILITIES]
    if unknown:
        return f"capabilities names {unknown[0]!r}, which is none"
    try:
        known = scope.digest(content["scope"])
        scope.entries(content["scope"])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return "its scope is none"
    return "" if known == content["scope_digest"] else "scope_digest is not that of its scope"


def refusal(
    manifest: t.Mapping[str, t.Any], problem: str, value: object = None, option: str = "grant", difference: t.Sequence[str] = (), confirm: bool = False
) -> NexcageError:
    """The refusal with what to paste. The block stands on lines of its own, and nothing follows on its last one.

    With ``confirm`` the block has the digest of the scope too, for a task that has to name it.
    """
    text = block(manifest) + (f"scope_digest: {scope.digest(manifest)}\n" if confirm else "")
    return NexcageError(
        "E_GRANT",
        f"the plugin {manifest['name']}: {problem}\nAll that it asks for, to paste into its nexcage_plugin task:\n\n{text}\n{_summary(manifest)}",
        option=option,
        value=value if isinstance(value, (str, type(None))) else repr(value),
        remedy="grant what it shall have; each name that is left out is refused to the plugin",
        details={
            "plugin": manifest["name"],
            "grant": text,
            "scope_digest": scope.digest(manifest),
            "entries": [entry._asdict() for entry in scope.entries(manifest)],
            "difference": list(difference),
        },
    )


def _summary(manifest: t.Mapping[str, t.Any]) -> str:
    """How many entries there are of each class."""
    levels = [entry.level for entry in scope.entries(manifest)]
    return "Of these are " + ", ".join(f"{level}: {levels.count(level)}" for level in sorted(set(levels)))
