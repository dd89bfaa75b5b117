# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hostile probes 1 to 53: contained in a locked worker, and getting through where the lock-down is off.

The control run is what keeps the first half honest: a probe that has stopped working would otherwise
count as contained.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

pytestmark = pytest.mark.requires("linux")

TOKEN = "token-of-the-proxmox-api"
PROBES = {
    1: "read a file of root's",
    2: "read a file that everybody may read",
    3: "read /etc/shadow",
    4: "read /etc/passwd",
    5: "list /proc",
    6: "read the environment of the module",
    7: "find a token in its own environment",
    8: "os.system",
    9: "run a program",
    10: "fork",
    11: "exec",
    12: "start a thread",
    13: "TCP socket",
    14: "abstract Unix socket",
    15: "vsock",
    16: "AF_ALG",
    17: "netlink",
    18: "signal the module",
    19: "signal everybody",
    20: "ptrace",
    21: "mount",
    22: "new user namespace",
    23: "become root",
    24: "bpf",
    25: "io_uring",
    26: "keyctl",
    27: "x32 call number",
    28: "write to /tmp",
    29: "write to /dev/shm",
    30: "write to the working folder",
    31: "find inherited descriptors",
    32: "open through a leaked folder",
    33: "allocate 2 GiB",
    34: "allocate in a loop",
    35: "use the processor for long",
    38: "open many descriptors",
    48: "import from site-packages",
    51: "list /sys",
    52: "list /dev",
}
# Attacks that the module's side stops, whatever the worker's confinement: same end in both runs.
STOPPED_BY_MODULE = {
    36: ("sleep for ever", "E_TIMEOUT"),
    37: ("ignore SIGTERM and spin", "E_TIMEOUT"),
    40: ("garbage on the protocol descriptor", "E_PROTOCOL"),
    41: ("a header that announces 2 GiB", "E_PROTOCOL"),
    42: ("JSON 200,000 levels deep", "E_PROTOCOL"),
    43: ("a result of 5 MiB", "E_LIMIT"),
    45: ("sys.exit", "E_PLUGIN"),
    46: ("os._exit", "E_CRASH"),
    47: ("segmentation fault", "E_CRASH"),
}
# In the control run these need a root whose rights the lock-down would have taken away.
ROOT_ONLY = {1, 3, 19, 21, 22, 23, 24, 30}
IN_CONTROL = [number for number in PROBES if os.geteuid() == 0 or number not in ROOT_ONLY]


