# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime's command line: where the program is, how it is called, what it answered."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import typing as t

from ...model.errors import NexcageError

# Absolute and root's own: nothing of the caller's PATH decides what runs.
FOLDERS = ("/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/usr/libexec/podman", "/bin", "/sbin")  # what the operator put there comes first
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
TIMEOUT = 60.0  # seconds, for one call that normally takes 3 to 25 ms
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_OPTION = re.compile(r"--[a-z][a-z0-9-]{0,63}(?:=[^\s\x00-\x1f\x7f]{0,256})?")
_NOISE = re.compile(r'^(?:time="[^"]*" level=\w+ msg=|\d{4}-\d\d-\d\dT[\d:.]+Z:\s*)')


class Answer(t.NamedTuple):
    """What a call ended with: exit code, standard output, error text."""

    code: int
    output: bytes
    error: str


def program(name: str) -> str:
    """The absolute path of a program in the system's folders, or of one that the operator named by its path.

    Raises:
        NexcageError: ``E_INVALID`` for a name that is no name, ``E_BINARY`` where it is missing or
            where somebody other than root could have put it there.
    """
    folder, slash, base = name.rpartition("/")
    if not _NAME.fullmatch(base) or (slash and not folder.startswith("/")):
        raise NexcageError("E_INVALID", f"{name!r} is not the name of a program")
    places = (folder,) if slash else FOLDERS
    for place in places:
        path = f"{place}/{base}"
        try:
            facts = os.stat(path)
        except OSError:
            continue
        if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & 0o111:
            continue
        if facts.st_uid != 0 or facts.st_mode & 0o022:
            raise NexcageError("E_BINARY", f"{path} can be changed by others than root", remedy=f"chown root {path}; chmod go-w {path}")
        return path
    raise NexcageError("E_BINARY", f"{name} is not installed (looked in {', '.join(places)})", value=name)


def message(text: str) -> str:
    """The runtime's own words without time stamp and level, the last five lines at most."""
    lines = [_NOISE.sub("", line).strip().strip('"').replace('\\"', '"') for line in text.splitlines()]
    return "; ".join([line for line in lines if line][-5:]) or "no message"


def call(argv: list[str], timeout: float = TIMEOUT) -> Answer:
    """Run a short-lived program to its end and return what it said.

    Raises:
        NexcageError: ``E_TIMEOUT``; the program was killed.
    """
    with subprocess.Popen(  # pylint: disable=ansible-bad-function
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd="/",
    ) as child:
        try:
            output, error = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            raise NexcageError("E_TIMEOUT", f"{argv[0]} did not end within {timeout:g} s", value=argv[0]) from None
        return Answer(child.returncode, output, error.decode("utf-8", "replace"))


def checked_option(text: t.Any) -> str:
    """One global option of a runtime as the operator wrote it.

    Raises:
        NexcageError: ``E_INVALID``.
    """
    if not isinstance(text, str) or not _OPTION.fullmatch(text):
        raise NexcageError("E_INVALID", "not an option of a runtime", option="runtime_options", value=str(text), remedy="write each as --name or --name=value")
    if text.partition("=")[0] in ("--root", "--systemd-cgroup"):
        raise NexcageError("E_INVALID", "this one is nexcage's own to give", option="runtime_options", value=text, remedy="leave it out")
    return text


def traces(root: str, identifier: str) -> list[str]:
    """What a runtime keeps of one container below its root, as paths; nothing where it does not know it.

    crun and runc have a folder of that name; runsc has files whose names begin with it (``FullStateFile`` of gVisor's
    ``runsc/container/state_file.go``).
    """
    usual = f"{root}/{identifier}"
    if os.path.isdir(usual):
        return [usual]
    try:
        return [f"{root}/{entry}" for entry in os.listdir(root) if entry.startswith(identifier)]
    except OSError:
        return []


