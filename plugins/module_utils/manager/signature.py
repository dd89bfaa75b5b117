# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH signatures, made and verified by ``ssh-keygen -Y``.

OpenSSH has ``-Y`` since 8.1, ``find-principals`` since 8.2, and limits in time since 8.7 (its release notes). An older
one answers as if nobody were trusted, and never the other way round. The format of a signature is in its PROTOCOL.sshsig.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import typing as t

from ..broker import guarded, store
from ..broker.oci import runtime
from ..model.errors import NexcageError

PLUGIN, INDEX = "nexcage-plugin", "nexcage-index"  # the namespaces: what is signed for one is worth nothing for the other
PROGRAM = "ssh-keygen"
TIMEOUT = 20.0  # seconds, for one call that normally takes 10 ms
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}  # times in allowed_signers without a zone are UTC on every host
SIZE_LIMIT = 16384  # bytes; that of an RSA key of 4096 bits has 1700
USE_A_PIN = "use a digest pin: 'digest: sha256:...' in the task needs no ssh-keygen"

_ARMOR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END SSH SIGNATURE-----\s*")
_MAGIC = b"SSHSIG"
_KRL, _KRL_HEADER = b"SSHKRL\n\0", 44  # bytes up to the first section; PROTOCOL.krl of OpenSSH
_KEY = re.compile(rb"(?:ssh|ecdsa|sk)-[\w.@-]+ +AAAA[A-Za-z0-9+/]+=*")
_TOO_OLD = ("unknown option -- Y", "illegal option -- Y", "Unsupported operation for -Y")


