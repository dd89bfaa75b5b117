# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private root in which modules make real containers, and ways to look at those that are not our own code's."""

from __future__ import annotations

import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import typing as t

import ansible
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import images, modules
from ansible_collections.nexcage.backends.tests.support.containers import command_lines

RUNTIMES = ("crun", "runc")
TRAPS = "trap 'exit 15' TERM; trap 'exit 10' USR1; trap 'exit 12' USR2; echo up"
# Waits without turning: a trap ends the wait at once.
LOOP = TRAPS + "; while :; do sleep 1000 & wait; done"
FOREVER = ["/bin/sh", "-c", LOOP]
CGROUP = "/sys/fs/cgroup"
PYTHON = "/usr/bin/python3"  # that of the tests may lie where nobody can read it
_NOBODY = """
import json, sys
from ansible_collections.nexcage.backends.tests.support import modules
print(json.dumps(modules.run(sys.argv[1], **json.loads(sys.argv[2]))))
"""


def make_image(folder: pathlib.Path, tag: str) -> str:
    """Busybox that runs until a signal, with the tag in the file ``/which``."""
    layout = images.Layout(folder)
    layers = [images.busybox_layer(), images.layer(images.member("which", tag.encode(), mode=0o644))]
    return layout.tag(layout.manifest(layers, {"Cmd": FOREVER, "Env": ["PATH=/bin"]}), tag)


class Host:
    """One private root with two images, tagged ``one`` and ``two``."""

    def __init__(self) -> None:
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="nx.", dir="/tmp"))
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(self.root)})
        self.files = self.root / "files"
        self.files.mkdir()
        self.image, self.other_image = (make_image(self.root / "images", tag) for tag in ("one", "two"))
        self._groups: set[str] = set()

    def converge(self, name: str, **parameters: t.Any) -> modules.Result:
        """The module ``nexcage_container``, which must succeed."""
        given = {key: value for key, value in parameters.items() if value is not None}
        result = modules.works("nexcage_container", name=name, **given)
        group = (result["container"].get("backend_details") or {}).get("cgroup")
        self._groups.update([group] if group else [])
        return result

    def start(self, name: str, backend: str, **parameters: t.Any) -> modules.Result:
        """A container of the first image."""
        return self.converge(name, backend=backend, **{"image": self.image, **parameters})

    def one(self, name: str) -> dict[str, t.Any] | None:
        """What ``nexcage_container_info`` says of one container."""
        found: list[dict[str, t.Any]] = modules.works("nexcage_container_info", name=[name])["containers"]
        return found[0] if found else None

    def kept(self) -> bool:
        """Whether there is any container, without asking the modules."""
        return any(os.scandir(f"{self.layout.state}/containers"))

    def names(self) -> list[str]:
        """Of all containers."""
        return [entry["name"] for entry in modules.works("nexcage_container_info")["containers"]]

    def clear(self) -> list[str]:
        """Remove all containers; what was left of them."""
        for name in self.names():
            self.converge(name, state="absent", force_kill=True)
        deadline = time.monotonic() + 2
        while self._leftovers() and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._leftovers()

    def _leftovers(self) -> list[str]:
        found = [f"process {pid}: {line}" for pid, line in command_lines() if str(self.root) in line]
        found += [f"mount {line}" for line in self.mounts()]
        found += [path for group in self._groups for path in glob.glob(f"{CGROUP}/*{group}") + glob.glob(f"{CGROUP}{group}")]
        state, runtime = self.layout.state, self.layout.runtime
        patterns = (f"{state}/containers/*", f"{runtime}/exits/*", f"{runtime}/conmon/*", f"{runtime}/oci/*/*", f"{runtime}/tasks/*", f"{runtime}/locks/[!.i]*")
        return found + [path for pattern in patterns for path in glob.glob(pattern)]

    def remove(self) -> None:
        """Remove the root."""
        assert not self.mounts()
        shutil.rmtree(self.root)

    def mounts(self) -> list[str]:
        """Below the root."""
        return [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(self.root) in line]

    def situation(self) -> dict[str, t.Any]:
        """Files, mounts and processes, to see that nothing changed."""
        processes = sorted(pid for pid, line in command_lines() if str(self.root) in line)
        return {**modules.snapshot(self.root), "mounts": self.mounts(), "processes": processes}

    def holders(self, needle: str) -> list[str]:
        """The files below the root that hold a text, without the images."""
        found = []
        for path, folders, files in os.walk(self.root):
            folders[:] = [folder for folder in folders if folder != "rootfs" and os.path.join(path, folder) != str(self.files)]
            for name in files:
                file = pathlib.Path(path, name)
                if file.is_file() and needle.encode() in file.read_bytes():
                    found.append(str(file))
        return found


