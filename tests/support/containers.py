# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A place for real containers: a private root, a tiny image, and a look for what was left behind."""

from __future__ import annotations

import base64
import glob
import os
import pathlib
import shutil
import tempfile
import time
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.engine import OciEngine
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec

RUNTIMES = ("crun", "runc")
APPLETS = "sh sleep cat echo ls id env hostname tail touch true ps mkdir rm mknod ulimit grep seq head dd".split()
FOREVER = ["/bin/sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.02; done"]
DIGEST = "sha256:" + "5" * 64


def make_image(folder: pathlib.Path) -> dict[str, t.Any]:
    """Busybox as an unpacked image whose command runs until TERM and then exits 3."""
    for name in ("bin", "etc", "tmp", "data"):
        (folder / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "bin" / "busybox")
    for name in APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n")
    (folder / "etc" / "group").write_text("root:x:0:\napp:x:1001:\nextra:x:2000:app\nmore:x:3000:\n")
    config = {"Cmd": FOREVER, "Env": ["COLOUR=blue", "PATH=/bin"]}
    return {"digest": DIGEST, "path": str(folder), "config": {"architecture": "amd64", "config": config}}


class Yard:
    """One private root with an engine for one runtime."""

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime
        self.root = tempfile.mkdtemp(prefix="nx.", dir="/tmp")
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": self.root})
        self.image = make_image(pathlib.Path(self.root, "image", "rootfs"))
        self.engine = self.engine_for(runtime)
        self.seen: set[str] = set()

    def engine_for(self, runtime: str) -> OciEngine:
        """An engine of another runtime over the same state."""
        return OciEngine(self.layout, runtime + "-backend", runtime)

    def create(self, name: str = "web", secrets: dict[str, str] | None = None, **values: t.Any) -> str:
        """Create a container of the image; returns its id."""
        if "bundle" not in values:
            values.setdefault("image", "docker-archive:busybox.tar")
        identifier = self.engine.create(name, ContainerSpec(values), secrets or {}, self.image)["id"]
        self.note()
        return identifier

    def run(self, name: str = "web", **values: t.Any) -> str:
        """Create and start a container; returns its id."""
        identifier = self.create(name, **values)
        self.engine.start(name)
        return identifier

    def shell(self, script: str, name: str = "web", **request: t.Any) -> tuple[int, str, str]:
        """Exit code, output and error text of a script in a container."""
        answer = self.engine.exec(name, {"argv": ["sh", "-c", script], **request})
        return answer["rc"], base64.b64decode(answer["stdout"]).decode(), base64.b64decode(answer["stderr"]).decode()

    def one(self, name: str = "web") -> dict[str, t.Any]:
        """The listing's entry of one container."""
        entries = self.engine.listing([name])
        assert len(entries) == 1, entries
        return entries[0]

    def status(self, name: str = "web") -> str:
        """Its status; empty where there is none."""
        entries = self.engine.listing([name])
        return str(entries[0]["status"]) if entries else ""

    def log(self, name: str = "web", lines: int = 1) -> list[str]:
        """The log's texts, once it has as many lines, or those there are after two seconds."""
        deadline = time.monotonic() + 2
        while True:
            found = [line["text"] for line in self.engine.logs(name)]
            if len(found) >= lines or time.monotonic() > deadline:
                return found
            time.sleep(0.005)

    def note(self) -> None:
        """Remember all generations that are there now, for the look for leftovers."""
        self.seen.update(os.path.basename(path) for path in glob.glob(f"{self.layout.state}/containers/*/*") if os.path.isdir(path))

    def leftovers(self) -> list[str]:
        """Processes, mounts, control groups and files of containers; those that are just ending get two seconds."""
        deadline = time.monotonic() + 2
        while True:
            found = self._leftovers()
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    def _leftovers(self) -> list[str]:
        found = [f"process {pid}: {line}" for pid, line in command_lines() if self.root in line]
        found += [f"mount {line}" for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if self.root in line]
        found += [path for identifier in self.seen for path in glob.glob(f"/sys/fs/cgroup/*/nexcage/{identifier}")]
        state, runtime = self.layout.state, self.layout.runtime
        patterns = (f"{state}/containers/*", f"{runtime}/exits/*", f"{runtime}/conmon/*", f"{runtime}/oci/*/*", f"{runtime}/locks/[!.]*")
        return found + [path for pattern in patterns for path in glob.glob(pattern)]

    def clear(self) -> list[str]:
        """Remove all containers, then the root; what was left behind beside them."""
        self.note()
        for name in sorted(os.listdir(f"{self.layout.state}/containers")) if os.path.isdir(f"{self.layout.state}/containers") else []:
            for runtime in RUNTIMES:
                if self.engine_for(runtime).listing([name]):
                    self.engine_for(runtime).delete(name)
        found = self.leftovers()
        if not any(line.startswith("mount") for line in found):
            shutil.rmtree(self.root, ignore_errors=True)
        return found


def command_lines() -> list[tuple[int, str]]:
    """Pid and command line of all processes that have one."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            line = pathlib.Path(path).read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        found.append((int(path.split("/")[2]), line))
    return [entry for entry in found if entry[1]]
