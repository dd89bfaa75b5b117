# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a package may be used here: signed by its publisher, pinned in the task, or knowingly unsigned."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t

from ..broker import guarded
from ..model.capability import ROOT_EQUIVALENT, effective_level
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.version import parse_version
from . import publishers, signature

if t.TYPE_CHECKING:
    from .package import Package

SIGNATURE, PIN, UNSIGNED, BUILTIN = "signature", "pin", "unsigned", "builtin"
SIGNERS, INDEX_SIGNERS, REVOKED, PUBLISHERS = "allowed_signers", "index_signers", "revoked_keys", "publishers.json"
FILES = (SIGNERS, INDEX_SIGNERS, REVOKED, PUBLISHERS)
SIZE_LIMIT = 1 << 20  # bytes of one trust file
PIN_PATTERN = re.compile(r"sha256:[0-9a-f]{64}")
OF_THE_ROLE = "/etc/nexcage/trust"  # the only folder that the role writes to


class Verdict(t.NamedTuple):
    """Why a package may be used.

    Args:
        kind: ``signature``, ``pin``, ``unsigned`` or ``builtin``.
        principal: Who signed it.
        key: The fingerprint of the key, or of the certificate.
        expires: Seconds since 1970 at which the key's line ends, ``None`` where it does not.
        trust: :func:`digest` of the files that it was judged by.
    """

    kind: str
    principal: str | None = None
    key: str | None = None
    expires: float | None = None
    trust: str | None = None

    @property
    def must_be_audited(self) -> bool:
        """Whether the caller has to write it into the audit log before anything else happens."""
        return self.kind == UNSIGNED


class Files(t.NamedTuple):
    """The trust files as they were read, once.

    Args:
        folder: Where they lie.
        contents: Name to bytes; only files that exist.
    """

    folder: str
    contents: dict[str, bytes]

    @property
    def digest(self) -> str:
        """``sha256:`` and a digest over all of them; a missing file is not an empty one."""
        sums = [(name, hashlib.sha256(self.contents[name]).hexdigest() if name in self.contents else None) for name in FILES]
        return "sha256:" + hashlib.sha256(json.dumps(sums).encode("ascii")).hexdigest()

    def path(self, name: str) -> str:
        """Where one of them lies, or would."""
        return f"{self.folder}/{name}"

    def remedy(self, what: str, name: str) -> str:
        """How to change one of them: with the role, or below ``NEXCAGE_ROOT`` by hand."""
        if self.folder == OF_THE_ROLE:
            return f"{what} with the role nexcage.backends.plugins"
        return f"{what} by hand in {self.path(name)} (the role nexcage.backends.plugins writes to {OF_THE_ROLE} only)"


def folder(layout: Layout) -> str:
    """Where the trust files lie."""
    return f"{layout.configuration}/trust"


def load(layout: Layout) -> Files:
    """Read the trust files; only root, or this user, can have written them.

    Raises:
        NexcageError: ``E_INTEGRITY`` naming the file or folder that others can change; ``E_PRIVILEGE``, ``E_LIMIT``.
    """
    place = folder(layout)
    contents: dict[str, bytes] = {}
    for name in FILES:
        try:
            contents[name] = guarded.read(f"{place}/{name}", SIZE_LIMIT)
        except NexcageError as error:
            if error.code != "E_NOT_FOUND":
                raise
    return Files(place, contents)


def digest(layout: Layout) -> str:
    """The digest of all trust files: a verdict that was kept under another one is worth nothing.

    Raises:
        NexcageError: As :func:`load`.
    """
    return load(layout).digest


