# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for ``pct`` does what the recorded one did, with a real shell in a real root folder."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.simulator import pct, process
from ansible_collections.nexcage.backends.tests.simulator.replay import compare

VMID = 170
APPLETS = "sh cat echo printf env pwd id tty dd wc ls kill true".split()
COMMANDS = ("exec", "push", "pull", "status")
# What the recording machine had of its own: the listing of a directory, and what is told of programs that are not there.
OWN = ("ls", "push owner/mode", "exec cwd and user", "status verbose")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[tuple[process.Simulator, pathlib.Path, pathlib.Path]]:
    """A simulator, the program pct of its first node, and the root folder of one container."""
    folder = tmp_path_factory.mktemp("pct")
    root = folder / "roots" / str(VMID)
    for name in ("bin", "etc", "root", "tmp", "dev"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "passwd").chmod(0o644)
    with (root / "dev" / "zero").open("wb") as zero:
        zero.write(bytes(300 * 1024))
    (root / "dev" / "null").touch()
    with process.running("9.2") as simulator:
        pct.install(folder / "pct", simulator.url, simulator.secret, "pve1", folder / "roots")
        simulator.do("guest", vmid=VMID, kind="lxc", config={"arch": "amd64"}, set={"running": True})
        yield simulator, folder / "pct", root


def run(program: pathlib.Path, *words: str, given: bytes | None = None, **more: str) -> subprocess.CompletedProcess[bytes]:
    env = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "HOME": "/root", "LANG": "C.UTF-8", **more}
    return subprocess.run([str(program), *words], input=given or b"", env=env, capture_output=True, timeout=30, check=False)


def plain(text: str) -> str:
    """Without the place in the source of lxc that its messages name."""
    head, mark, tail = text.partition("lxc-attach: ")
    return head + mark + tail.replace("../src/lxc/attach.c: ", "").replace("lxc_attach_run_command: 1841 ", "lxc_attach_run_command: ")


def recorded(folder: pathlib.Path) -> list[dict[str, t.Any]]:
    """What both versions recorded, once where they agree."""
    found: dict[str, dict[str, t.Any]] = {}
    for version in ("8.4", "9.2"):
        for entry in json.loads((folder / "pve-transcripts" / version / "cli.json").read_text())["entries"]:
            told = {**entry, "seconds": 0, "stderr": plain(entry["stderr"])}
            found.setdefault(json.dumps(compare.settle(told), sort_keys=True), entry)
    return list(found.values())


@pytest.mark.shared_data
@pytest.mark.requires("root", "linux", "busybox")
def test_recorded_commands(node: tuple[process.Simulator, pathlib.Path, pathlib.Path], shared_data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    simulator, program, _root = node
    checked = 0
    (tmp_path / "cli.src").write_bytes(b"content\n")
    try:
        for entry in recorded(shared_data):
            words = [str(one).replace("/tmp/cli.", f"{tmp_path}/cli.") for one in entry["argv"]]
            if words[0] != "pct" or words[1] not in COMMANDS or entry["case"] in OWN:
                continue
            stopped = "stopped" in entry["case"]
            simulator.do("guest", vmid=VMID, set={"running": not stopped})
            given = entry["stdin"].encode("latin-1") if entry["stdin"] else None
            found = run(program, *words[1:], given=given, FOO="fromhost")
            where = f"{entry['case']}: {words}"
            assert found.returncode == entry["rc"], where
            if "env" in entry["case"]:
                lines = set(found.stdout.decode().splitlines())
                assert lines == set(entry["stdout"].splitlines()), where
            elif entry["case"] not in ("exec stdin", "exec binary output"):
                assert found.stdout.decode() == entry["stdout"], where
            assert compare.settle(plain(found.stderr.decode())) == compare.settle(plain(entry["stderr"])), where
            checked += 1
    finally:
        simulator.do("guest", vmid=VMID, set={"running": True})
    assert checked > 25


@pytest.mark.requires("root", "linux", "busybox")
def test_streams_are_binary_and_apart(node: tuple[process.Simulator, pathlib.Path, pathlib.Path]) -> None:
    _simulator, program, _root = node
    content = bytes(range(256)) * 100
    assert run(program, "exec", str(VMID), "--", "cat", given=content).stdout == content
    found = run(program, "exec", str(VMID), "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (found.stdout, found.stderr, found.returncode) == (b"out\n", b"err\n", 3)


@pytest.mark.requires("root", "linux", "busybox")
def test_files_go_in_and_out(node: tuple[process.Simulator, pathlib.Path, pathlib.Path], tmp_path: pathlib.Path) -> None:
    _simulator, program, root = node
    (tmp_path / "in").write_text("x")
    assert run(program, "push", str(VMID), str(tmp_path / "in"), "/root/a", "--perms", "0600", "--user", "1000", "--group", "1001").returncode == 0
    status = (root / "root" / "a").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o600, 1000, 1001)
    assert run(program, "pull", str(VMID), "/root/a", str(tmp_path / "out")).returncode == 0
    assert (tmp_path / "out").read_text() == "x"
    assert run(program, "exec", "999", "--", "true").returncode == 2
    assert run(program, "fly").returncode == 255