class Runtime:
    """One OCI runtime with its private root.

    Args:
        name: The program, such as ``crun``, or its absolute path.
        root: Its ``--root``: absolute, as crun resolves a relative one differently per command.
        options: Global options that the operator set, such as ``--network=none`` of runsc.

    Raises:
        NexcageError: ``E_INVALID`` for what is no such option.
    """

    __slots__ = ("_path", "name", "options", "root", "wanted")

    def __init__(self, name: str, root: str, options: t.Sequence[str] = ()) -> None:
        self.name = name.rpartition("/")[2]
        self.wanted = name
        self.root = root
        self.options = tuple(checked_option(option) for option in options)
        self._path = ""

    @property
    def freezes(self) -> bool:
        """Whether a container that it pauses is surely frozen by the kernel, where we see it; any other runtime is asked."""
        return self.name.startswith(("crun", "runc"))

    @property
    def sandboxed(self) -> bool:
        """Whether the processes of its containers are not processes of this host's kernel."""
        return self.name.startswith("runsc")

    @classmethod
    def recorded(cls, record: t.Mapping[str, t.Any], root: str) -> Runtime:
        """The runtime that made a container, as the container's record names it."""
        return cls(str(record.get("runtime_path") or record["runtime"]), root, record.get("runtime_options") or ())

    def names(self) -> dict[str, t.Any]:
        """What :meth:`recorded` needs in a record; the path and the options only where the operator set them."""
        path = {"runtime_path": self.wanted} if "/" in self.wanted else {}
        return {"runtime": self.name, **path, **({"runtime_options": list(self.options)} if self.options else {})}

    @property
    def path(self) -> str:
        """The program's absolute path.

        Raises:
            NexcageError: ``E_BINARY``.
        """
        if not self._path:
            self._path = program(self.wanted)
        return self._path

    def argv(self, *arguments: str) -> list[str]:
        """The command line of one call."""
        return [self.path, "--root", self.root, *self.options, *arguments]

    def call(self, *arguments: str, timeout: float = TIMEOUT) -> Answer:
        """Run one command that leaves nothing running behind it."""
        return call(self.argv(*arguments), timeout)

    def check(self, *arguments: str) -> bytes:
        """Run one command that has to succeed, and return its output.

        Raises:
            NexcageError: ``E_RUNTIME`` with the runtime's words.
        """
        answer = self.call(*arguments)
        if answer.code != 0:
            raise NexcageError("E_RUNTIME", f"{self.name} {arguments[0]}: {message(answer.error)}")
        return answer.output

    def entries(self, wanted: t.Sequence[str]) -> dict[str, dict[str, t.Any]]:
        """What the runtime knows, by id, in one call; none where it has never had a container.

        Args:
            wanted: The ids of interest. A single one is asked for by itself: runc reads all it has for a list, which
                takes 17 ms with 20 containers instead of 5.

        Raises:
            NexcageError: ``E_BINARY``, ``E_TIMEOUT`` or ``E_RUNTIME``.
        """
        if len(wanted) == 1:
            if not self.knows(wanted[0]):
                return {}
            found = self._state(wanted[0])
            if found is not None:
                return {wanted[0]: found}
        try:
            if not os.listdir(self.root):
                return {}
        except FileNotFoundError:
            return {}
        output = self.check("list", "--format", "json")  # runsc has no -f
        try:
            return {entry["id"]: _checked(entry) for entry in json.loads(output) or []}
        except (ValueError, TypeError, KeyError) as error:
            raise NexcageError("E_RUNTIME", f"{self.name} list: unexpected answer ({error})") from error

    def knows(self, identifier: str) -> bool:
        """Whether the runtime keeps anything of one container, without asking it."""
        return bool(traces(self.root, identifier))

    def status(self, identifier: str) -> str:
        """The status the runtime gives one container: created, running, paused or stopped; empty where unknown."""
        found = self._state(identifier) if self.knows(identifier) else None
        return str(found["status"]) if found else ""

    def _state(self, identifier: str) -> dict[str, t.Any] | None:
        """One container as the runtime shows it, ``None`` where it does not."""
        answer = self.call("state", "--", identifier)
        try:
            return _checked(json.loads(answer.output)) if answer.code == 0 else None
        except (ValueError, TypeError, KeyError):
            return None


def _checked(entry: t.Any) -> dict[str, t.Any]:
    """A container as a runtime shows it, where it has the shape of one; else ``TypeError`` or ``KeyError``."""
    if not isinstance(entry, dict) or not isinstance(entry["status"], str) or not isinstance(entry.get("pid", 0), int):
        raise TypeError("not the state of a container")
    return entry
