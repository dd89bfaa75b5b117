# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files below named roots: the calls ``fs.*``.

The manifest names roots, and the operator's setting of the same name says which folder one stands for. A path leads
from there through real folders only: no link is followed, on no part of the way.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import os
import stat
import typing as t

from ..model.effects_extra import FILE_LIMIT
from ..model.errors import NexcageError
from . import beneath
from .quota import Quota

if t.TYPE_CHECKING:
    from ..model.config import Layout

    Arguments = t.Mapping[str, t.Any]

LISTING_LIMIT = 10_000  # entries of one folder
FILE_MODE, FOLDER_MODE = 0o600, 0o700
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Roots:
    """The folders that a plugin's roots stand for.

    Args:
        names: The roots that the manifest names for what is done here, reading or writing.
        config: The operator's settings for the plugin.
        layout: NexCage's own folders; no root may reach them.
    """

    def __init__(self, names: t.Iterable[str], config: t.Mapping[str, t.Any], layout: Layout) -> None:
        self._names = frozenset(names)
        self._config = config
        own = (layout.configuration, layout.state, layout.runtime, layout.cache, os.path.dirname(layout.audit))
        self._own = tuple(os.path.realpath(folder) for folder in own)

    @contextlib.contextmanager
    def folder(self, root: str, path: str = "") -> t.Iterator[int]:
        """A descriptor of a folder below a root, or of the root.

        Raises:
            NexcageError: ``E_CAPABILITY`` for a root that the manifest does not name, ``E_GRANT`` for one that
                the operator has given no folder, ``E_INVALID`` for a folder that cannot be one; ``E_NOT_FOUND``, ``E_FS``.
        """
        place = self._place(root)
        try:
            top = os.open(place, beneath.FOLDER)
        except OSError as error:
            raise NexcageError("E_FS", f"the folder of the root {root} cannot be opened: {error.strerror}", option=f"config.{root}", value=place) from None
        try:
            with translated(root, path):
                folder = beneath.enter(top, path)
        finally:
            os.close(top)
        try:
            yield folder
        finally:
            os.close(folder)

    def _place(self, root: str) -> str:
        if root not in self._names:
            raise NexcageError("E_CAPABILITY", f"the manifest names no root {root} for this", option="root", value=root)
        place = self._config.get(root)
        if place is None:
            remedy = f"set config: {{{root}: /its/folder}} for the plugin"
            raise NexcageError("E_GRANT", f"the root {root} stands for no folder on this host", option="root", value=root, remedy=remedy)
        if not isinstance(place, str) or not place.startswith("/"):
            raise NexcageError("E_INVALID", "not an absolute path", option=f"config.{root}", value=place)
        real = os.path.realpath(place)
        for own in self._own:
            if _overlap(real, own):
                raise NexcageError(
                    "E_INVALID", f"reaches NexCage's own folder {own}", option=f"config.{root}", value=place, remedy="name a folder of its own for the root"
                )
        return real


def _overlap(one: str, other: str) -> bool:
    first, second = one.rstrip("/") + "/", other.rstrip("/") + "/"
    return first.startswith(second) or second.startswith(first)


@contextlib.contextmanager
def translated(root: str, path: str) -> t.Iterator[None]:
    """Turn errors of the system into refusals that name root and path, and not the host's folder."""
    try:
        yield
    except OSError as error:
        where: dict[str, t.Any] = {"option": "path", "value": f"{root}:{path}"}
        if error.errno == errno.ENOENT:
            raise NexcageError("E_NOT_FOUND", "there is no such file or folder", **where) from None
        if error.errno in (errno.ELOOP, errno.EXDEV):
            raise NexcageError("E_FS", "leads through a link, and links are not followed", **where) from None
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise NexcageError("E_SPACE" if full else "E_FS", str(error.strerror), **where) from None


def _split(path: str) -> tuple[str, str]:
    folder, _slash, name = path.rpartition("/")
    return folder, name


