# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's code on a host, where Ansible's payload carries a module and this file alone.

The action plugins name the code by its digest (``_code`` beside the module's options). It lies in nexcage's cache
folder, where an earlier task kept it (``broker.kept_code``), or comes with a second call (``_code_data``).
Beside it lies what was compiled of it, for each Python: Python's own ``__pycache__``, which it has not for
code out of an archive. What is taken lies in a folder and in files that nobody but this user can change, and
the archive has the very digest that the controller named.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import importlib.util
import json
import marshal
import os
import stat
import sys
import typing as t
import zlib
from importlib.machinery import ModuleSpec

if t.TYPE_CHECKING:
    from types import CodeType, ModuleType

BASE = __name__.rpartition(".worker.")[0] + "."  # module_utils
DIGEST = 32  # bytes of SHA-256, which stands before compiled code
MISSING = "code_missing"  # in a result: send it
ALONE = "the code of the collection nexcage.backends did not come with this module: call it by its name in a task, so that its action plugin sends it"


def folder(environment: t.Mapping[str, str]) -> str:
    """Where code is kept: ``code`` in :attr:`Layout.cache`, told without the module that knows it."""
    prefix = environment.get("NEXCAGE_ROOT", "")
    if prefix or os.geteuid() == 0:
        return prefix.rstrip("/") + "/var/cache/nexcage/code"
    return (environment.get("XDG_CACHE_HOME") or environment.get("HOME", "/").rstrip("/") + "/.cache").rstrip("/") + "/nexcage/code"


def compiled_name(digest: str) -> str:
    """The file of what this very Python compiled; code of another one cannot be read."""
    return f"{digest}.{sys.implementation.cache_tag}-{importlib.util.MAGIC_NUMBER.hex()}"


class Code:
    """Finds and loads the modules of this collection; the import system asks it first.

    Args:
        digest: SHA-256 of the archive, hexadecimal.
        archive: The archive of that digest: zlib-compressed JSON, path below ``module_utils`` to source.
        compiled: Path to marshalled code, what is kept of it; ``None`` where the archive was sent.
    """

    def __init__(self, digest: str, archive: bytes, compiled: dict[str, bytes] | None = None) -> None:
        self.digest = digest
        self.sent = archive if compiled is None else None
        self.kept = compiled or {}
        self.compiled: dict[str, bytes] = {}
        self._archive = archive
        self._sources: dict[str, str] | None = None

    def sources(self) -> dict[str, str]:
        """The archive's files."""
        if self._sources is None:
            self._sources = t.cast("dict[str, str]", json.loads(zlib.decompress(self._archive)))
        return self._sources

    def find_spec(self, name: str, path: t.Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What Python's import system wants to know of a module; ``None`` leaves it to others."""
        file = self._file(name)
        if file is None:
            return None
        found = t.cast("t.Any", self)  # typeshed's protocol asks for what is long deprecated
        spec = ModuleSpec(name, found, origin=file, is_package=file.endswith("/__init__.py"))
        spec.has_location = True  # a label for tracebacks, not a path: nothing looks for a file there
        return spec

    def _file(self, name: str) -> str | None:
        if not name.startswith(BASE):
            return None
        place = name[len(BASE) :].replace(".", "/")
        for known in (lambda: self.kept, self.sources):
            for file in (place + ".py", place + "/__init__.py"):
                if file in known():
                    return file
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The usual kind of module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code in it."""
        exec(self.get_code(module.__name__), module.__dict__)

    def is_package(self, name: str) -> bool:
        """Whether modules lie below it."""
        return (self._file(name) or "").endswith("/__init__.py")

    def get_source(self, name: str) -> str | None:
        """The text of a module, by its full name."""
        file = self._file(name)
        return self.sources().get(file) if file else None

    def get_code(self, name: str) -> CodeType:
        """The compiled code of a module, by its full name: kept, or made now.

        Raises:
            ImportError: There is no such module.
        """
        file = self._file(name)
        if file is None:
            raise ImportError(f"no module {name}", name=name)
        kept = self.kept.get(file) or self.compiled.get(file)
        if kept is None:
            kept = self.compiled[file] = marshal.dumps(compile(self.sources()[file], file, "exec", dont_inherit=True, optimize=2))
        return t.cast("CodeType", marshal.loads(kept))

    def kept_code(self, name: str) -> bytes | None:
        """The same, marshalled, for a process of ``sys.executable``; ``None`` where it is not kept, or that is another Python."""
        return self.kept.get(self._file(name) or "") if _own_executable() else None


def _own_executable() -> bool:
    """Whether ``sys.executable`` is this very program, and not what a made-up ``argv[0]`` led to, or an upgrade put there."""
    try:
        return os.path.samefile(sys.executable, "/proc/self/exe")
    except OSError:
        return False


def kept(digest: str, place: str) -> Code | None:
    """The code that is kept on this host; ``None`` where there is none that can be trusted.

    Args:
        digest: SHA-256 of the archive.
        place: The folder; it and the files must belong to this user, and nobody else may write there or change the way to it.
    """
    try:
        if not trusted(place):
            return None
        directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        archive = _read(digest, directory)
        return Code(digest, archive, _compiled(digest, directory)) if hashlib.sha256(archive).hexdigest() == digest else None
    finally:
        os.close(directory)


def _read(name: str, directory: int) -> bytes:
    """A file that only this user can change; nothing where there is none."""
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory), "rb") as file:
            facts = os.fstat(file.fileno())
            return file.read() if stat.S_ISREG(facts.st_mode) and _private(facts) else b""
    except OSError:
        return b""


def _compiled(digest: str, directory: int) -> dict[str, bytes]:
    data = _read(compiled_name(digest), directory)
    body = data[DIGEST:]
    return t.cast("dict[str, bytes]", marshal.loads(body)) if hashlib.sha256(body).digest() == data[:DIGEST] else {}


def trusted(place: str) -> bool:
    """Whether a folder is this user's and real, and nobody else may write there or change the way to it.

    Raises:
        OSError: There is no such folder.
    """
    facts = os.lstat(place)
    return stat.S_ISDIR(facts.st_mode) and _private(facts) and _guarded(place)


def _private(facts: os.stat_result) -> bool:
    return facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _guarded(path: str) -> bool:
    """Whether every folder and link on the way is root's or this user's, and others cannot exchange what lies in it.

    Else they could lead to something that is root's, but whose content they chose: a container's files.
    """
    while True:
        facts = os.lstat(path)
        link = stat.S_ISLNK(facts.st_mode)
        shared = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX and not link
        if shared or facts.st_uid not in (0, os.geteuid()):
            return False
        if link and not _guarded(os.path.join(os.path.dirname(path), os.readlink(path))):
            return False
        if not path.strip("/"):
            return True
        path = os.path.dirname(path)


def begin(ansible_module: t.Any) -> None:
    """Make the collection's code importable; the first thing that a module does.

    Ends the module where the code has to be sent first.

    Args:
        ansible_module: The class ``AnsibleModule``: nothing below the modules imports it.
    """
    basic: t.Any = sys.modules.get("ansible.module_utils.basic")
    if basic is None or basic._ANSIBLE_ARGS is None:
        return  # not out of a payload: looked at by a tool
    parameters = basic._load_params()
    digest, data = parameters.get("_code"), parameters.get("_code_data")
    if digest is None and importlib.util.find_spec(BASE + "manager") is None:
        _end(ansible_module, parameters, ALONE)
    if digest is None:
        return
    found = _found(digest, data)
    if found is None:
        _end(ansible_module, parameters, "the code of the collection nexcage.backends is not on this host yet", **{MISSING: True})
    _hide(basic, parameters)
    sys.meta_path[:] = [t.cast("t.Any", found), *(entry for entry in sys.meta_path if not isinstance(entry, Code))]


def _found(digest: str, data: str | None) -> Code | None:
    """The code of a digest: what is loaded from already, what is kept, or what was sent."""
    current = code()
    if current and current.digest == digest:
        return current
    found = kept(digest, folder(os.environ))
    if found or not data:
        return found
    sent = base64.b64decode(data)
    if hashlib.sha256(sent).hexdigest() != digest:
        raise ImportError("the code of nexcage that was sent is not what was named")
    return Code(digest, sent)


def _hide(basic: t.Any, parameters: dict[str, t.Any]) -> None:
    """Give the next ``AnsibleModule`` the options of the module alone."""
    load = basic._load_params

    def once() -> dict[str, t.Any]:
        basic._load_params = load
        return {name: value for name, value in parameters.items() if name not in ("_code", "_code_data")}

    basic._load_params = once


def _end(ansible_module: t.Any, parameters: t.Mapping[str, t.Any], message: str, **more: t.Any) -> t.NoReturn:
    """End the module; nothing of the parameters is told, since which of them are secret is not known here."""
    hidden = {name: {"type": "raw", "no_log": True} for name in parameters if not name.startswith("_ansible_")}
    ansible_module(argument_spec=hidden, supports_check_mode=True).fail_json(msg=message, **more)
    raise SystemExit(1)  # for those who replace fail_json


def part(name: str) -> t.Any:
    """A module of the collection by its name below ``module_utils``, at hand after :func:`begin`.

    Not an import statement: what those name Ansible sends with every task.
    """
    return importlib.import_module(BASE + name)


def code() -> Code | None:
    """What this process loads from; ``None`` where the collection is installed here."""
    return next((entry for entry in sys.meta_path if isinstance(entry, Code)), None)