class Seal(t.NamedTuple):
    """What a signature says of itself; none of it is verified.

    Args:
        key: The public key, or the certificate, in SSH's binary form.
        namespace: What it was made for.
    """

    key: bytes
    namespace: str

    @property
    def kind(self) -> str:
        """The key's type, such as ``ssh-ed25519``."""
        return _string(self.key)[0].decode("ascii", "replace")

    @property
    def fingerprint(self) -> str:
        """The key as ``ssh-keygen -l`` names it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.key).digest()).decode("ascii").rstrip("=")


def inspect(signature: bytes) -> Seal:
    """What an armored signature says of itself, for precise messages; :func:`verify` decides.

    Raises:
        NexcageError: ``E_SIGNATURE`` where it is no SSH signature.
    """
    matched = _ARMOR.fullmatch(signature) if len(signature) <= SIZE_LIMIT else None
    try:
        raw = base64.b64decode(b"".join(matched[1].split()), validate=True) if matched else b""
        if raw[:6] != _MAGIC or raw[6:10] != b"\0\0\0\1":
            raise ValueError("no SSH signature")
        key, rest = _string(raw[10:])
        namespace, rest = _string(rest)
        _string(key)
        return Seal(key, namespace.decode("utf-8"))
    except (ValueError, binascii.Error):  # UnicodeDecodeError is a ValueError
        remedy = "sign again: ssh-keygen -Y sign -n NAMESPACE -f KEY"
        raise NexcageError("E_SIGNATURE", "the signature is damaged, or none that ssh-keygen made", remedy=remedy) from None


def _string(data: bytes) -> tuple[bytes, bytes]:
    """One length-prefixed string (RFC 4251, section 5) and what follows it."""
    length = int.from_bytes(data[:4], "big")
    if len(data) < 4 + length or len(data) < 4:
        raise ValueError("cut off")
    return data[4 : 4 + length], data[4 + length :]


def verify(
    data: bytes,
    signature: bytes,
    signers: bytes,
    namespace: str,
    allowed: t.Callable[[str], bool],
    folder: str,
    revoked: bytes | None = None,
    when: float | None = None,
) -> str:
    """The principal who signed ``data``.

    ``ssh-keygen`` reads copies of exactly these bytes, in files that only this user can read, and never sees the
    files that they came from.

    Args:
        data: What was signed.
        signature: The armored signature.
        signers: The content of an ``allowed_signers`` file.
        namespace: ``PLUGIN`` or ``INDEX``.
        allowed: Whether a principal may sign this.
        folder: Of nexcage's own; a temporary folder in it lives as long as the call.
        revoked: The content of a revocation list or of a file of public keys. They are revoked whatever ``when`` is.
        when: Seconds since 1970 at which the key has to be valid; now where not given.

    Raises:
        NexcageError: ``E_TRUST`` where nobody who is trusted signed, or the key is revoked; ``E_SIGNATURE`` where
            the signature is not one of the data, or ssh-keygen cannot tell.
    """
    inspect(signature)
    time_option = [] if when is None else ["-Overify-time=" + time.strftime("%Y%m%d%H%M%S", time.gmtime(when))]
    with _temporary(folder) as place:
        paths = [_put(place, name, content) for name, content in (("signature", signature), ("signers", signers), ("revoked", revoked or b""))]
        found = _call("find-principals", "-s", paths[0], "-f", paths[1], *time_option)
        principals = found.output.decode("utf-8", "replace").replace(",", "\n").split()
        if found.code != 0 or not principals:
            raise NexcageError("E_TRUST", f"nobody who is trusted signed it: {runtime.message(found.error)}")
        chosen = [name for name in principals if allowed(name)]
        if not chosen:
            raise NexcageError("E_TRUST", f"{', '.join(principals)} signed it, who may not sign this")
        common = ["-n", namespace, "-I", chosen[0], "-s", paths[0], "-f", paths[1], *time_option]
        answer = _call("verify", *common, *(["-r", paths[2]] if revoked else []), data=data)
        if answer.code == 0:
            return chosen[0]
        if revoked and _call("verify", *common, data=data).code == 0:
            line = _unreadable(revoked)
            if line:
                remedy = "correct the file of revoked keys: a key revocation list of ssh-keygen -k, or one public key on each line"
                raise NexcageError("E_TRUST", f"the list of revoked keys cannot be read: {line}, so nobody is trusted", remedy=remedy)
            doubt = ", or the binary list of revoked keys is damaged, which ssh-keygen -Q -l -f tells" if revoked.startswith(_KRL) else ""
            raise NexcageError("E_TRUST", f"the key of {chosen[0]} is revoked{doubt}")
    said = runtime.message(answer.error + answer.output.decode("utf-8", "replace"))
    raise NexcageError("E_SIGNATURE", f"the signature is not one of {chosen[0]} for these bytes and {namespace}: {said}")


def sign(data: bytes, key_file: str, namespace: str) -> bytes:
    """The armored signature of ``data``.

    Args:
        data: What to sign.
        key_file: A private key without a passphrase, readable by its owner alone.
        namespace: ``PLUGIN`` or ``INDEX``.

    Raises:
        NexcageError: ``E_SIGNATURE`` with the words of ssh-keygen.
    """
    path = os.path.abspath(key_file)
    answer = _call("sign", "-f", path, "-n", namespace, data=data)
    if answer.code != 0 or not _ARMOR.fullmatch(answer.output):
        remedy = "give a private SSH key without a passphrase that only you can read (chmod 0600)"
        raise NexcageError("E_SIGNATURE", f"{path} does not sign: {runtime.message(answer.error)}", value=key_file, remedy=remedy)
    return answer.output


def program() -> str:
    """The absolute path of ssh-keygen; only root can change it or a folder on the way to it.

    Raises:
        NexcageError: ``E_SIGNATURE`` where it is missing, ``E_INTEGRITY`` or ``E_BINARY`` where somebody else could
            have put it there.
    """
    try:
        path = found = runtime.program(PROGRAM)
    except NexcageError as error:
        missing = "is not installed" in error.message
        raise NexcageError("E_SIGNATURE" if missing else error.code, error.message, remedy=USE_A_PIN if missing else error.remedy) from None
    while True:  # each link on the way lies in a folder too
        os.close(guarded.open_folder(os.path.dirname(path)))
        if not os.path.islink(path):
            return found
        path = os.path.join(os.path.dirname(path), os.readlink(path))


@contextlib.contextmanager
def _temporary(folder: str) -> t.Iterator[str]:
    """A folder of nexcage's own that is gone afterwards."""
    store.ensure_folder(folder)
    store.refuse_others(folder)
    try:
        place = tempfile.mkdtemp(prefix="verify-", dir=folder)
    except OSError as error:
        raise store.failure(error, f"{folder} cannot be used") from error
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _unreadable(revoked: bytes) -> str:
    """What in a list of revoked keys is neither a key nor a comment; empty where nothing is. Of a binary list only ssh-keygen can tell."""
    if revoked.startswith(_KRL):
        return "" if len(revoked) > _KRL_HEADER else "it was cut off"
    for number, line in enumerate(revoked.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith(b"#") and not _KEY.search(line):
            return f"line {number} is no public key"
    return ""


def _put(place: str, name: str, content: bytes) -> str:
    path = f"{place}/{name}"
    store.atomic_write(path, content, sync=False)
    return path


def _call(operation: str, *arguments: str, data: bytes = b"") -> runtime.Answer:
    """Run ``ssh-keygen -Y`` with an environment of ours, and no terminal that it could ask on."""
    path = program()
    try:
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            [path, "-Y", operation, *arguments],
            input=data,
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            timeout=TIMEOUT,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NexcageError("E_TIMEOUT", f"{path} -Y {operation} did not end within {TIMEOUT:g} s", value=path) from None
    error = ended.stderr.decode("utf-8", "replace")
    if ended.returncode != 0 and any(text in error for text in _TOO_OLD):
        raise NexcageError("E_SIGNATURE", f"{path} is too old: it has no '-Y {operation}', which came with OpenSSH 8.2", remedy=USE_A_PIN)
    return runtime.Answer(ended.returncode, ended.stdout, error)