def judge(package: Package, layout: Layout, *, pin: str | None, unsigned: bool, now: float, require_signatures: bool = True) -> Verdict:
    """Decide whether a package may be used, by exactly one of signature, pin and knowing consent.

    Args:
        package: What was read, in the bytes that will be used.
        layout: The folders of this host and user.
        pin: The digest that the task names, ``sha256:...``; no signature is looked at then, and no tool is needed.
        unsigned: Whether the task says that no signature is needed.
        now: Seconds since 1970 at which the signer's key has to be valid: when the package is, or was, installed.
            What is revoked is revoked whatever this says.
        require_signatures: The host's setting. Only where it is off may a task do without.

    Raises:
        NexcageError: ``E_TRUST`` where it may not be used, ``E_SIGNATURE`` where its signature is missing or wrong,
            ``E_INTEGRITY`` where it is not the pinned one or others can change the trust files, ``E_INVALID``.
    """
    name = str(package.manifest["name"])
    publishers.refuse_reserved(name)
    if pin is not None and unsigned:
        raise NexcageError("E_INVALID", "a package is pinned or unsigned, not both", option="digest", value=pin, remedy="leave out 'trust: unsigned'")
    if pin is not None:
        return _pinned(package, pin)
    if unsigned:
        return _unsigned(package, require_signatures)
    try:
        return _signed(package, name, load(layout), f"{layout.runtime}/verify", now)
    except NexcageError as error:
        raise error.about(None, package.path) from error.__cause__


def _pinned(package: Package, pin: str) -> Verdict:
    if not PIN_PATTERN.fullmatch(pin):
        raise NexcageError("E_INVALID", "not a digest", option="digest", value=pin, remedy="write it as sha256: and 64 hexadecimal digits in lower case")
    if package.digest != pin:
        raise NexcageError(
            "E_INTEGRITY",
            f"the package {package.path} has the digest {package.digest}",
            option="digest",
            value=pin,
            remedy="correct the pin, or find out who changed the package",
            details={"expected": pin, "found": package.digest},
        )
    return Verdict(PIN)


def _unsigned(package: Package, require_signatures: bool) -> Verdict:
    dangerous = [name for name in package.manifest["capabilities"] if effective_level(name, package.manifest) == ROOT_EQUIVALENT]
    if dangerous:
        raise NexcageError(
            "E_TRUST",
            f"{package.path} asks for {', '.join(dangerous)}, which is as good as root, and is not signed",
            option="trust",
            value=UNSIGNED,
            remedy="sign it, or pin its digest",
        )
    if require_signatures:
        raise NexcageError(
            "E_TRUST",
            "this host requires signatures",
            option="trust",
            value=UNSIGNED,
            remedy="sign the package or pin its digest; on a host for trying things out set require_signatures: false",
        )
    return Verdict(UNSIGNED)


def _signed(package: Package, name: str, files: Files, scratch: str, now: float) -> Verdict:
    remedy = files.remedy("trust the publisher", SIGNERS) + f", or pin the package with 'digest: {package.digest}'"
    armored = package.archive.signature
    if armored is None:
        raise NexcageError("E_SIGNATURE", f"{package.path} is not signed", value=package.path, remedy=f"sign it, or pin it with 'digest: {package.digest}'")
    if SIGNERS not in files.contents:
        raise NexcageError("E_TRUST", f"nobody is trusted on this host: there is no {files.path(SIGNERS)}", remedy=remedy)
    seal = signature.inspect(armored)
    _refuse_namespace(seal, signature.PLUGIN)
    signer = find_signer(files, SIGNERS, signature.PLUGIN, seal, now, remedy)
    may = publishers.Publishers(files.contents[PUBLISHERS], files.path(PUBLISHERS)).of(name) if PUBLISHERS in files.contents else ()
    if signer is not None and not set(signer.principals) & set(may):
        raise NexcageError(
            "E_TRUST",
            f"{', '.join(signer.principals)} signed it, and {name} may be published by {', '.join(may) or 'nobody'}",
            option="name",
            value=name,
            remedy=files.remedy("say who may publish it", PUBLISHERS) + ", or find out who signed this",
            details={"key": seal.fingerprint},
        )
    principal = signature.verify(
        package.archive.sums, armored, files.contents[SIGNERS], signature.PLUGIN, lambda who: who in may, scratch, files.contents.get(REVOKED), now
    )
    return Verdict(SIGNATURE, principal, seal.fingerprint, signer.valid_before if signer else None, files.digest)


