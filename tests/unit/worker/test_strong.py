# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tier strong: its command line, what proves it, and what happens where it cannot be had.

bubblewrap is the real one; where it has to fail, a script of root's stands before it.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import inside, strong
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import NAMESPACES, Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.support import confined

REAL = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin") or "bwrap"
PLUGIN = """
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    def list(self, host, params):
        return host.oci.list(None)


def backend():
    return Backend()
"""
as_root = pytest.mark.requires("root", "linux")
with_bubblewrap = pytest.mark.requires("root", "linux", "bwrap")


@pytest.fixture
def folder() -> t.Iterator[pathlib.Path]:
    """One that only root can change, as its parents; the tests' own lies in /tmp, where everybody writes."""
    path = pathlib.Path(tempfile.mkdtemp(dir="/var/lib", prefix="nexcage-test."))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stand_in(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], None]:
    """Puts a script in the place of bubblewrap."""

    def write(script: str) -> None:
        path = folder / "bwrap"
        path.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setattr(strong, "FOLDERS", (str(folder),))

    return write


def without(*words: str) -> str:
    """A script that calls the real bubblewrap without some neighbouring words of its command line."""
    quoted = " ".join(f"'{word}'" for word in words)
    return f'line="${{*@Q}}"; unwanted="{quoted}"; eval exec {REAL} "${{line/"$unwanted"/}}"'


def refused(required: str = "strong") -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        strong.start(Limits(memory=128 << 20), required)
    assert caught.value.code == "E_SANDBOX"
    return caught.value


@with_bubblewrap
def test_a_worker_in_namespaces() -> None:
    worker = strong.start(Limits(memory=128 << 20), "strong", ["math"])
    outside = worker.pid
    assert (worker.sandbox.tier, worker.sandbox.missing) == ("strong", {})
    assert set(NAMESPACES) < set(worker.sandbox.layers)
    worker.load("test", {"plugin.py": PLUGIN})
    assert worker.request("list", {}, lambda _call, _params: ["web"]) == ["web"]
    inner = confined.descendants(outside)
    assert len(inner) == 2  # the first process, that waits, and the worker
    kinds = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}
    theirs = {kind: os.readlink(f"/proc/{inner[-1]}/ns/{kind}") for kind in kinds}
    assert [kind for kind in kinds if ours[kind] == theirs[kind]] == []
    worker.close()
    assert [pid for pid in (outside, *inner) if os.path.exists(f"/proc/{pid}")] == []


@with_bubblewrap
def test_the_command_line_depends_on_the_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    first = strong.command()
    monkeypatch.setenv("PATH", "/tmp")
    monkeypatch.setenv("NEXCAGE_PLUGIN", "evil")
    monkeypatch.chdir("/tmp")
    assert strong.command() == first
    assert first[0] == os.path.realpath(REAL)
    assert [word for word in first if "bind" in word and word != "--ro-bind"] == []
    assert first[first.index("--cap-drop") + 1] == "ALL"
    assert [first[place + 1] for place, word in enumerate(first) if word == "--cap-add"] == ["CAP_SETUID", "CAP_SETGID"]
    assert first[-1] == os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    for place, word in enumerate(first):
        if word == "--ro-bind":
            assert os.stat(first[place + 1]).st_uid == 0


@with_bubblewrap
@pytest.mark.parametrize(
    ("script", "layer", "reason"),
    [
        (without("--unshare-net"), "network_namespace", " can be seen"),
        (without("--hostname", "nexcage-worker"), "uts_namespace", "the host's name is "),
        (without("--cap-drop", "ALL"), "capabilities", " are kept"),
        (without("--remount-ro", "/"), "mount_namespace", " can be written"),
        (f'exec {REAL} --ro-bind /etc /etc "$@"', "mount_namespace", "/etc can be seen"),
        (f'exec {REAL} --proc /proc --dev /dev "$@"', "mount_namespace", "/proc, /dev can be seen"),
        (f'exec {REAL} --bind /var/lib /srv "$@"', "mount_namespace", "/srv can be written"),
    ],
)
def test_what_is_not_proven_is_not_strong(script: str, layer: str, reason: str, stand_in: t.Callable[[str], None]) -> None:
    stand_in(script)
    with strong.start(Limits(memory=128 << 20), "standard") as worker:
        assert worker.sandbox.tier == "standard"
        assert list(worker.sandbox.missing) == [layer]
        assert reason in worker.sandbox.missing[layer]
    error = refused()
    assert layer in error.message
    assert reason in error.message


@with_bubblewrap
def test_the_stand_in_itself_changes_nothing(stand_in: t.Callable[[str], None]) -> None:
    stand_in(without("--no-such-option"))
    strong.start(Limits(memory=128 << 20), "strong").close()


