# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From every status to every state, and what happens to a container behind our back."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import subprocess
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import images, modules
from ansible_collections.nexcage.backends.tests.support.containers import command_lines
from ansible_collections.nexcage.backends.tests.support.host import CGROUP, FOREVER, Host, lives, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")

STATES = ("absent", "present", "created", "started", "stopped", "paused", "restarted")
# status before -> the actions for each of STATES, in that order
TABLE: dict[str, tuple[list[str], ...]] = {
    "absent": ([], ["create"], ["create"], ["create", "start"], ["create"], ["create", "start", "pause"], ["create", "start"]),
    "created": (["delete"], [], [], ["start"], [], ["start", "pause"], ["start"]),
    "running": (["stop", "delete"], [], [], [], ["stop"], ["pause"], ["stop", "start"]),
    "paused": (["stop", "delete"], [], [], ["resume"], ["stop"], [], ["stop", "start"]),
    "stopped": (["delete"], [], [], ["start"], [], ["start", "pause"], ["start"]),
}
# how to get there from anywhere
WAY = {"absent": ("absent",), "created": ("absent", "present"), "running": ("started",), "paused": ("paused",), "stopped": ("started", "stopped")}
ENDS = {"absent": "absent", "started": "running", "paused": "paused", "restarted": "running"}


def status_after(before: str, state: str) -> str:
    if state in ENDS:
        return ENDS[state]
    if state == "stopped":
        return "stopped" if before in ("running", "paused") else before.replace("absent", "created")
    return before.replace("absent", "created")


@pytest.mark.parametrize("before", TABLE)
def test_from_a_status_to_every_state(host: Host, backend: str, before: str) -> None:
    for state, actions in zip(STATES, TABLE[before]):
        for step in WAY[before]:
            host.start("web", backend, state=step, force_kill=True)
        predicted = host.start("web", backend, state=state, check=True, force_kill=True)
        done = host.start("web", backend, state=state, force_kill=True)
        assert (done.actions, done["changed"]) == (actions, bool(actions)), (before, state)
        assert (predicted["plan"], predicted["diff"]) == (done["plan"], done["diff"])
        after = status_after(before, state)
        assert done["container"]["status"] == after and (done["container"].get("pid") is None) == (after in ("absent", "stopped"))
        if actions:
            assert done["diff"]["before"]["status"] == before and done["diff"]["after"]["status"] == after
            again = host.start("web", backend, state=state, force_kill=True)
            assert again.actions == (["stop", "start"] if state == "restarted" else [])
    host.converge("web", state="absent", force_kill=True)


def test_restarted_runs_a_new_process_with_the_files_of_the_old_one(host: Host, backend: str) -> None:
    first = host.start("web", backend)["container"]
    (pathlib.Path(f"/proc/{first['pid']}/root/tmp/kept")).write_text("kept")
    second = host.converge("web", state="restarted")["container"]
    assert second["pid"] != first["pid"] and second["id"] == first["id"] and process_of(second).file("/tmp/kept") == "kept"
    host.converge("web", state="absent", force_kill=True)


def test_absent_twice_and_without_any_option(host: Host) -> None:
    for _time in range(2):
        result = host.converge("nothing", state="absent")
        assert not result["changed"] and result["plan"] == [] and result["container"] == {"name": "nothing", "status": "absent"}
    present = modules.fails("nexcage_container", name="nothing", state="stopped")
    assert present["error"]["option"] == "image"


def test_recreate(host: Host, backend: str) -> None:
    first = host.start("web", backend, env={"A": "1"}, memory="64m")["container"]
    for _time in range(2):
        predicted = host.converge("web", recreate=True, check=True)
        second = host.converge("web", recreate=True, force_kill=True)
        assert predicted["plan"] == second["plan"] and second.actions == ["replace", "start"] and "recreate was asked for" in second["plan"][0]["reason"]
        assert second["container"]["id"] != first["id"] and second["container"]["spec"] == first["spec"]
        assert process_of(second["container"]).environment()["A"] == "1"
        first = second["container"]
    assert host.converge("missing", image=host.image, backend=backend, recreate=True, state="present").actions == ["create"]
    for name in ("web", "missing"):
        host.converge(name, state="absent", force_kill=True)