class Reader:
    """What reads; see :class:`Roots` for the arguments."""

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    def read(self, arguments: Arguments) -> str:
        """The content of a regular file; the call ``fs.read``.

        Raises:
            NexcageError: ``E_LIMIT`` above 1 MiB; ``E_FS`` for what is no regular file or no text; as :meth:`Roots.folder`.
        """
        root, path = arguments["root"], arguments["path"]
        above, name = _split(path)
        with self._roots.folder(root, above) as folder, translated(root, path):
            data = _content(folder, name, f"{root}:{path}")
        if arguments["encoding"] == "base64":
            return base64.b64encode(data).decode("ascii")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise NexcageError("E_FS", "not UTF-8 text", option="path", value=f"{root}:{path}", remedy="read it with encoding base64") from None

    def list(self, arguments: Arguments) -> list[dict[str, t.Any]]:
        """What lies in a folder; the call ``fs.list``.

        Raises:
            NexcageError: ``E_LIMIT`` above 10,000 entries; as :meth:`Roots.folder`.
        """
        root, path = arguments["root"], arguments["path"]
        found: list[dict[str, t.Any]] = []
        with self._roots.folder(root, path) as folder, translated(root, path), os.scandir(folder) as entries:
            for entry in entries:
                if len(found) >= LISTING_LIMIT:
                    raise NexcageError("E_LIMIT", f"more than {LISTING_LIMIT} entries", option="path", value=f"{root}:{path}")
                with contextlib.suppress(FileNotFoundError):  # somebody just removed it
                    facts = entry.stat(follow_symlinks=False)
                    found.append({"name": _printable(entry.name), "type": beneath.kind(facts), "size": facts.st_size})
        return sorted(found, key=lambda entry: str(entry["name"]))

    def stat(self, arguments: Arguments) -> dict[str, t.Any]:
        """What one of them is; the call ``fs.stat``."""
        root, path = arguments["root"], arguments["path"]
        above, name = _split(path)
        with self._roots.folder(root, above) as folder, translated(root, path):
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False) if name else os.fstat(folder)
        return {"type": beneath.kind(facts), "size": facts.st_size, "mode": stat.S_IMODE(facts.st_mode), "modified": round(facts.st_mtime, 3)}


def _printable(name: str) -> str:
    """A name as JSON can carry it; one that is no UTF-8 cannot be asked for anyway."""
    return os.fsencode(name).decode("utf-8", "replace")


def _content(folder: int, name: str, shown: str) -> bytes:
    """Looked at before it is opened, as opening a device may do something, and again after it."""
    _regular(os.stat(name, dir_fd=folder, follow_symlinks=False), shown)
    descriptor = os.open(name, _READ, dir_fd=folder)
    try:
        _regular(os.fstat(descriptor), shown)
        parts, size = [], 0
        while True:
            part = os.read(descriptor, 1 << 18)
            parts.append(part)
            size += len(part)
            if size > FILE_LIMIT:
                raise NexcageError("E_LIMIT", f"larger than {FILE_LIMIT} bytes", option="path", value=shown)
            if not part:
                return b"".join(parts)
    finally:
        os.close(descriptor)


def _regular(facts: os.stat_result, shown: str) -> None:
    found = beneath.kind(facts)
    if found == "link":
        raise NexcageError("E_FS", "leads through a link, and links are not followed", option="path", value=shown)
    if found != "file":
        raise NexcageError("E_FS", "not a regular file", option="path", value=shown)