def run_as_nobody(home: pathlib.Path, module: str, **parameters: t.Any) -> modules.Result:
    """A module in a process of uid 65534."""
    tree = pathlib.Path(ansible.__file__).parent.parent
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    words = [PYTHON, "-c", _NOBODY, module, json.dumps(parameters)]
    answer = subprocess.run(words, env=environment, user=65534, group=65534, extra_groups=[], check=False, capture_output=True, cwd="/")
    assert answer.returncode == 0, answer.stderr.decode()
    return modules.Result(json.loads(answer.stdout))


class Process:
    """The first process of a container, through /proc of the host."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.folder = pathlib.Path(f"/proc/{pid}")

    def environment(self) -> dict[str, str]:
        text = (self.folder / "environ").read_text()
        return dict(line.split("=", 1) for line in text.split("\0") if line)

    def command(self) -> list[str]:
        return (self.folder / "cmdline").read_text().split("\0")[:-1]

    def status(self, key: str) -> list[str]:
        """The words after a key of /proc/PID/status."""
        text = (self.folder / "status").read_text()
        match = re.search(rf"^{key}:(.*)$", text, re.MULTILINE)
        assert match, key
        return match.group(1).split()

    def holds(self, capability: int) -> bool:
        """Whether a capability, by number, is in the bounding and the effective set."""
        return all(int(self.status(kind)[0], 16) >> capability & 1 for kind in ("CapBnd", "CapEff"))

    def file(self, path: str) -> str:
        """A file as the container sees it."""
        return (self.folder / "root" / path.lstrip("/")).read_text()

    def link(self, name: str) -> str:
        return os.readlink(self.folder / name)

    def mount(self, target: str) -> list[str]:
        """Type and sorted options, those of the mount and of the file system, of the last mount on a target."""
        found: list[str] = []
        for line in (self.folder / "mountinfo").read_text().splitlines():
            before, _dash, after = line.partition(" - ")
            fields, rest = before.split(), after.split()
            if fields[4] == target:
                found = [rest[0], *sorted({*fields[5].split(","), *rest[2].split(",")})]
        return found

    def limit(self, name: str) -> list[str]:
        """Soft and hard limit by the name in /proc/PID/limits."""
        for line in (self.folder / "limits").read_text().splitlines():
            if line.startswith(name):
                return line[len(name) :].split()[:2]
        raise AssertionError(name)

    def group(self, controller: str, v1: str, v2: str) -> str:
        """A file of the process's own control group."""
        for line in (self.folder / "cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return pathlib.Path(f"{CGROUP}/{controller}{path}/{v1}").read_text().strip()
        assert number == "0"
        return pathlib.Path(f"{CGROUP}{path}/{v2}").read_text().strip()


def lives(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    return os.path.exists(f"/proc/{pid}") and Process(pid).status("State")[0] != "Z"


def process_of(container: t.Mapping[str, t.Any]) -> Process:
    """The container's first process, once it is the container's own program: runtimes return a moment earlier."""
    found = Process(int(container["pid"]))
    deadline = time.monotonic() + 2
    while any(name in found.link("exe") for name in RUNTIMES) and time.monotonic() < deadline:
        time.sleep(0.002)
    return found


def bundle_config(container: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the runtime was given."""
    return t.cast("dict[str, t.Any]", json.loads(pathlib.Path(container["backend_details"]["bundle"], "config.json").read_text()))