def test_to_another_backend_and_back(host: Host) -> None:
    first = host.start("web", "crun", env={"A": "1"}, secret_env={"S": "hush-8d1f"}, labels={"l": "1"})["container"]
    refusal = modules.fails("nexcage_container", name="web", backend="runc")
    assert refusal["error"]["code"] == "E_OWNER" and "replace_backend: true" in refusal["error"]["remedy"] and host.one("web") == first
    for backend, other in (("runc", "crun"), ("crun", "runc")):
        predicted = host.converge("web", backend=backend, replace_backend=True, check=True)
        moved = host.converge("web", backend=backend, replace_backend=True, force_kill=True)
        assert predicted["plan"] == moved["plan"] and moved.actions == ["replace", "start"]
        assert moved["plan"][0]["reason"] == f"backend: {other} -> {backend}"
        container = moved["container"]
        assert container["backend"] == backend and container["labels"] == {"l": "1"} and process_of(container).environment()["S"] == "hush-8d1f"
        assert not host.converge("web", backend=backend)["changed"]
        assert not host.converge("web")["changed"]  # auto finds the owner
        assert not os.listdir(f"{host.layout.runtime}/oci/{other}-backend")
    host.converge("web", state="absent", force_kill=True)


def test_unset_is_unmanaged_and_kept_when_made_again(host: Host, backend: str) -> None:
    everything: dict[str, t.Any] = {
        "env": {"A": "1"},
        "secret_env": {"S": "hush-8d1f"},
        "memory": "64m",
        "pids_limit": 60,
        "labels": {"l": "1"},
        "user": "nobody",
        "tmpfs": ["/scratch"],
        "stop_signal": "USR1",
        "read_only": True,
    }
    host.start("web", backend, **everything)
    assert not host.converge("web")["changed"]
    made = host.converge("web", hostname="other")
    assert made.actions == ["replace", "start"] and [change["option"] for change in made["plan"][0]["changes"]] == ["hostname"]
    process = process_of(made["container"])
    assert process.environment()["A"] == "1" and process.environment()["S"] == "hush-8d1f" and process.status("Uid")[0] == "65534"
    assert process.mount("/scratch") and "ro" in process.mount("/") and process.group("pids", "pids.max", "pids.max") == "60"
    assert not host.start("web", backend, hostname="other", **everything)["changed"]
    assert host.converge("web", state="stopped")["container"]["exit_code"] == 10
    host.converge("web", state="absent")


def test_env_is_managed_as_a_whole_and_byte_by_byte(host: Host, backend: str) -> None:
    host.start("web", backend, env={"FOO": "bar"})
    made = host.converge("web", env={"FOO": "BAR"})
    assert made["diff"]["before"]["process.env"] == {"FOO": "bar"} and made["diff"]["after"]["process.env"] == {"FOO": "BAR"}
    assert not host.converge("web", env={"FOO": "BAR"})["changed"]
    text = "grün = \"quoted\" 'and' $HOME \\n\ttab"
    assert process_of(host.converge("web", env={"FOO": text})["container"]).environment()["FOO"] == text
    assert not host.converge("web", env={"FOO": text})["changed"]
    host.converge("web", state="absent", force_kill=True)


def test_a_change_in_every_state(host: Host, backend: str) -> None:
    """Drift is seen wherever the container stands, and its being stopped or paused is kept."""
    host.start("web", backend, state="present", memory="64m", env={"A": "1"})
    for state, status in (("present", "created"), ("paused", "paused"), ("stopped", "stopped")):
        host.converge("web", state=state)
        for value in ("32m", "64m"):
            assert host.converge("web", state=state, memory=value, check=True).actions == ["update"]
            live = host.converge("web", state=state, memory=value)
            assert live.actions == ["update"] and live["container"]["status"] == status
            assert not host.converge("web", state=state, memory=value)["changed"]
        made = host.converge("web", state=state, env={"A": state}, force_kill=True)
        after = "created" if status == "stopped" else status
        assert made.actions[0] == "replace" and made["container"]["status"] == after
        assert not host.converge("web", state=state, env={"A": state})["changed"]
    started = host.converge("web", memory="96m")
    assert started.actions == ["update", "start"]
    assert process_of(started["container"]).group("memory", "memory.limit_in_bytes", "memory.max") == str(96 << 20)
    host.converge("web", state="absent", force_kill=True)


def test_secrets_are_shown_nowhere(host: Host, backend: str) -> None:
    needle = "hush-8d1f"
    shown = ""

    def run(**parameters: t.Any) -> modules.Result:
        nonlocal shown
        result = modules.run("nexcage_container", name="web", backend=backend, **parameters)
        told = {key: value for key, value in result.items() if key != "invocation"}
        shown += json.dumps(told) + " ".join(line for _pid, line in command_lines() if "pytest" not in line)
        found = host.holders(needle)
        assert all(path.endswith("/config.json") for path in found), found
        for path in found:
            folder = os.path.dirname(path)
            assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0 and stat.S_IMODE(os.stat(folder).st_mode) == 0o700
        return result

    run(image=host.image, secret_env={"S": needle + "-one"}, check=True)
    run(image=host.image, secret_env={"S": needle + "-one"})
    changed = run(secret_env={"S": needle + "-two", "T": needle + "-three"})
    assert changed["diff"]["before"]["process.secret_env"] == {"S": "(secret)"}
    assert changed["diff"]["after"]["process.secret_env"] == {"S": "(secret, new value)", "T": "(secret, new value)"}
    assert changed["container"]["spec"]["secret_env"] == {"S": "(secret)", "T": "(secret)"}
    run(memory="64m")
    run(state="restarted", force_kill=True)
    run(hostname="other")
    run(secret_env={"S": needle + "-two", "T": needle + "-three"}, hostname="bad host")
    exec_result = modules.works("nexcage_container_exec", name="web", argv=["/bin/sh", "-c", "test $E = hush-8d1f-exec"], secret_env={"E": needle + "-exec"})
    shown += json.dumps({key: value for key, value in exec_result.items() if key != "invocation"}) + json.dumps(host.one("web"))
    assert host.holders(needle)
    run(state="absent", force_kill=True)
    assert needle not in shown and host.holders(needle) == []