def test_both_sides_mean_the_same_name() -> None:
    assert strong.HOST_NAME == inside.HOST_NAME


@as_root
@pytest.mark.parametrize("script", ['while [ "$1" != -- ]; do shift; done; shift; exec "$@"', without("--unshare-pid")])
def test_a_bubblewrap_that_does_nothing_proves_nothing(script: str, stand_in: t.Callable[[str], None]) -> None:
    stand_in(script)
    # the worker's parent is not the one it was told: it ends itself, and a plain one takes its place
    with strong.start(Limits(memory=128 << 20), "standard") as worker:
        assert worker.sandbox.tier == "standard"
        assert not set(NAMESPACES) & set(worker.sandbox.layers)
        assert worker.sandbox.missing["namespaces"]
    assert refused().details


@as_root
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'bwrap: Creating new namespace failed: Operation not permitted' >&2; exit 1", "bwrap: Creating new namespace failed: Operation not permitted"),
        ("echo 'bwrap: Unknown option --unshare-cgroup-try' >&2; exit 1", "bwrap: Unknown option --unshare-cgroup-try"),
        ("echo 'warning: no' >&2; exit 3", "ended with code 3"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("exit 255", "ended with code 255"),
        ("echo garbage; sleep 100", "the plugin's worker was ended"),
    ],
)
def test_a_bubblewrap_that_fails(script: str, reason: str, stand_in: t.Callable[[str], None]) -> None:
    stand_in(script)
    with strong.start(Limits(memory=128 << 20), "standard") as worker:
        assert worker.sandbox.tier == "standard"
        assert reason in worker.sandbox.missing["namespaces"]
        assert worker.load("test", {"plugin.py": PLUGIN}) == ("list",)
    error = refused()
    assert error.message.startswith("the sandbox tier strong is required and not reached: ")
    assert reason in error.message


@as_root
def test_a_bubblewrap_that_hangs(stand_in: t.Callable[[str], None], monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
    stand_in(f"echo $$ >>{folder}/pids; sleep 1000 & echo $! >>{folder}/pids; wait")
    monkeypatch.setattr(strong, "PATIENCE", 0.3)
    with strong.start(Limits(memory=128 << 20), "standard") as worker:
        assert "within 0.3 seconds" in worker.sandbox.missing["namespaces"]
    assert "within 0.3 seconds" in refused().message
    pids = (folder / "pids").read_text(encoding="utf-8").split()
    end = time.monotonic() + 5
    while time.monotonic() < end and any(confined.alive(int(pid)) for pid in pids):
        time.sleep(0.01)
    assert [pid for pid in pids if confined.alive(int(pid))] == []


@as_root
def test_no_bubblewrap(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "FOLDERS", (str(folder),))
    spare = Worker()
    with strong.start(Limits(memory=128 << 20), "standard", spare=spare) as worker:
        assert worker.pid == spare.pid
        assert worker.sandbox.missing["namespaces"] == f"bubblewrap is not installed (no bwrap in {folder})"
    spare = Worker()
    with pytest.raises(NexcageError, match="not installed"):
        strong.start(Limits(), "strong", spare=spare)
    assert not os.path.exists(f"/proc/{spare.pid}")


@with_bubblewrap
def test_a_spare_process_is_ended_where_it_is_not_needed() -> None:
    spare = Worker()
    strong.start(Limits(memory=128 << 20), "standard", spare=spare).close()
    assert not os.path.exists(f"/proc/{spare.pid}")


def test_only_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "identity", lambda: (-1, -1))
    assert "only root" in refused().message
    with strong.start(Limits(memory=128 << 20), "process") as worker:
        assert "only root" in worker.sandbox.missing["namespaces"]


@with_bubblewrap
def test_a_broken_worker_is_not_hidden_by_the_fallback() -> None:
    with pytest.raises(NexcageError) as caught:
        strong.start(Limits(frame=10), "standard")  # too small for its report
    assert caught.value.code == "E_SANDBOX"


