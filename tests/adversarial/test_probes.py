# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hostile probes 1 to 53: contained in a locked worker of either tier, and getting through where the lock-down is off.

The control run is what keeps the first half honest: a probe that has stopped working would otherwise
count as contained. What namespaces stop by themselves is probed with the filter off, in namespaces and without them.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import launch
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.adversarial.conftest import TIERS, start_locked
from ansible_collections.nexcage.backends.tests.support import confined

pytestmark = pytest.mark.requires("linux")

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


def numbered(table: t.Mapping[t.Any, t.Any], **more: t.Any) -> list[t.Any]:
    """Each probe by its number, for a test that is of all of them."""
    rows = []
    for number, row in table.items():
        needs = [pytest.mark.requires("root")] if more and number in ROOT_ONLY else []
        what = row if isinstance(row, str) else row[0]
        rows.append(pytest.param(number, id=f"{number}: {what}", marks=[pytest.mark.case(number, **more), *needs]))
    return rows


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


@pytest.mark.parametrize("number", numbered(PROBES))
def test_the_lockdown_contains(number: int, params: dict[str, t.Any], locked: Worker) -> None:
    try:
        value = locked.request("exec", {**params, "probe": number}, refuse)
    except NexcageError as error:
        assert error.code in ("E_PLUGIN", "E_LIMIT"), error
        if number == 35:
            assert "processor time" in error.message
    else:
        assert not value


@pytest.mark.parametrize("number", numbered(PROBES, control=True))
def test_without_the_lockdown_it_gets_through(number: int, params: dict[str, t.Any], control: Worker) -> None:
    assert control.request("exec", {**params, "probe": number}, refuse)


def test_every_probe_is_here() -> None:
    elsewhere = {39, 44, 49, 50, 53}
    assert PROBES.keys() | STOPPED_BY_MODULE.keys() | elsewhere == set(range(1, 54))


@pytest.mark.parametrize("number", numbered(STOPPED_BY_MODULE))
def test_the_module_stops(number: int, params: dict[str, t.Any], locked: Worker) -> None:
    stopped(number, params, locked)


@pytest.mark.parametrize("number", numbered(STOPPED_BY_MODULE, control=True))
def test_the_module_stops_without_the_lockdown(number: int, params: dict[str, t.Any], control: Worker) -> None:
    stopped(number, params, control)


def stopped(number: int, params: dict[str, t.Any], worker: Worker) -> None:
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


def test_39_without_the_lockdown_a_print_breaks_the_protocol(params: dict[str, t.Any], anywhere: Worker) -> None:
    if anywhere.sandbox.tier != "process":
        assert anywhere.request("exec", {**params, "probe": "aloud"}, refuse) == "unharmed"
        return
    with pytest.raises(NexcageError) as caught:
        anywhere.request("exec", {**params, "probe": "aloud"}, refuse)
    assert caught.value.code == "E_PROTOCOL"


def test_44_a_flood_on_stderr_is_drained_and_cut(params: dict[str, t.Any], anywhere: Worker) -> None:
    assert anywhere.request("exec", {**params, "probe": 44}, refuse) == "flooded"
    anywhere.close()
    assert 60_000 < len(anywhere.stderr) < 100_000
    assert "\x1b" not in anywhere.stderr


def test_49_a_patched_bootstrap_decides_nothing(params: dict[str, t.Any], anywhere: Worker) -> None:
    calls = []

    def count(call: str, _params: dict[str, t.Any]) -> t.Any:
        calls.append(call)
        return refuse(call, {})

    with pytest.raises(NexcageError) as caught:
        anywhere.request("exec", {**params, "probe": 49, "call": "command.run"}, count)
    assert (caught.value.code, calls) == ("E_PLUGIN", ["command.run"])  # its own words, but nothing was done
    sandbox = anywhere.sandbox
    with pytest.raises(NexcageError) as caught:
        anywhere.request("exec", {**params, "probe": 49, "lie": True}, count)
    assert caught.value.code == "E_PROTOCOL"
    assert anywhere.sandbox is sandbox


