# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two values for every option of the table, and how each is read back from the container itself."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
import typing as t

from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, LOOP, Host, Process, bundle_config, process_of

Container = t.Mapping[str, t.Any]
MIB = 1 << 20
CAP_CHOWN, CAP_KILL, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_TIME, CAP_SYS_ADMIN = 0, 5, 12, 13, 25, 21  # capabilities(7)


class Sample(t.NamedTuple):
    """Values A and B of one option, what reading them back gives, and what else the task says.

    Args:
        first: Value A; a function makes it on the host.
        second: Value B.
        read: From the host and the container's record to what really holds.
        expected: What ``read`` gives with A and with B.
        base: Other parameters, the same in all steps.
    """

    first: t.Any
    second: t.Any
    read: t.Callable[[Host, Container], t.Any]
    expected: tuple[t.Any, t.Any]
    base: dict[str, t.Any] = {}


def _process(read: t.Callable[[Process], t.Any]) -> t.Callable[[Host, Container], t.Any]:
    return lambda host, container: read(process_of(container))


def _runs(*words: str) -> list[str]:
    return [*FOREVER, *words]


def bundle(tag: str) -> t.Callable[[Host], str]:
    """A folder with ``rootfs`` and ``config.json``, as another tool might have made it."""

    def make(host: Host) -> str:
        folder = host.files / f"bundle-{tag}"
        if not folder.exists():
            folder.mkdir()
            store = pathlib.Path(host.layout.state, "images")
            (rootfs,) = [path for path in store.glob("*/rootfs") if (path / "which").read_text() == "one"]
            subprocess.run(["cp", "-a", rootfs, folder / "rootfs"], check=True)
            (folder / "rootfs/which").write_text(tag)
            config = {
                "ociVersion": "1.0.2",
                "root": {"path": "rootfs"},
                "process": {"args": FOREVER, "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
                "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
                "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
            }
            (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    return make


def folder(tag: str) -> t.Callable[[Host], str]:
    def make(host: Host) -> str:
        path = host.files / tag
        path.mkdir(exist_ok=True)
        (path / "which").write_text(tag)
        return str(path)

    return make


def profile(host: Host) -> str:
    """A seccomp profile that lets nobody make a folder."""
    path = host.files / "no-mkdir.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    return str(path)


def lines(name: str, text: str) -> t.Callable[[Host], str]:
    def make(host: Host) -> str:
        (host.files / name).write_text(text)
        return str(host.files / name)

    return make


def _typed(tag: str, **more: t.Any) -> t.Callable[[Host], list[dict[str, t.Any]]]:
    return lambda host: [{"source": folder(tag)(host), "target": "/mnt/here", **more}]


def _mounted(process: Process) -> tuple[str, bool, bool]:
    options = process.mount("/mnt/here")
    return process.file("/mnt/here/which"), "ro" in options, "noexec" in options


def _tmpfs(process: Process) -> tuple[str, bool, bool]:
    options = process.mount("/scratch")
    return options[0], "size=2048k" in options, "noexec" in options


def _variables(*names: str) -> t.Callable[[Host, Container], t.Any]:
    return _process(lambda process: tuple(process.environment().get(name) for name in names))


def _memory(process: Process) -> int:
    return int(process.group("memory", "memory.limit_in_bytes", "memory.max"))


def _swap(process: Process) -> int:
    text = process.group("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    if text == "max" or int(text) > 1 << 62:
        return -1
    return int(text) + (0 if pathlib.Path("/sys/fs/cgroup/memory").exists() else _memory(process))


def _cpus(process: Process) -> float:
    text = process.group("cpu", "cpu.cfs_quota_us", "cpu.max").split()
    if text[0] in ("-1", "max"):
        return -1
    period = text[1] if len(text) > 1 else process.group("cpu", "cpu.cfs_period_us", "cpu.max")
    return int(text[0]) / int(period)


def _shares(process: Process) -> bool:
    """Whether the weight is below the normal one, in the unit of either version."""
    v1 = pathlib.Path("/sys/fs/cgroup/cpu").exists()
    return int(process.group("cpu", "cpu.shares", "cpu.weight")) < (1024 if v1 else 39)


def _hostname(host: Host, container: Container) -> tuple[str, str]:
    words = ["nsenter", "-t", str(container["pid"]), "-u", "hostname"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip(), process_of(container).file("/etc/hostname").strip()


def _seccomp(host: Host, container: Container) -> tuple[str, bool]:
    made = modules.run("nexcage_container_exec", name=container["name"], argv=["/bin/busybox", "mkdir", "-p", "/tmp/a"])
    return process_of(container).status("Seccomp")[0], not made.get("failed")


def _labels(host: Host, container: Container) -> tuple[bool, ...]:
    """Whether it is found by the labels of A, and by those of B."""
    found = (modules.works("nexcage_container_info", labels=labels)["containers"] for labels in ({"tier": "1"}, {"tier": 2, "x": ""}))
    return tuple(container["name"] in [entry["name"] for entry in entries] for entries in found)


def _annotations(host: Host, container: Container) -> tuple[t.Any, t.Any]:
    """What the runtime itself says."""
    root = f"{host.layout.runtime}/oci/{container['backend']}-backend"
    answer = subprocess.run([container["backend"], "--root", root, "state", container["id"]], check=True, capture_output=True).stdout
    told = json.loads(answer)["annotations"]
    assert bundle_config(container)["annotations"].items() <= told.items()
    return told.get("com.example/a"), told.get("com.example/b")


def _stop_signal(host: Host, container: Container) -> int:
    """The traps end with another code for each signal."""
    stopped = host.converge(container["name"], state="stopped")["container"]
    host.converge(container["name"])
    return t.cast(int, stopped["exit_code"])


def _stop_timeout(host: Host, container: Container) -> tuple[int, bool]:
    """SIGWINCH does nothing, so only the time-out ends it."""
    begin = time.monotonic()
    stopped = host.converge(container["name"], state="stopped", kill_signal="WINCH")["container"]
    waited = time.monotonic() - begin >= 1
    host.converge(container["name"])
    return t.cast(int, stopped["exit_code"]), waited


def _network(process: Process) -> bool:
    return process.link("ns/net") == os.readlink("/proc/self/ns/net")


SAMPLES: dict[str, Sample] = {
    "image": Sample(lambda host: host.image, lambda host: host.other_image, _process(lambda process: process.file("/which")), ("one", "two")),
    "bundle": Sample(bundle("here"), bundle("there"), _process(lambda process: process.file("/which")), ("here", "there"), {"image": None}),
    "command": Sample(_runs("a"), _runs("A", "b c"), _process(lambda process: process.command()[3:]), (["a"], ["A", "b c"])),
    "entrypoint": Sample(
        ["/bin/sh", "-c"],
        "/bin/busybox sh -c",
        _process(lambda process: process.command()),
        (["/bin/sh", "-c", LOOP], ["/bin/busybox", "sh", "-c", LOOP]),
        {"command": [LOOP]},
    ),
    "env": Sample({"COLOUR": "red", "NUMBER": 1}, {"COLOUR": "Red"}, _variables("COLOUR", "NUMBER", "PATH"), (("red", "1", "/bin"), ("Red", None, "/bin"))),
    "secret_env": Sample(
        {"TOKEN": "hush-8d1f-first"},
        {"TOKEN": "hush-8d1f-second", "MORE": "hush-8d1f-third"},
        _variables("TOKEN", "MORE"),
        (("hush-8d1f-first", None), ("hush-8d1f-second", "hush-8d1f-third")),
    ),
    "working_dir": Sample("/tmp", "/etc/", _process(lambda process: process.link("cwd")), ("/tmp", "/etc")),
    "user": Sample(
        "nobody", "1000:2000", _process(lambda process: (process.status("Uid")[0], process.status("Gid")[0])), (("65534", "65534"), ("1000", "2000"))
    ),
    "groups": Sample(["nogroup"], ["20", 10], _process(lambda process: sorted(map(int, process.status("Groups")))), ([65534], [10, 20])),
    "hostname": Sample("one", "Two.example", _hostname, (("one", "one"), ("Two.example", "Two.example"))),
    "mounts": Sample(_typed("here"), _typed("there", read_only=True, options=["noexec"]), _process(_mounted), (("here", False, False), ("there", True, True))),
    "memory": Sample("32m", "1.5g", _process(_memory), (32 * MIB, 1536 * MIB)),
    "memory_swap": Sample("64m", "-1", _process(_swap), (64 * MIB, -1), {"memory": "32m"}),
    "cpus": Sample(0.75, "-1", _process(_cpus), (0.75, -1)),
    "cpu_shares": Sample(512, 2048, _process(_shares), (True, False)),
    "cpuset_cpus": Sample("0", "1,0", _process(lambda process: process.status("Cpus_allowed_list")), (["0"], ["0-1"])),
    "cpuset_mems": Sample("0", "0", _process(lambda process: process.status("Mems_allowed_list")), (["0"], ["0"])),
    "pids_limit": Sample(50, 0, _process(lambda process: process.group("pids", "pids.max", "pids.max")), ("50", "max")),
    "ulimits": Sample(
        ["nofile=100:200"],
        ["nofile=300", "core:0"],
        _process(lambda process: (process.limit("Max open files"), process.limit("Max core file size")[1] == "0")),
        ((["100", "200"], False), (["300", "300"], True)),
    ),
    "cap_add": Sample(
        ["NET_ADMIN"],
        ["cap_net_raw", "SYS_TIME"],
        _process(lambda process: [process.holds(number) for number in (CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_TIME)]),
        ([True, False, False], [False, True, True]),
    ),
    "cap_drop": Sample(
        ["CHOWN"], ["ALL"], _process(lambda process: [process.holds(number) for number in (CAP_CHOWN, CAP_KILL)]), ([False, True], [False, False])
    ),
    "privileged": Sample(True, False, _process(lambda process: (process.holds(CAP_SYS_ADMIN), process.status("Seccomp")[0])), ((True, "0"), (False, "2"))),
    "no_new_privileges": Sample(True, False, _process(lambda process: process.status("NoNewPrivs")), (["1"], ["0"])),
    "read_only": Sample(True, False, _process(lambda process: "ro" in process.mount("/")), (True, False)),
    "init": Sample(True, False, _process(lambda process: process.command()[0]), ("/dev/init", "/bin/sh")),
    "seccomp_profile": Sample("unconfined", profile, _seccomp, (("0", True), ("2", False))),
    "labels": Sample({"tier": 1}, {"tier": "2", "x": ""}, _labels, ((True, False), (False, True))),
    "annotations": Sample({"com.example/a": "1"}, {"com.example/a": "A", "com.example/b": "2"}, _annotations, (("1", None), ("A", "2"))),
    "stop_signal": Sample("SIGUSR1", 12, _stop_signal, (10, 12)),
    "stop_timeout": Sample(0, 1, _stop_timeout, ((137, False), (137, True))),
    "network_mode": Sample("host", "none", _process(_network), (True, False)),
    "env_file": Sample(
        lambda host: [lines("one.env", "# colours\nCOLOUR=red green\n\n")(host)],
        lambda host: [lines("one.env", "COLOUR=red green\n")(host), lines("two.env", "COLOUR=blue\n")(host)],
        _variables("COLOUR"),
        (("red green",), ("blue",)),
    ),
    "volumes": Sample(
        lambda host: [folder("here")(host) + ":/mnt/here"],
        lambda host: [folder("there")(host) + ":/mnt/here:ro,noexec"],
        _process(_mounted),
        (("here", False, False), ("there", True, True)),
    ),
    "tmpfs": Sample(["/scratch"], ["/scratch:size=2m,noexec"], _process(_tmpfs), (("tmpfs", False, False), ("tmpfs", True, True))),
}