@pytest.fixture
def params(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[dict[str, t.Any]]:
    """What the probes look for. Made before the worker starts, so that it could be inherited."""
    secret, readable = tmp_path / "secret", tmp_path / "readable"
    secret.write_text("secret", encoding="utf-8")
    readable.write_text("readable", encoding="utf-8")
    secret.chmod(0o600)
    readable.chmod(0o644)
    monkeypatch.setenv("NEXCAGE_PROBE_TOKEN", TOKEN)
    leaked = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(leaked, True)
    yield {
        "secret": str(secret),
        "readable": str(readable),
        "parent": os.getpid(),
        "token": TOKEN,
        "leaked": leaked,
        "seconds": 1.2,
        "path": sys.path,
    }
    os.close(leaked)


def refuse(call: str, params: dict[str, t.Any]) -> t.Any:
    raise NexcageError("E_CAPABILITY", f"{call} is not declared")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ended(pid: int) -> bool:
    """Whether an orphan is gone, or dead: the first process of a machine may take its time to notice that, or never do."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", PROBES, ids=[f"{number}: {what}" for number, what in PROBES.items()])
def test_the_lockdown_contains(number: int, params: dict[str, t.Any], locked: Worker) -> None:
    try:
        value = locked.request("exec", {**params, "probe": number}, refuse)
    except NexcageError as error:
        assert error.code in ("E_PLUGIN", "E_LIMIT"), error
        if number == 35:
            assert "processor time" in error.message
    else:
        assert not value


@pytest.mark.parametrize("number", IN_CONTROL, ids=[f"{number}: {PROBES[number]}" for number in IN_CONTROL])
def test_without_the_lockdown_it_gets_through(number: int, params: dict[str, t.Any], control: Worker) -> None:
    assert control.request("exec", {**params, "probe": number}, refuse)


def test_every_probe_is_here() -> None:
    elsewhere = {39, 44, 49, 50, 53}
    assert PROBES.keys() | STOPPED_BY_MODULE.keys() | elsewhere == set(range(1, 54))


@pytest.mark.parametrize("fixture", ["locked", "control"])
@pytest.mark.parametrize("number", STOPPED_BY_MODULE, ids=[f"{number}: {row[0]}" for number, row in STOPPED_BY_MODULE.items()])
def test_the_module_stops(number: int, fixture: str, params: dict[str, t.Any], request: pytest.FixtureRequest) -> None:
    worker: Worker = request.getfixturevalue(fixture)
    with pytest.raises(NexcageError) as caught:
        worker.request("exec", {**params, "probe": number}, refuse, deadline_s=0.3 if number < 40 else 5.0)
    assert caught.value.code == STOPPED_BY_MODULE[number][1]
    if number in (43, 45):  # the plugin's failure, not the worker's: it serves on
        assert worker.request("exec", {**params, "probe": 39}, refuse) == "unharmed"
    else:
        assert gone(worker.pid)


def test_39_a_print_harms_nobody(params: dict[str, t.Any], locked: Worker) -> None:
    assert locked.request("exec", {**params, "probe": 39}, refuse) == "unharmed"
    locked.request("exec", {**params, "probe": 50}, refuse)
    locked.close()
    assert "printed while it was imported" in locked.stderr


def test_44_a_flood_on_stderr_is_drained_and_cut(params: dict[str, t.Any], locked: Worker) -> None:
    assert locked.request("exec", {**params, "probe": 44}, refuse) == "flooded"
    locked.close()
    assert 60_000 < len(locked.stderr) < 100_000
    assert "\x1b" not in locked.stderr


def test_49_a_patched_bootstrap_decides_nothing(params: dict[str, t.Any], locked: Worker) -> None:
    calls = []

    def count(call: str, _params: dict[str, t.Any]) -> t.Any:
        calls.append(call)
        return refuse(call, {})

    with pytest.raises(NexcageError) as caught:
        locked.request("exec", {**params, "probe": 49, "call": "command.run"}, count)
    assert (caught.value.code, calls) == ("E_PLUGIN", ["command.run"])  # its own words, but nothing was done
    sandbox = locked.sandbox
    with pytest.raises(NexcageError) as caught:
        locked.request("exec", {**params, "probe": 49, "lie": True}, count)
    assert caught.value.code == "E_PROTOCOL"
    assert locked.sandbox is sandbox


def test_50_a_call_that_is_not_declared_is_refused_with_the_hosts_own_error(params: dict[str, t.Any], locked: Worker) -> None:
    refusal = NexcageError("E_CAPABILITY", "not declared", option="grant", value="host_command", remedy="grant it")

    def handler(call: str, _params: dict[str, t.Any]) -> t.Any:
        raise refusal

    with pytest.raises(NexcageError) as caught:
        locked.request("exec", {**params, "probe": 50, "call": "command.run"}, handler)
    assert caught.value is refusal


MODULE = """
import sys
import pytest
from ansible_collections.nexcage.backends.tests.adversarial import conftest
patch = pytest.MonkeyPatch()
worker = conftest.start_control(patch) if sys.argv[1] == "control" else conftest.start_locked()
print(worker.pid, flush=True)
worker.request("exec", {"probe": 53}, print)
"""


@pytest.mark.parametrize("mode", ["locked", "control"])
def test_53_the_worker_dies_with_the_module(mode: str, tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", MODULE, mode], stdout=subprocess.PIPE, env=environment) as module:
        assert module.stdout is not None
        worker = int(module.stdout.readline())
        time.sleep(0.05)
        module.kill()
        module.wait()
        end = time.monotonic() + (2.0 if mode == "locked" else 0.2)
        while not ended(worker) and time.monotonic() < end:
            time.sleep(0.01)
        survived = not ended(worker)
        if survived:
            os.kill(worker, signal.SIGKILL)
    assert survived is (mode == "control")


@pytest.mark.parametrize("number", [31, 32])
def test_descriptors_that_slip_through_are_closed(number: int, params: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the start ever inherit one, the worker itself still closes it."""
    from ansible_collections.nexcage.backends.plugins.module_utils.worker import launch
    from ansible_collections.nexcage.backends.tests.adversarial import conftest

    popen = subprocess.Popen

    def leaky(arguments: list[str], **options: t.Any) -> subprocess.Popen[bytes]:
        return popen(arguments, **{**options, "close_fds": False})

    monkeypatch.setattr(launch.subprocess, "Popen", leaky)
    with conftest.start_locked() as worker:
        if number == 31:
            assert not worker.request("exec", {**params, "probe": 31}, refuse)
        else:
            with pytest.raises(NexcageError):
                worker.request("exec", {**params, "probe": 32}, refuse)


@pytest.mark.requires("root")
def test_what_the_kernel_says_of_a_locked_worker(locked: Worker) -> None:
    folder = pathlib.Path("/proc") / str(locked.pid)
    lines = (folder / "status").read_text(encoding="utf-8").splitlines()
    status = {name: value.split() for name, _colon, value in (line.partition(":") for line in lines)}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"], status["Threads"]) == (["1"], ["2"], [], ["1"])
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name][0], 16) == 0
    for name in ("Uid", "Gid"):
        assert len(set(status[name])) == 1
        assert status[name][0] != "0"
    assert sorted(int(path.name) for path in (folder / "fd").iterdir()) == [0, 1, 2, 3, 4]
    assert (folder / "environ").read_bytes() == b""
    limits = (folder / "limits").read_text(encoding="utf-8")
    wanted = {"Max cpu time": 1, "Max file size": 0, "Max core file size": 0, "Max open files": 200, "Max address space": 128 << 20, "Max processes": 0}
    for name, most in wanted.items():
        (line,) = (line for line in limits.splitlines() if line.startswith(name))
        assert line[len(name) :].split()[:2] == [str(most), str(most)]
