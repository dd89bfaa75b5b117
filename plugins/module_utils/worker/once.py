# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling each of our modules once on a host, instead of twice in every task.

Python keeps compiled modules beside their source, but not for a zip file such as Ansible's payload, which it
compiles anew in every task; and twice, the first time only to learn a file's name while it is looked for
(``zipimporter.get_filename``, called by ``importlib.util.spec_from_loader``). The finder here names the file
itself, and takes compiled code from nexcage's own cache folder where an earlier run kept it
(``broker.compiled``; only a run that changed something writes). What is taken was kept for exactly these
bytes of the payload and this Python, in a folder and a file that nobody but this user can change.
"""

from __future__ import annotations

import hashlib
import importlib.util
import marshal
import os
import stat
import sys
import typing as t
import zipimport

if t.TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

COLLECTION = __name__.rpartition(".plugins.")[0] + "."
DIGEST = 32  # bytes of SHA-256, which stands before the content of the file
_HEADER = 30  # bytes of a local file header, its variable part not counted (APPNOTE.TXT 4.3.7)


def folder(environment: t.Mapping[str, str]) -> str:
    """Where compiled code is kept: ``code`` in :attr:`Layout.cache`, told without compiling the module that knows it."""
    prefix = environment.get("NEXCAGE_ROOT", "")
    if prefix or os.geteuid() == 0:
        return prefix.rstrip("/") + "/var/cache/nexcage/code"
    return (environment.get("XDG_CACHE_HOME") or environment.get("HOME", "/").rstrip("/") + "/.cache").rstrip("/") + "/nexcage/code"


def file_name() -> str:
    """The file of this very Python; code of another one cannot be read."""
    return f"{sys.implementation.cache_tag}-{importlib.util.MAGIC_NUMBER.hex()}"


def read(place: str) -> dict[bytes, bytes]:
    """Compiled code by the digest of what it was made of; empty where there is none that can be trusted.

    Args:
        place: The folder; it and the file must belong to this user, and nobody else may write there or change the way to it.
    """
    descriptors: list[int] = []
    try:
        if not (_guarded(place) and _guarded(os.path.realpath(place))):
            return {}
        descriptors.append(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        descriptors.append(os.open(file_name(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=descriptors[0]))
        facts = [os.fstat(descriptor) for descriptor in descriptors]
        if any(fact.st_uid != os.geteuid() or fact.st_mode & 0o022 for fact in facts) or not stat.S_ISREG(facts[1].st_mode):
            return {}
        with open(descriptors.pop(), "rb") as file:
            data = file.read()
    except OSError:
        return {}
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    body = data[DIGEST:]
    return marshal.loads(body) if hashlib.sha256(body).digest() == data[:DIGEST] else {}


def _guarded(path: str) -> bool:
    """Whether every folder and link on the way is root's or this user's, and others cannot exchange what lies in it.

    Else they could lead to something that is root's, but whose content they chose: a container's files.
    """
    while True:
        facts = os.lstat(path)
        shared = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX and not stat.S_ISLNK(facts.st_mode)
        if shared or facts.st_uid not in (0, os.geteuid()):
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


class Finder:
    """Finds modules of this collection in a zip file, and leaves all others to Python.

    Args:
        kept: What :func:`read` found.
    """

    def __init__(self, kept: dict[bytes, bytes]) -> None:
        self.kept = kept
        self.used: set[bytes] = set()
        self.compiled: dict[bytes, bytes] = {}
        self._loaders: dict[str, Loader] = {}
        self._archives: dict[str, bytes] = {}

    def find_spec(self, name: str, path: t.Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The import system asks here first."""
        if path is None or not name.startswith(COLLECTION):
            return None
        for entry in path:
            try:
                loader = self._loaders.get(entry) or Loader(self, zipimport.zipimporter(entry))
                package = loader.is_package(name)
            except zipimport.ZipImportError:
                continue
            self._loaders[entry] = loader
            place = f"{entry}/{name.rpartition('.')[2]}"
            file = place + ("/__init__.py" if package else ".py")
            found = t.cast("t.Any", loader)  # typeshed's protocol asks for what is long deprecated
            return importlib.util.spec_from_file_location(name, file, loader=found, submodule_search_locations=[place] if package else None)
        return None

    def code(self, archive: str, file: str, source: t.Callable[[], str]) -> CodeType:
        """The compiled code of one file of the archive, kept or made now.

        Args:
            archive: Path of the zip file.
            file: Path in it.
            source: Gives the text, where it must be compiled.
        """
        kept = self.take(archive, file)
        if kept is not None:
            return t.cast("CodeType", marshal.loads(kept))
        # The path is a label for tracebacks; without the archive's, which is another one in every task.
        code = compile(source(), file, "exec", dont_inherit=True, optimize=2)
        self.compiled[self._key(archive, file)] = marshal.dumps(code)
        return code

    def take(self, archive: str, file: str) -> bytes | None:
        """The marshalled code of one file of the archive, where it is kept."""
        key = self._key(archive, file)
        self.used.add(key)
        return self.kept.get(key)

    def _key(self, archive: str, file: str) -> bytes:
        """The digest of a file's name and of its bytes in the archive, as they are: compressed."""
        data = self._archives.get(archive)
        if data is None:
            with open(archive, "rb") as stream:
                data = self._archives[archive] = stream.read()
        _path, _method, size, _length, offset = zipimport._zip_directory_cache[archive][file][:5]  # type: ignore[attr-defined]
        names = offset + 26
        begin = offset + _HEADER + int.from_bytes(data[names : names + 2], "little") + int.from_bytes(data[names + 2 : names + 4], "little")
        return hashlib.sha256(b"%s\0%s" % (file.encode(), data[begin : begin + size])).digest()


class Loader:
    """Runs modules of one folder of a zip file."""

    def __init__(self, finder: Finder, importer: zipimport.zipimporter) -> None:
        self._finder = finder
        self._importer = importer
        self.is_package = importer.is_package
        self.get_source = importer.get_source

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The usual kind of module."""
        return None

    def get_code(self, name: str) -> CodeType:
        """The compiled code of a module, by its full name."""
        return self._finder.code(self._importer.archive, self._file(name), lambda: self.get_source(name) or "")

    def kept_code(self, name: str) -> bytes | None:
        """The same, marshalled, for a process of ``sys.executable``; ``None`` where it is not kept, or that is another Python."""
        return self._finder.take(self._importer.archive, self._file(name)) if _own_executable() else None

    def _file(self, name: str) -> str:
        place = self._importer.prefix + name.rpartition(".")[2]
        return place + ("/__init__.py" if self.is_package(name) else ".py")

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code in it."""
        exec(self.get_code(module.__name__), module.__dict__)


def _own_executable() -> bool:
    """Whether ``sys.executable`` is this very program, and not what a made-up ``argv[0]`` led to, or an upgrade put there."""
    try:
        return os.path.samefile(sys.executable, "/proc/self/exe")
    except OSError:
        return False


def compile_once() -> None:
    """Begin, where this very module came out of a zip file; call it before the other imports."""
    if isinstance(globals().get("__loader__"), zipimport.zipimporter) and finder() is None:
        sys.meta_path.insert(0, t.cast("t.Any", Finder(read(folder(os.environ)))))


def finder() -> Finder | None:
    """The finder of this process, ``None`` where the modules did not come out of a zip file."""
    return next((entry for entry in sys.meta_path if isinstance(entry, Finder)), None)
