# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The throw-away guest of the virtual machine tests: its image, its emulator, its power switch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
}
USER = "tester"


class MachineError(Exception):
    """The guest could not be built, did not come up or did not answer."""


def humble() -> None:
    """In a new process: leave the processor to others, and end when the parent does."""
    os.nice(10)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def install_tools() -> None:
    """Install what the build and the emulator need where something is missing (root on Debian)."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MachineError("missing: " + " ".join(missing) + "; install these packages first")
    command = ["apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", *missing]
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
        subprocess.run(["apt-get", "update", "--quiet=2"], check=True)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def accelerator() -> str:
    """``kvm`` where the processor shows vmx or svm and /dev/kvm opens, else ``tcg``.

    Some hosts have a /dev/kvm without either flag; it cannot run a distribution's kernel.
    """
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    if not {"vmx", "svm"} & set(flags):
        return "tcg"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return "tcg"
    return "kvm"


def base_image(cache: Path, suite: str) -> tuple[Path, float]:
    """The folder of the built guest and the seconds it took to build (0.0: it was there).

    The key is a hash of the recipe, so a changed recipe builds anew and nothing else does.
    """
    recipe = (HERE / "build-guest").read_bytes() + suite.encode()
    folder = cache / f"{suite}-{hashlib.sha256(recipe).hexdigest()[:16]}"
    if folder.exists():
        return folder, 0.0
    if os.geteuid() != 0:
        raise MachineError("building the guest needs root (a Debian tree has files of many owners)")
    begin = time.monotonic()
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n", encoding="ascii")
    unfinished = cache / f"unfinished-{folder.name}"
    shutil.rmtree(unfinished, ignore_errors=True)
    subprocess.run(
        [str(HERE / "build-guest"), str(unfinished)],
        env=dict(os.environ, SUITE=suite, LC_ALL="C.UTF-8"),
        preexec_fn=humble,
        check=True,
    )
    unfinished.rename(folder)
    for other in cache.glob(f"{suite}-*"):
        if other != folder:
            shutil.rmtree(other)
    return folder, time.monotonic() - begin


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Machine:
    """One guest on one qcow2 overlay; ``boot`` and ``power_cut`` may follow each other."""

    def __init__(self, base: Path, work: Path, memory: int = 1024, processors: int = 1) -> None:
        self.base = base
        self.work = work
        self.accelerator = accelerator()
        self.memory = memory
        self.processors = processors
        self.port = 0
        self.boots = 0
        self._emulator: subprocess.Popen[bytes] | None = None
        self.overlay = work / "overlay.qcow2"
        create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
        subprocess.run([*create, "-b", str(base / "disk.raw"), str(self.overlay)], check=True)

    def _command(self) -> list[str]:
        accelerate = "kvm" if self.accelerator == "kvm" else "tcg,thread=multi,tb-size=256"
        forward = f"user,id=n0,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        return [
            "qemu-system-x86_64", "-machine", "q35", "-accel", accelerate, "-cpu", "max",
            "-m", str(self.memory), "-smp", str(self.processors), "-nodefaults", "-display", "none",
            "-kernel", str(self.base / "kernel"), "-initrd", str(self.base / "initrd"),
            "-append", "console=ttyS0 quiet root=/dev/vda rw panic=-1",
            "-drive", f"if=none,id=d0,format=qcow2,file={self.overlay}",
            "-device", "virtio-blk-pci,drive=d0", "-netdev", forward,
            "-device", "virtio-net-pci,netdev=n0", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.work}/console-{self.boots}.log",
        ]  # fmt: skip

    def boot(self, timeout: float = 240) -> float:
        """Switch the machine on; seconds until a command could be run over SSH."""
        begin = time.monotonic()
        self.port = free_port()
        self.boots += 1
        self._emulator = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, preexec_fn=humble, start_new_session=True)
        self.wait(timeout)
        return time.monotonic() - begin

    def _banner(self) -> bool:
        """Whether the guest's SSH server speaks: the emulator accepts connections long before."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def wait(self, timeout: float = 240) -> None:
        """Wait until a command runs over SSH."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._emulator is None or self._emulator.poll() is not None:
                raise MachineError(f"the emulator has ended, see {self.work}")
            if self._banner() and self.ssh("true", check=False).returncode == 0:
                return
            time.sleep(0.3)
        raise MachineError(f"the guest did not answer within {timeout:.0f} s, see {self.work}")

    def ssh_options(self) -> list[str]:
        """Options of the ssh client: this key, this host key, no other configuration."""
        return [
            "-F", "none", "-i", str(self.base / "id"),
            "-o", f"UserKnownHostsFile={self.base / 'known_hosts'}",
            "-o", "GlobalKnownHostsFile=none", "-o", "HostKeyAlias=nexcage-test-vm",
            "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", "ConnectTimeout=30",
        ]  # fmt: skip

    def ssh(self, command: str, user: str = "root", check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the guest in a session of its own."""
        result = subprocess.run(
            ["ssh", *self.ssh_options(), "-p", str(self.port), f"{user}@127.0.0.1", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if check and result.returncode:
            raise MachineError(f"{command!r} in the guest: {result.returncode} {result.stderr}")
        return result

    def reboot(self, timeout: float = 240) -> float:
        """``systemctl reboot``; seconds until a command of the new boot could be run."""
        begin = time.monotonic()
        read_boot_id = "cat /proc/sys/kernel/random/boot_id"
        before = self.ssh(read_boot_id).stdout
        self.ssh("systemctl reboot", check=False)
        while time.monotonic() - begin < timeout:
            self.wait(timeout)
            after = self.ssh(read_boot_id, check=False)
            if after.returncode == 0 and after.stdout != before:
                return time.monotonic() - begin
            time.sleep(0.3)
        raise MachineError("the guest did not reboot")

    def running(self) -> bool:
        """Whether the emulator lives."""
        return self._emulator is not None and self._emulator.poll() is None

    def power_cut(self) -> None:
        """Kill the emulator's own process, as if the plug were pulled."""
        if self._emulator is not None:
            self._emulator.kill()
            self._emulator.wait()
            self._emulator = None