def find_signer(files: Files, name: str, namespace: str, seal: signature.Seal, now: float, remedy: str) -> publishers.Signer | None:
    """The line for the key of a signature, so that a refusal says what is wrong; ``None`` for a certificate.

    It only ever refuses: ssh-keygen has the last word on whatever passes.

    Raises:
        NexcageError: ``E_TRUST`` where no line has the key, or it is too early or too late for it.
    """
    lines = publishers.signers(files.contents[name], files.path(name), namespace)
    if "-cert-" in seal.kind:
        return None
    for line in lines:
        if line.key == seal.key and not line.authority:
            for limit, wrong, state in ((line.valid_after, -1, "is not valid yet"), (line.valid_before, 1, "has expired")):
                if limit is not None and (now - limit) * wrong > 0:
                    where = f"{files.path(name)}, line {line.line}"
                    text = f"the key {seal.fingerprint} of {', '.join(line.principals)} {state} ({where})"
                    raise NexcageError("E_TRUST", text, remedy="have it signed again with a valid key, or correct that line", details={"key": seal.fingerprint})
            return line
    text = f"it is signed with the key {seal.fingerprint}, which nobody has in {files.path(name)}"
    raise NexcageError("E_TRUST", text, remedy=remedy, details={"key": seal.fingerprint})


def _refuse_namespace(seal: signature.Seal, namespace: str) -> None:
    if seal.namespace != namespace:
        raise NexcageError(
            "E_SIGNATURE",
            f"the signature was made for {seal.namespace!r}, and not for {namespace!r}",
            remedy=f"sign it with: ssh-keygen -Y sign -n {namespace} -f KEY",
            details={"key": seal.fingerprint},
        )


def check_index(data: bytes, armored: bytes, files: Files, scratch: str, now: float) -> str:
    """The principal who signed an index.

    Args:
        data: The bytes of the index.
        armored: Its signature.
        files: The trust files; ``index_signers`` says who may sign one.
        scratch: A folder of nexcage's own for temporary files.
        now: Seconds since 1970.

    Raises:
        NexcageError: ``E_TRUST`` or ``E_SIGNATURE``, as :func:`judge`.
    """
    remedy = files.remedy("trust whoever signs the index", INDEX_SIGNERS)
    if INDEX_SIGNERS not in files.contents:
        raise NexcageError("E_TRUST", f"nobody may sign an index on this host: there is no {files.path(INDEX_SIGNERS)}", remedy=remedy)
    seal = signature.inspect(armored)
    _refuse_namespace(seal, signature.INDEX)
    find_signer(files, INDEX_SIGNERS, signature.INDEX, seal, now, remedy)
    return signature.verify(data, armored, files.contents[INDEX_SIGNERS], signature.INDEX, lambda _who: True, scratch, files.contents.get(REVOKED), now)


def refuse_downgrade(name: str, version: str, floor: str | None, allow_downgrade: bool) -> None:
    """Refuse a version below the highest one that this host has ever had; signatures do not grow old by themselves.

    Args:
        name: The plugin.
        version: What shall be installed.
        floor: The highest version so far; empty or ``None`` for a plugin that never was here.
        allow_downgrade: Whether the task says that it may be lower.

    Raises:
        NexcageError: ``E_TRUST``.
    """
    if not floor or allow_downgrade or parse_version(version) >= parse_version(floor):
        return
    raise NexcageError(
        "E_TRUST",
        f"{name} was {floor} on this host before, and {version} is older",
        option="version",
        value=version,
        remedy="install a later version, or say allow_downgrade: true",
        details={"floor": floor, "version": version},
    )