@as_root
@pytest.mark.parametrize("what", ["bwrap", "its folder", "a folder above"])
def test_a_bubblewrap_of_others_is_not_run(what: str, stand_in: t.Callable[[str], None], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(f"touch {folder}/ran; exit 1")
    guilty = folder / "bwrap"
    if what == "its folder":
        guilty = folder
        folder.chmod(0o770)
    elif what == "a folder above":
        (folder / "deep").mkdir()
        guilty = (folder / "bwrap").rename(folder / "deep" / "bwrap").parent
        guilty = folder
        os.chown(folder, 65534, 65534)
        monkeypatch.setattr(strong, "FOLDERS", (str(folder / "deep"),))
    else:
        os.chown(guilty, 65534, 65534)
    assert refused().message.endswith(f"{guilty} can be changed by others than root")
    assert not (folder / "ran").exists()


@as_root
@pytest.mark.parametrize(
    ("executable", "base", "reason"),
    [
        (None, "/usr", "the path of the Python interpreter is unknown"),
        ("/usr/bin/env", "/usr", ""),
        ("{own}/bin/python3", "{own}", ""),
        ("{others}/bin/python3", "{others}", "{others} can be changed by others than root"),
        ("{own}/bin/python3", "/usr", "the interpreter {own}/bin/python3 does not lie in /usr, nor in a folder of its own"),
        ("/usr/bin/env", "{own}", "the interpreter /usr/bin/env does not lie in /usr, nor in a folder of its own"),
        ("/etc/passwd", "/etc", "the interpreter /etc/passwd does not lie in /usr, nor in a folder of its own"),
        ("/etc/passwd", "/", "the interpreter /etc/passwd does not lie in /usr, nor in a folder of its own"),
    ],
)
def test_the_interpreter(executable: str | None, base: str, reason: str, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"own": str(folder / "own"), "others": str(folder / "others")}
    for place in places.values():
        os.makedirs(f"{place}/bin")
        pathlib.Path(f"{place}/bin/python3").touch(mode=0o755)
    os.chown(places["others"], 65534, 65534)
    path = executable and os.path.realpath(executable.format(**places))
    base = base.format(**places)
    monkeypatch.setattr(strong, "sys", types.SimpleNamespace(_base_executable=None, executable=path, base_prefix=base))
    if not reason:
        assert strong._interpreter() == (path, ["--ro-bind", base, base] if base != "/usr" else [])
        return
    with pytest.raises(NexcageError) as caught:
        strong._interpreter()
    assert caught.value.message == reason.format(**places)


def test_an_old_distribution_has_folders_beside_usr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "_owned", lambda path: path)
    monkeypatch.setattr(strong.os.path, "islink", lambda path: False)
    monkeypatch.setattr(strong.os.path, "isdir", lambda path: path == "/lib")
    assert strong._system() == ["--ro-bind", "/usr", "/usr", "--ro-bind", "/lib", "/lib"]


@with_bubblewrap
@pytest.mark.parametrize(("plugin", "code"), [("import os; os._exit(7)", 7), ("import os; os._exit(255)", 255), ("import os; os._exit(137)", -signal.SIGKILL)])
def test_how_it_ended_passes_through_bubblewrap(plugin: str, code: int) -> None:
    worker = strong.start(Limits(memory=128 << 20), "strong")
    with pytest.raises(NexcageError) as caught:
        worker.load("test", {"plugin.py": plugin})
    assert caught.value.code == "E_CRASH"
    assert ("SIGKILL" if code < 0 else f"code {code}") in caught.value.message


@with_bubblewrap
@pytest.mark.parametrize("lacking", ["pidfd_open", "children"])
def test_on_an_old_kernel_they_die_with_their_parent(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if lacking == "children":
        monkeypatch.setattr(strong, "_children", lambda pid: [])
    else:
        monkeypatch.delattr(strong.os, "pidfd_open")
    worker = strong.start(Limits(memory=128 << 20), "strong")
    pids = [worker.pid, *confined.descendants(worker.pid)]
    worker.close()
    end = time.monotonic() + 5
    while time.monotonic() < end and any(confined.alive(pid) for pid in pids):
        time.sleep(0.01)
    assert [pid for pid in pids if confined.alive(pid)] == []


def test_a_child_that_is_gone_before_it_is_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number may belong to another process by then; here to this one, which lives on."""
    answers = [[str(os.getpid())], []]
    monkeypatch.setattr(strong, "_children", lambda pid: answers.pop(0))
    assert strong._signal_children(1) is False
    assert answers == []


@with_bubblewrap
def test_under_every_python_there_is(tmp_path: pathlib.Path) -> None:
    found = confined.interpreters()
    assert found
    tiers = {}
    for interpreter in found:
        done = subprocess.run([interpreter, "-B", "-c", confined.REPORT], env=confined.environment(), capture_output=True, text=True, check=False)
        tiers[interpreter] = done.stdout.strip() or done.stderr
    assert tiers == dict.fromkeys(found, "strong {}")


@with_bubblewrap
def test_in_a_virtual_environment(tmp_path: pathlib.Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    done = subprocess.run(
        [str(tmp_path / "venv/bin/python"), "-B", "-c", confined.REPORT], env=confined.environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "strong {}", done.stderr
