# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signed static index of a folder of packages, as its readers see it: ``index.json`` with ``index.json.sig`` beside it.

What a mirror, or whoever stands before it, can do is to withhold. What is signed cannot be changed; an index that is
older than one seen before is refused, so is one that has expired, and a package that is not the one it names.
"""

from __future__ import annotations

import calendar
import hashlib
import os
import time
import typing as t

from ..broker import store
from ..model.capability import CONTAINED, ROOT_EQUIVALENT, SCOPED
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.manifest import check_compatibility
from ..model.manifest_fields import LABEL, NAME, RANGE, U32, VERSION
from ..model.manifest_rules import Choice, Field, Flag, ListOf, MapOf, Record, Text, Whole
from ..model.version import Range, chosen, parse_version
from . import archive, document, package, trust
from .fetch import below, fetch
from .lockfile import DIGEST, Locked

FILE, SIGNATURE_FILE = "index.json", "index.json.sig"
SCHEMA_VERSION = 1
SIZE_LIMIT = 4 << 20  # bytes of index.json; one of 500 plugins has 170 KiB
LARGEST_COUNTER = 2**53 - 1  # what every reader of JSON can count to
SEEN = "indexes.json"  # in the state folder: the highest counter of each index, and which index lies at an address

_TIME = Text(20, 20, r"[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}Z", "a time like 2026-12-31T23:59:59Z")
_HEX = Text(64, 64, r"[0-9a-f]{64}", "64 hexadecimal digits in lower case")
_URL = Text(1, 512, r"(?!(?:.*/)?\.{1,2}(?:/|$))[A-Za-z0-9._~+-]+(?:/[A-Za-z0-9._~+-]+)*", "the path of a file beside or below the index")
_RELEASE = Record(
    {
        "version": Field(VERSION),
        "url": Field(_URL),
        "size": Field(Whole(1, archive.PACKED_LIMIT)),
        "sha256": Field(_HEX),
        "digest": Field(DIGEST),
        "api_version": Field(Whole(0, U32)),
        "nexcage_version": Field(RANGE),
        "capabilities": Field(ListOf(LABEL)),
        "class": Field(Choice(CONTAINED, SCOPED, ROOT_EQUIVALENT)),
        "yanked": Field(Flag(), False),
    }
)
RULES = Record(
    {
        "schema_version": Field(Whole(SCHEMA_VERSION, SCHEMA_VERSION)),
        "name": Field(NAME),
        "version": Field(Whole(1, LARGEST_COUNTER)),
        "generated": Field(_TIME),
        "expires": Field(_TIME),
        "plugins": Field(MapOf(NAME, Record({"releases": Field(ListOf(_RELEASE, minimum=1, maximum=1024, key="version"))}), 4096)),
    }
)
_KNOWN = Record({"version": Field(Whole(1, LARGEST_COUNTER)), "sha256": Field(_HEX)})
_SEEN = Record(
    {
        "schema_version": Field(Whole(SCHEMA_VERSION, SCHEMA_VERSION)),
        "indexes": Field(MapOf(NAME, _KNOWN, 1024)),
        "addresses": Field(MapOf(Text(1, 2048), NAME, 1024)),
    }
)


class Index(t.NamedTuple):
    """An index that was verified, or that is one's own.

    Args:
        name: What its publisher calls it; its counter belongs to this name, wherever it lies.
        version: The counter; higher is later.
        expires: Seconds since 1970.
        plugins: Name to releases, each as in the file.
        sha256: Of the bytes.
        url: Where it was read from; empty for one's own.
        principal: Who signed it; empty for one's own.
    """

    name: str
    version: int
    expires: float
    plugins: dict[str, list[dict[str, t.Any]]]
    sha256: str
    url: str = ""
    principal: str = ""


def parse(data: bytes, place: str, url: str = "", principal: str = "") -> Index:
    """The content of an index; of a foreign one only after its signature was verified.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming ``place`` and the field.
    """
    content = document.parse(data, place, RULES, "E_INTEGRITY", "have it made anew with nexcage_plugin_index")
    try:
        expires = seconds(content["expires"])
        seconds(content["generated"])
    except ValueError as error:
        raise NexcageError("E_INTEGRITY", f"{place}: {error}", remedy="have it made anew with nexcage_plugin_index") from None
    plugins = {name: entry["releases"] for name, entry in content["plugins"].items()}
    return Index(content["name"], content["version"], expires, plugins, hashlib.sha256(data).hexdigest(), url, principal)


def seconds(text: str) -> float:
    """A time of an index in seconds since 1970; ``ValueError`` for a 31st of June."""
    return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")))


def read(url: str, layout: Layout, now: float, allow_expired: bool = False, ca_file: str | None = None) -> Index:
    """Fetch an index and verify all that can be said of it. Writes nothing; see :func:`remember`.

    Args:
        url: Of ``index.json``, or of the folder that it lies in, with a slash at the end.
        layout: The folders of this host and user.
        now: Seconds since 1970.
        allow_expired: Whether one that has expired is fine, as where no later one can be had.
        ca_file: As for :func:`fetch.fetch`.

    Raises:
        NexcageError: ``E_TRUST`` where it is not signed by somebody trusted, is older than one seen before, another
            one than before, or has expired; ``E_SIGNATURE``, ``E_INTEGRITY``, ``E_INVALID``; as :func:`fetch.fetch`.
    """
    if "?" in url:  # the signature and the packages lie beside it
        raise NexcageError("E_INVALID", "an index has no query in its address", value=url, remedy="give the address of a plain file")
    url = url + FILE if url.endswith("/") else url
    data = fetch(url, SIZE_LIMIT, ca_file)
    try:
        armored = fetch(url + ".sig", archive.SIGNATURE_LIMIT, ca_file)
    except NexcageError as error:
        if error.code != "E_NOT_FOUND":
            raise
        raise NexcageError("E_SIGNATURE", f"{url} is not signed: there is no {url}.sig", value=url, remedy="sign it with nexcage_plugin_index") from None
    try:
        principal = trust.check_index(data, armored, trust.load(layout), f"{layout.runtime}/verify", now)
    except NexcageError as error:
        raise error.about("index", url) from error.__cause__
    found = parse(data, url, url, principal)
    refuse_replay(layout, found)
    if now > found.expires and not allow_expired:
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.expires))
        remedy = "have the index signed anew, or say allow_expired_index: true where no later one can be had"
        raise NexcageError("E_TRUST", f"the index has expired at {ended}: later ones may be withheld from us", value=url, remedy=remedy)
    return found


def refuse_replay(layout: Layout, index: Index) -> None:
    """Refuse an index that is older than one seen before, another one of the same counter, or not the one of its address.

    Raises:
        NexcageError: ``E_TRUST``; ``E_STATE`` for a damaged memory.
    """
    memory = _memory(layout)
    known, usual = memory["indexes"].get(index.name), memory["addresses"].get(index.url)
    problem = ""
    if usual not in (None, index.name):
        problem = f"so far the index {usual} lay there, and this is {index.name}"
    elif known and index.version < known["version"]:
        problem = f"the index {index.name} was at {known['version']} before, and this is the older {index.version}"
    elif known and index.version == known["version"] and index.sha256 != known["sha256"]:
        problem = f"this is not the {index.version} of the index {index.name} that was seen before"
    if problem:
        remedy = f"find out who serves it; if it is meant, remove the entry from {layout.state}/{SEEN}"
        raise NexcageError("E_TRUST", problem, value=index.url, remedy=remedy)


def remember(layout: Layout, index: Index) -> None:
    """Keep in mind that this index was seen, unless a later one was; writes only what is new.

    Raises:
        NexcageError: ``E_STATE``, ``E_SPACE``, ``E_LOCKED``.
    """
    with store.Lock(f"{layout.runtime}/locks/.{SEEN}", 10.0, f"process {os.getpid()}: index {index.name}"):
        memory = _memory(layout)
        known = memory["indexes"].get(index.name)
        fresh = known is None or index.version > known["version"]
        if not fresh and memory["addresses"].get(index.url) == index.name:
            return
        if fresh:
            memory["indexes"][index.name] = {"version": index.version, "sha256": index.sha256}
        memory["addresses"].setdefault(index.url, index.name)
        store.ensure_folder(layout.state)
        store.write_json(f"{layout.state}/{SEEN}", memory)


def _memory(layout: Layout) -> dict[str, t.Any]:
    path = f"{layout.state}/{SEEN}"
    data = store.read_bytes(path)
    if data is None:
        return {"schema_version": SCHEMA_VERSION, "indexes": {}, "addresses": {}}
    return document.parse(data, path, _SEEN, "E_STATE", "restore it from a backup; or remove it, and the next index is believed whatever its age")


def resolve(index: Index, name: str, wanted: str | None = None, locked: Locked | None = None) -> dict[str, t.Any]:
    """The highest release of a plugin that is not yanked and fits this collection.

    Args:
        index: Where to look.
        name: The plugin.
        wanted: A range; a bare version is exactly that one; any where not given.
        locked: What a lock file holds it to.

    Raises:
        NexcageError: ``E_NOT_FOUND`` for a name that is not there, ``E_VERSION`` saying why no release will do,
            ``E_TRUST`` where the locked one is another one here.
    """
    releases = index.plugins.get(name)
    if releases is None:
        known = ", ".join(sorted(index.plugins)[:20]) or "no plugins"
        raise NexcageError("E_NOT_FOUND", f"it is not in the index {index.name}", option="name", value=name, remedy=f"the index has {known}")
    version_range = None if wanted is None else chosen(wanted)
    passed_over = []
    for release in sorted(releases, key=lambda release: parse_version(release["version"]), reverse=True):
        reason = _unfit(release, version_range, locked)
        if reason is None:
            return release
        passed_over.append(f"{release['version']} {reason}")
    message = f"no release of {name} in the index {index.name} will do: {'; '.join(passed_over[:8])}"
    raise NexcageError("E_VERSION", message, option="version", value=wanted, remedy="ask for another version, or write the lock file anew")


def refuse_older(index: Index, name: str, release: t.Mapping[str, t.Any], floor: str) -> None:
    """Refuse a release that is older than one that was here, where that one was yanked: its publisher took it back, and nothing newer is left.

    Args:
        index: Where the release is from.
        name: The plugin.
        release: As :func:`resolve` gave it.
        floor: The highest version that was here; empty where none was.

    Raises:
        NexcageError: ``E_TRUST``.
    """
    yanked = any(one["version"] == floor and one["yanked"] for one in index.plugins[name])
    if yanked and parse_version(release["version"]) < parse_version(floor):
        message = f"{floor} was installed here and then yanked by its publisher, and {release['version']}, the highest one left, is older"
        remedy = "see why it was yanked; then set allow_downgrade: true to go back, or wait for a later release"
        raise NexcageError("E_TRUST", message, option="index", value=index.url, remedy=remedy)


def _unfit(release: t.Mapping[str, t.Any], wanted: Range | None, locked: Locked | None) -> str | None:
    """Why a release cannot be chosen, ``None`` where it can."""
    if locked is not None and release["version"] == locked.version and release["digest"] != locked.digest:
        message = f"the lock file holds {release['version']} to {locked.digest}, and in the index it is {release['digest']}"
        raise NexcageError("E_TRUST", message, option="version", value=locked.version, remedy="find out who changed a release that was out")
    if locked is not None and release["version"] != locked.version:
        return "is not the locked one"
    if wanted is not None and parse_version(release["version"]) not in wanted:
        return f"is not {wanted.text}"
    if release["yanked"]:
        return "was yanked by its publisher"
    try:
        check_compatibility(release)
    except NexcageError as error:
        return f"is for another NexCage ({error.option} {error.value})"
    return None


def obtain(index: Index, name: str, release: t.Mapping[str, t.Any], ca_file: str | None = None) -> package.Package:
    """Fetch a release and see that it is the one that the index names. Its own signature is still to be judged.

    Args:
        index: As :func:`read` gave it.
        name: The plugin.
        release: As :func:`resolve` gave it.
        ca_file: As for :func:`fetch.fetch`.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming what differs; as :func:`fetch.fetch` and :func:`package.from_bytes`.
    """
    url = below(index.url, release["url"])
    try:
        data = fetch(url, release["size"], ca_file)
    except NexcageError as error:
        if error.code != "E_LIMIT":
            raise
        message, remedy = f"the index says size {release['size']}, and the package has more", "fetch the index anew; else find out who changed the package"
        raise NexcageError("E_INTEGRITY", message, value=url, remedy=remedy) from None
    found = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    _compare(url, release, found)
    read_back = package.from_bytes(data, url)
    if read_back.name != name:
        raise NexcageError("E_INTEGRITY", f"the index says {name}, and the package is {read_back.name}", value=url)
    _compare(url, release, facts(read_back.manifest, read_back.digest))
    return read_back


def facts(manifest: t.Mapping[str, t.Any], digest: str) -> dict[str, t.Any]:
    """What an index says of a package beside its address and bytes, but for its class: that is ours to say."""
    return {
        "version": manifest["version"],
        "digest": digest,
        "api_version": manifest["api_version"],
        "nexcage_version": manifest["nexcage_version"],
        "capabilities": sorted(manifest["capabilities"]),
    }


def _compare(url: str, release: t.Mapping[str, t.Any], found: t.Mapping[str, t.Any]) -> None:
    for field, value in found.items():
        said = sorted(release[field]) if field == "capabilities" else release[field]
        if said != value:
            raise NexcageError("E_INTEGRITY", f"the index says {field} {said}, and the package has {value}", value=url)
