# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The peer: containers.podman.podman_container with the distribution's podman, in a private root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
import zipfile
from importlib.metadata import version
from pathlib import Path

from room import COMMAND, KEPT, REPOSITORY, Room

PREFIX = "ansible_collections/containers/podman/"
IMAGE = "localhost/bench:1"
UNIFIED = Path("/sys/fs/cgroup/unified")
# crun refuses only to create where the v2 tree beside v1 has controllers; nothing else pays for the way around it.
SHIM = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = create ]; then
    exec unshare -m --propagation private sh -c 'umount "$0" && exec "$@"' {unified} {crun} "$@"
  fi
done
exec {crun} "$@"
"""


class Peer:
    """podman and its collection; ``problem`` says why there is none."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.folder = room.folder / "podman"
        self.before = self._traces()
        self.problem = self._prepare()

    def _prepare(self) -> str:
        subprocess.run([str(REPOSITORY / "tools" / "apt-install"), "podman"], check=True)
        if not shutil.which("podman"):
            return "podman is not installed"
        try:
            install_collection()
        except (subprocess.CalledProcessError, OSError) as error:
            return f"the collection containers.podman is not there: {error}"
        self._configure()
        archive = self.folder / "image.tar"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", self.room.image, f"docker-archive:{archive}:{IMAGE}"], check=True)
        self.podman("load", "--quiet", "--input", str(archive))
        return ""

    def _configure(self) -> None:
        """Everything that podman writes lies below the room's folder."""
        self.folder.mkdir()
        crun = self.folder / "crun"
        crun.write_text(SHIM.format(unified=UNIFIED, crun=shutil.which("crun")))
        crun.chmod(0o755)
        runtime = crun if UNIFIED.exists() else shutil.which("crun")
        storage, containers = self.folder / "storage.conf", self.folder / "containers.conf"
        storage.write_text(f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/graph"\nrunroot = "{self.folder}/run"\n')
        containers.write_text(
            '[containers]\ndefault_ulimits = ["nofile=4096:8192", "nproc=8192:8192"]\n'
            f'[network]\nnetwork_config_dir = "{self.folder}/networks"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nlock_type = "file"\nruntime = "crun"\n'
            f'tmp_dir = "{self.folder}/tmp"\nstatic_dir = "{self.folder}/static"\nvolume_path = "{self.folder}/volumes"\n'
            f'[engine.runtimes]\ncrun = ["{runtime}"]\n'
        )
        self.room.environment.update(CONTAINERS_CONF=str(containers), CONTAINERS_STORAGE_CONF=str(storage))

    def podman(self, *arguments: str) -> None:
        """One call that must succeed."""
        subprocess.run(["podman", *arguments], check=True, env=self.room.environment, stdout=subprocess.DEVNULL)

    def task(self, state: str) -> dict[str, t.Any]:
        """The same container as ours."""
        values: dict[str, t.Any] = {"name": "{{ item }}", "state": state}
        if state == "started":
            values.update(image=IMAGE, command=COMMAND, memory="64m", env={"GREETING": "hello"}, network="none", stop_signal=9)
        return {"containers.podman.podman_container": values}

    @staticmethod
    def _traces() -> list[Path]:
        """The empty folders that podman and crun make outside the room, the deepest first."""
        groups = Path("/sys/fs/cgroup")
        places = [Path("/run/crun"), *(path for depth in ("", "*/") for path in groups.glob(depth + "libpod_parent*"))]
        return sorted((path for place in places if place.is_dir() for path in (place / "conmon", place) if path.is_dir()), reverse=True)

    def close(self) -> None:
        """Remove its containers and images, and what it made outside the room."""
        if self.folder.exists() and shutil.which("podman"):
            subprocess.run(["podman", "rm", "--all", "--force", "--time", "0"], check=False, env=self.room.environment, stdout=subprocess.DEVNULL)
            subprocess.run(["podman", "rmi", "--all", "--force"], check=False, env=self.room.environment, stdout=subprocess.DEVNULL)
        for path in self._traces():
            if path in self.before:
                continue
            with contextlib.suppress(OSError):  # not empty: somebody else uses it by now
                path.rmdir()


def install_collection() -> None:
    """Take containers.podman out of the package ``ansible`` that belongs to this ansible-core, once."""
    if (KEPT / PREFIX / "MANIFEST.json").exists():
        return
    minor = int(version("ansible-core").split(".")[1])
    requirement = f"ansible=={minor - 7}.*"  # 12 belongs to 2.19, 13 to 2.20, ...
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", folder, requirement]
        subprocess.run(pip, check=True, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as package:
            members = [name for name in package.namelist() if name.startswith(PREFIX)]
            package.extractall(folder, members)
        target = KEPT / PREFIX
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(Path(folder) / PREFIX, target)