def test_50_a_call_that_is_not_declared_is_refused_with_the_hosts_own_error(params: dict[str, t.Any], anywhere: Worker) -> None:
    refusal = NexcageError("E_CAPABILITY", "not declared", option="grant", value="host_command", remedy="grant it")

    def handler(call: str, _params: dict[str, t.Any]) -> t.Any:
        raise refusal

    with pytest.raises(NexcageError) as caught:
        anywhere.request("exec", {**params, "probe": 50, "call": "command.run"}, handler)
    assert caught.value is refusal


MODULE = """
import sys
import pytest
from ansible_collections.nexcage.backends.tests.adversarial import conftest
from ansible_collections.nexcage.backends.tests.support import confined
patch = pytest.MonkeyPatch()
conftest.LIMITS = conftest.LIMITS._replace(cpu=60)  # not by its budget
worker = conftest.start_control(patch) if sys.argv[1] == "control" else conftest.start_locked(sys.argv[1])
print(worker.pid, *confined.descendants(worker.pid), flush=True)
worker.request("exec", {"probe": 53}, print)
"""


@pytest.mark.parametrize("mode", [*TIERS, "control"])
def test_53_the_worker_dies_with_the_module(mode: str, tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", MODULE, mode], stdout=subprocess.PIPE, env=environment) as module:
        assert module.stdout is not None
        workers = [int(word) for word in module.stdout.readline().split()]
        assert len(workers) == (3 if mode == "strong" else 1)  # bubblewrap, the first process inside, and the worker
        time.sleep(0.05)
        module.kill()
        module.wait()
        end = time.monotonic() + (0.2 if mode == "control" else 2.0)
        while not all(ended(worker) for worker in workers) and time.monotonic() < end:
            time.sleep(0.01)
        survivors = [worker for worker in workers if not ended(worker)]
        for worker in survivors:
            os.kill(worker, signal.SIGKILL)
    assert bool(survivors) is (mode == "control")


@pytest.mark.requires("root", "bwrap")
@pytest.mark.parametrize("victim", [0, 1, 2], ids=["bubblewrap", "the first process", "the worker"])
def test_53_all_of_a_confined_worker_ends_together(victim: int, params: dict[str, t.Any]) -> None:
    worker = start_locked("strong")
    processes = [worker.pid, *confined.descendants(worker.pid)]
    os.kill(processes[victim], signal.SIGKILL)
    end = time.monotonic() + 2.0
    while not all(ended(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.01)
    assert [process for process in processes if not ended(process)] == []
    with pytest.raises(NexcageError) as caught:
        worker.request("exec", {**params, "probe": 39}, refuse)
    assert caught.value.code == "E_CRASH"


# Asks for the strongest tier, runs every probe in a worker of its own, and tells how each ended.
EVERY_PROBE = """
import json, os, sys
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import PRELOADABLE
from ansible_collections.nexcage.backends.tests.adversarial import conftest
params, numbers = json.loads(sys.argv[1]), json.loads(sys.argv[2])
if sys.argv[3] == "without bubblewrap":
    strong.FOLDERS = ()
params["parent"] = os.getpid()
found = {"control": {}, "locked": {}, "sandboxes": []}
def refuse(call, _params):
    raise NexcageError("E_CAPABILITY", call)
def run(worker, number):
    try:
        return worker.request("exec", {**params, "probe": number}, refuse, 0.3 if number in (36, 37) else 5.0)
    except NexcageError as error:
        return {"code": error.code}
    finally:
        worker.close()
for number in numbers:
    worker = strong.start(conftest.LIMITS, "standard", PRELOADABLE)
    found["sandboxes"].append([worker.sandbox.tier, worker.sandbox.missing])
    worker.load("hostile", {"plugin.py": conftest.PLUGIN})
    found["locked"][number] = run(worker, number)
patch = conftest.pytest.MonkeyPatch()
for number in (4, 5, 10, 13):
    found["control"][number] = run(conftest.start_control(patch), number)
    patch.undo()
print(json.dumps(found))
"""
# What a container engine leaves to the root of an unprivileged container.
OF_A_CONTAINER = "chown,dac_override,fowner,fsetid,kill,net_bind_service,setfcap,setgid,setpcap,setuid,sys_chroot"


@pytest.mark.case(*PROBES, *STOPPED_BY_MODULE, tier="standard")
@pytest.mark.requires("root", "setpriv")
@pytest.mark.parametrize("where", [pytest.param("in an unprivileged container", marks=pytest.mark.requires("bwrap")), "without bubblewrap"])
def test_where_namespaces_cannot_be_had_the_filter_holds_alone(where: str, params: dict[str, t.Any]) -> None:
    container = ["setpriv", "--bounding-set", "-all,+" + OF_A_CONTAINER.replace(",", ",+"), "--inh-caps", "-all"]
    numbers = [*PROBES, *STOPPED_BY_MODULE]
    command = [*(container if "container" in where else []), sys.executable, "-c", EVERY_PROBE, json.dumps(params), json.dumps(numbers), where]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    reason = "bubblewrap is not installed" if where == "without bubblewrap" else "bwrap: Creating new namespace failed"
    assert [one for one in found["sandboxes"] if one[0] != "standard" or reason not in one[1]["namespaces"]] == []
    escaped = {number: value for number, value in found["locked"].items() if value and not (isinstance(value, dict) and "code" in value)}
    assert escaped == {}
    assert {number: found["locked"][str(number)]["code"] for number in STOPPED_BY_MODULE} == {number: row[1] for number, row in STOPPED_BY_MODULE.items()}
    assert [number for number, value in found["control"].items() if not value or "code" in value] == []


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("number", numbered({31: PROBES[31], 32: PROBES[32]}))
def test_descriptors_that_slip_through_are_closed(number: int, tier: str, params: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the start ever inherit one, the worker itself still closes it."""
    popen = subprocess.Popen

    def leaky(arguments: list[str], **options: t.Any) -> subprocess.Popen[bytes]:
        return popen(arguments, **{**options, "close_fds": False})

    monkeypatch.setattr(launch.subprocess, "Popen", leaky)
    with start_locked(tier) as worker:
        if number == 31:
            assert not worker.request("exec", {**params, "probe": 31}, refuse)
        else:
            with pytest.raises(NexcageError):
                worker.request("exec", {**params, "probe": 32}, refuse)


def held(pid: int) -> bool:
    """Whether a process has or could inherit any capability."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return any(int(line.split()[1], 16) for line in lines if line.startswith(("CapInh", "CapPrm", "CapEff", "CapAmb")))


@pytest.mark.requires("root")
def test_what_the_kernel_says_of_a_locked_worker(locked: Worker) -> None:
    around = [locked.pid, *confined.descendants(locked.pid)]
    end = time.monotonic() + 2.0
    for pid in around[:-1]:  # bubblewrap and the first process, which is a moment behind the worker
        while held(pid) and time.monotonic() < end:
            time.sleep(0.01)
        assert not held(pid)
    folder = pathlib.Path("/proc") / str(around[-1])
    lines = (folder / "status").read_text(encoding="utf-8").splitlines()
    status = {name: value.split() for name, _colon, value in (line.partition(":") for line in lines)}
    assert (status["NoNewPrivs"], status["Seccomp"], status["Groups"], status["Threads"]) == (["1"], ["2"], [], ["1"])
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name][0], 16) == 0
    for name in ("Uid", "Gid"):
        assert len(set(status[name])) == 1
        assert status[name][0] != "0"
    assert sorted(int(path.name) for path in (folder / "fd").iterdir()) == [0, 1, 2, 3, 4]
    assert (folder / "environ").read_bytes() in (b"", b"PWD=/\0")  # which bubblewrap sets
    limits = (folder / "limits").read_text(encoding="utf-8")
    wanted = {"Max cpu time": 1, "Max file size": 0, "Max core file size": 0, "Max open files": 200, "Max address space": 128 << 20, "Max processes": 0}
    for name, most in wanted.items():
        (line,) = (line for line in limits.splitlines() if line.startswith(name))
        assert line[len(name) :].split()[:2] == [str(most), str(most)]