def test_secrets_are_masked_in_the_invocation(host: Host) -> None:
    result = modules.run("nexcage_container", name="web", image=host.image, secret_env={"S": "hush-8d1f"}, check=True)
    assert "hush-8d1f" not in json.dumps(result)


# ---- stopping


def test_how_it_is_stopped(host: Host, backend: str) -> None:
    def code(**how: t.Any) -> int:
        host.start("web", backend)
        return t.cast(int, host.converge("web", state="stopped", **how)["container"]["exit_code"])

    assert code() == 15 and code(kill_signal="USR2") == 12 and code(kill_signal=10) == 10 and code(force_kill=True) == 137
    host.converge("web", state="absent")


def test_a_deaf_one_is_killed_after_stop_timeout(host: Host, backend: str) -> None:
    host.start("deaf", backend, command=["sh", "-c", "trap '' TERM; sleep 1000"], stop_timeout=1)
    time.sleep(0.1)  # the trap
    begin = time.monotonic()
    stopped = host.converge("deaf", state="stopped", timeout=1)  # the time-out of a step does not cut a stop short
    assert 0.9 < time.monotonic() - begin < 3 and stopped["container"]["exit_code"] == 137
    host.start("deaf", backend)
    begin = time.monotonic()
    assert host.converge("deaf", hostname="new", force_kill=True).actions == ["replace", "start"]
    host.converge("deaf", recreate=True, stop_timeout=0)
    host.converge("deaf", state="absent", force_kill=True)
    assert time.monotonic() - begin < 2.5


# ---- images


def test_another_image_behind_the_same_reference(host: Host, backend: str) -> None:
    layout = images.Layout(host.files / f"moving-{backend}")

    def tag(text: str) -> str:
        layers = [images.busybox_layer(), images.layer(images.member("which", text.encode(), mode=0o644))]
        return layout.tag(layout.manifest(layers, {"Cmd": FOREVER, "Env": ["PATH=/bin"]}), "latest")

    reference = tag(backend + " first")
    host.start("web", backend, image=reference)
    tag(backend + " second")
    assert not host.converge("web", image=reference)["changed"]
    predicted = host.converge("web", image=reference, pull="always", check=True)
    pulled = host.converge("web", image=reference, pull="always", force_kill=True)
    assert predicted["plan"] == pulled["plan"] and pulled.actions == ["pull", "replace", "start"]
    assert "image_digest: sha256:" in pulled["plan"][1]["reason"] and process_of(pulled["container"]).file("/which") == backend + " second"
    assert not host.converge("web", image=reference, pull="always")["changed"]
    host.converge("web", state="absent", force_kill=True)


# ---- behind our back


def by_hand(host: Host, container: t.Mapping[str, t.Any], *words: str) -> None:
    root = f"{host.layout.runtime}/oci/{container['backend']}-backend"
    subprocess.run([container["backend"], "--root", root, *words], check=True, capture_output=True)


def test_a_limit_changed_by_hand_is_put_right(host: Host, backend: str) -> None:
    container = host.start("web", backend, pids_limit=50)["container"]
    for parameters in ({"pids_limit": 50}, {}):  # recorded ones too, though this task does not speak of them
        by_hand(host, container, "update", "--pids-limit", "77", container["id"])
        assert host.one("web")["resources"]["pids_limit"] == 77  # type: ignore[index]
        predicted = host.converge("web", check=True, **parameters)
        right = host.converge("web", **parameters)
        assert predicted["plan"] == right["plan"] and right["plan"][0]["reason"] == "resources.pids_limit: 77 -> 50"
        assert process_of(right["container"]).group("pids", "pids.max", "pids.max") == "50"
    group = container["backend_details"]["cgroup"]
    for path in (pathlib.Path(f"{CGROUP}/pids{group}/pids.max"), pathlib.Path(f"{CGROUP}{group}/pids.max")):
        if path.exists():
            path.write_text("88")
    assert host.converge("web").actions == ["update"]
    host.converge("web", state="absent", force_kill=True)