class Writer:
    """What writes.

    Args:
        roots: The roots that may be written to.
        layout: Where the account of the plugin's files lies.
        plugin: The plugin's name.
        limit: Bytes that its files may take in all.
    """

    def __init__(self, roots: Roots, layout: Layout, plugin: str, limit: int) -> None:
        self._roots = roots
        self._quota = Quota(layout, plugin, limit, self._measure)

    def write(self, arguments: Arguments) -> dict[str, bool]:
        """Have a file with a content, as a whole or not at all; the call ``fs.write``.

        Mode and owner of a file that is there stay, unless ``mode`` says otherwise; a new one is 0600.

        Raises:
            NexcageError: ``E_LIMIT`` above 1 MiB or beyond the quota, ``E_FS`` where something else than a regular file is there.
        """
        root, path = arguments["root"], arguments["path"]
        data = _decoded(arguments)
        above, name = _split(path)
        with self._roots.folder(root, above) as folder, translated(root, path):
            old = _facts(folder, name)
            if old is not None:
                _regular(old, f"{root}:{path}")
                if _same(folder, name, old, data, arguments["mode"]):
                    return {"changed": False}
            with self._quota.charge(f"{root}/{path}", len(data)):
                _replace(folder, name, data, old, arguments["mode"])
        return {"changed": True}

    def mkdir(self, arguments: Arguments) -> dict[str, bool]:
        """Have a folder, and those above it; the call ``fs.mkdir``."""
        root, path, mode = arguments["root"], arguments["path"], arguments["mode"]
        changed, above = False, ""
        for step in path.split("/"):
            below = f"{above}/{step}" if above else step
            with self._roots.folder(root, above) as folder, translated(root, below):
                facts = _facts(folder, step)
                if facts is None:
                    with self._quota.charge(f"{root}/{below}", 0):
                        _make(folder, step, FOLDER_MODE if mode is None else mode)
                    changed = True
                elif beneath.kind(facts) != "folder":
                    raise NexcageError("E_FS", "there is something else than a folder", option="path", value=f"{root}:{below}")
            above = below
        return {"changed": changed}

    def remove(self, arguments: Arguments) -> dict[str, bool]:
        """Have no such file, link or empty folder; the call ``fs.remove``."""
        root, path = arguments["root"], arguments["path"]
        above, name = _split(path)
        try:
            with self._roots.folder(root, above) as folder, translated(root, path):
                facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if beneath.kind(facts) == "folder":
                    os.rmdir(name, dir_fd=folder)
                else:
                    os.unlink(name, dir_fd=folder)
        except NexcageError as error:
            if error.code != "E_NOT_FOUND":
                raise
            return {"changed": False}
        self._quota.release(f"{root}/{path}")
        return {"changed": True}

    def _measure(self, name: str) -> int | None:
        """The size of what was written, for the account; a root that is gone counts nothing."""
        root, _slash, path = name.partition("/")
        above, last = _split(path)
        try:
            with self._roots.folder(root, above) as folder:
                facts = _facts(folder, last)
        except (NexcageError, OSError):
            return None
        return None if facts is None else facts.st_size if beneath.kind(facts) == "file" else 0


def _decoded(arguments: Arguments) -> bytes:
    content: str = arguments["content"]
    try:
        data = base64.b64decode(content, validate=True) if arguments["encoding"] == "base64" else content.encode("utf-8")
    except (binascii.Error, ValueError):
        raise NexcageError("E_INVALID", "not base64", option="content") from None
    if len(data) > FILE_LIMIT:
        raise NexcageError("E_LIMIT", f"{len(data)} bytes, and {FILE_LIMIT} are allowed", option="content")
    return data


def _facts(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _same(folder: int, name: str, old: os.stat_result, data: bytes, mode: int | None) -> bool:
    if old.st_size != len(data) or mode not in (None, stat.S_IMODE(old.st_mode)):
        return False
    return _content(folder, name, name) == data


def _make(folder: int, name: str, mode: int) -> None:
    os.mkdir(name, 0o700, dir_fd=folder)
    made = os.open(name, beneath.FOLDER, dir_fd=folder)
    try:
        os.fchmod(made, mode)  # whatever the umask
    finally:
        os.close(made)


def _replace(folder: int, name: str, data: bytes, old: os.stat_result | None, mode: int | None) -> None:
    """Put a whole new file in the place of an old one or of none."""
    kept = FILE_MODE if old is None else stat.S_IMODE(old.st_mode) & 0o777
    temporary = f".nexcage-{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _NEW, 0o600, dir_fd=folder)
    try:
        try:
            if old is not None and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, kept if mode is None else mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    os.fsync(folder)


def read_handlers(roots: Roots) -> dict[str, t.Callable[[Arguments], t.Any]]:
    """The calls that change nothing."""
    reader = Reader(roots)
    return {"fs.read": reader.read, "fs.list": reader.list, "fs.stat": reader.stat}


def write_handlers(writer: Writer) -> dict[str, t.Callable[[Arguments], t.Any]]:
    """The calls that change something."""
    return {"fs.write": writer.write, "fs.mkdir": writer.mkdir, "fs.remove": writer.remove}