def test_paused_resumed_and_killed_by_hand(host: Host, backend: str) -> None:
    container = host.start("web", backend)["container"]
    by_hand(host, container, "pause", container["id"])
    assert host.converge("web", state="present")["container"]["status"] == "paused"
    assert host.converge("web").actions == ["resume"]
    by_hand(host, container, "kill", container["id"], "KILL")
    deadline = time.monotonic() + 2
    while host.converge("web", state="present")["container"]["status"] != "stopped":
        assert time.monotonic() < deadline
    assert host.one("web")["exit_code"] == 137  # type: ignore[index]
    assert host.converge("web").actions == ["start"]
    container = host.one("web") or {}
    os.kill(container["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 2
    while host.converge("web", state="present")["container"]["status"] != "stopped":
        assert time.monotonic() < deadline
    assert not host.converge("web", state="stopped")["changed"]
    host.converge("web", state="absent")


@pytest.mark.parametrize("harm", ["config changed", "config gone", "record changed"])
def test_files_that_somebody_else_changed(host: Host, backend: str, harm: str) -> None:
    container = host.start("web", backend, env={"A": "1"})["container"]
    folder = pathlib.Path(container["backend_details"]["bundle"])
    if harm == "config gone":
        (folder / "config.json").unlink()
    else:
        path = folder / ("config.json" if harm == "config changed" else "record.json")
        content = json.loads(path.read_text())
        (content["process"] if harm == "config changed" else content["spec"]).update(env=["A=2"] if harm == "config changed" else {"A": "2"})
        path.write_text(json.dumps(content))
    image = {}
    if harm == "record changed":  # nothing of it can be taken over
        assert modules.fails("nexcage_container", name="web", env={"A": "1"})["error"]["option"] == "image"
        image = {"image": host.image}
    predicted = host.converge("web", check=True, env={"A": "1"}, **image)
    healed = host.converge("web", env={"A": "1"}, force_kill=True, **image)
    assert predicted["plan"] == healed["plan"] and healed.actions == ["replace", "start"]
    assert {"config changed": "config.json was changed", "config gone": "config.json is gone", "record changed": "does not match the seal"}[harm] in healed[
        "plan"
    ][0]["reason"]
    assert process_of(healed["container"]).environment()["A"] == "1"
    assert not host.converge("web", env={"A": "1"}).get("warnings")
    host.converge("web", state="absent", force_kill=True)


def test_a_record_that_is_destroyed(host: Host, backend: str) -> None:
    container = host.start("web", backend)["container"]
    pathlib.Path(container["backend_details"]["bundle"], "record.json").write_text("{")
    assert [entry["status"] for entry in modules.works("nexcage_container_info")["containers"]] == ["incomplete"]
    failed = modules.fails("nexcage_container", name="web")
    assert failed["error"]["option"] == "image" and "half-made or damaged" in failed["msg"]
    made = host.start("web", backend)
    assert made.actions == ["create", "start"] and not lives(container["pid"])
    pathlib.Path(made["container"]["backend_details"]["bundle"], "record.json").write_text("{")
    assert host.converge("web", state="absent").actions == ["delete"] and not lives(made["container"]["pid"])
    assert host.clear() == []


@pytest.mark.parametrize("state", ["started", "stopped", "paused"])
def test_what_a_killed_run_left_is_gone_after_the_next_one(host: Host, backend: str, state: str) -> None:
    made = host.start("web", backend, state=state)["container"]
    folder = pathlib.Path(f"{host.layout.state}/containers/web")
    other = "0123456789abcdef"
    (folder / other).mkdir()
    record = json.loads((folder / made["id"] / "record.json").read_text())
    left = json.dumps({**record, "id": other, "cgroup": f"/nexcage/{other}"})
    (folder / other / "record.json").write_text(left)
    predicted = modules.works("nexcage_container", check=True, name="web", state=state)
    assert not predicted["changed"] and (folder / other).exists()
    healed = host.converge("web", state=state)
    assert not healed["changed"] and healed["container"]["backend_details"]["generation_leftovers"] == []
    assert not (folder / other).exists() and (healed["container"]["id"], healed["container"]["status"]) == (made["id"], made["status"])


def test_two_runs_at_once(host: Host, backend: str) -> None:
    """The second waits for the first, and says whom it waited for."""
    from ansible_collections.nexcage.backends.plugins.module_utils.manager import observe

    host.start("web", backend)
    with observe.locked(host.layout, "web", 1):
        failed = modules.fails("nexcage_container", name="web", state="stopped", timeout=1)
    assert failed["error"]["code"] == "E_LOCKED" and f"process {os.getpid()}" in failed["msg"]
    host.converge("web", state="absent", force_kill=True)
