# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input names option, value and remedy, in check mode too, and nothing has changed after it."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import shutil
import socket
import subprocess
import threading
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import images, modules
from ansible_collections.nexcage.backends.tests.support.host import PYTHON, Host, process_of, run_as_nobody

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "docker-registry")

NOWHERE = "sha256:" + "0" * 64


@contextlib.contextmanager
def unchanged(host: Host) -> t.Iterator[None]:
    """Files, mounts, processes; the audit log and the lock may say that something was tried."""
    before = host.situation()
    yield
    after = host.situation()
    for key in {*before, *after}:
        if key != host.layout.audit and not key.startswith(host.layout.runtime + "/locks/"):
            assert before.get(key) == after.get(key), key


def refused(host: Host, option: str | None, value: object, code: str = "E_INVALID", **parameters: t.Any) -> str:
    """The same error in check mode and in a real run; its message."""
    given = {"name": "bad", "backend": "crun", "image": host.image, **parameters}
    given = {key: entry for key, entry in given.items() if entry is not None}
    told = []
    for check in (True, False):
        with unchanged(host):
            told.append(modules.fails("nexcage_container", check=check, **given))
    for result in told:
        error = result["error"]
        assert (error["code"], error["option"]) == (code, option), result
        assert value is None or error["value"] == value, error
        for text in (option, value, error["remedy"]):
            assert text is None or str(text) in result["msg"] or repr(text) in result["msg"], (text, result["msg"])
    assert told[0]["msg"] == told[1]["msg"] and told[0]["error"] == told[1]["error"]
    return str(told[0]["msg"])


VALUES: list[tuple[str, dict[str, t.Any], str, object]] = [
    ("traversal", {"name": "../etc"}, "name", "../etc"),
    ("a hidden traversal", {"name": "a/../../etc"}, "name", "a/../../etc"),
    ("NUL in the name", {"name": "a\0b"}, "name", "a\0b"),
    ("an option as name", {"name": "--root"}, "name", "--root"),
    ("no name", {"name": ""}, "name", ""),
    ("a long name", {"name": "n" * 129}, "name", "n" * 129),
    ("a line break in the name", {"name": "web\n"}, "name", "web\n"),
    ("potatoes", {"memory": "12potatoes"}, "memory", "12potatoes"),
    ("negative memory", {"memory": "-5m"}, "memory", "-5m"),
    ("little memory", {"memory": "1k"}, "memory", "1k"),
    ("swap below memory", {"memory": "64m", "memory_swap": "32m"}, "memory_swap", "32m"),
    ("swap beside unlimited memory", {"memory": -1, "memory_swap": "32m"}, "memory_swap", "32m"),
    ("swap alone", {"memory_swap": "32m"}, "memory_swap", "32m"),
    ("little CPU", {"cpus": "0.001"}, "cpus", "0.001"),
    ("an empty image", {"image": ""}, "image", ""),
    ("words for CPUs", {"cpus": "many"}, "cpus", "many"),
    ("more CPUs than the host has", {"cpus": "1000.5"}, "cpus", "1000.5"),
    ("CPUs that do not exist", {"cpuset_cpus": "0,900"}, "cpuset_cpus", "0,900"),
    ("a memory node that does not exist", {"cpuset_mems": "63"}, "cpuset_mems", "63"),
    ("a backward range", {"cpuset_cpus": "1-0"}, "cpuset_cpus", "1-0"),
    ("few shares", {"cpu_shares": 1}, "cpu_shares", 1),
    ("negative pids", {"pids_limit": -2}, "pids_limit", -2),
    ("an unknown limit", {"ulimits": ["speed=1"]}, "ulimits", "speed=1"),
    ("soft above hard", {"ulimits": ["nofile=2:1"]}, "ulimits", "nofile=2:1"),
    ("more descriptors than the kernel has", {"ulimits": ["nofile=99999999999"]}, "ulimits", "nofile=99999999999:99999999999"),
    ("a boolean in env", {"env": {"DEBUG": True}}, "env.DEBUG", True),
    ("a fraction in env", {"env": {"RATIO": 1.5}}, "env.RATIO", 1.5),
    ("an empty variable", {"env": {"NAME": None}}, "env.NAME", None),
    ("a variable without name", {"env": {"": "x"}}, "env", ""),
    ("a name with =", {"env": {"A=B": "x"}}, "env", "A=B"),
    ("NUL in env", {"env": {"A": "x\0y"}}, "env.A", "x\0y"),
    ("bytes that are no text", {"env": {"A": "\udcff"}}, "env.A", None),
    ("a boolean label", {"labels": {"front": True}}, "labels.front", True),
    ("open and secret", {"env": {"A": "1"}, "secret_env": {"A": "2"}}, "secret_env", "A"),
    ("a missing env file", {"env_file": ["/does/not/exist"]}, "env_file", "/does/not/exist"),
    ("a folder as env file", {"env_file": ["/etc"]}, "env_file", "/etc"),
    ("a mount of nothing", {"mounts": [{"source": "/does/not/exist", "target": "/a"}]}, "mounts", "/does/not/exist"),
    ("a volume of nothing", {"volumes": ["/etc:/does/not/exist/here", "/does/not/exist//:/a:ro"]}, "volumes", "/does/not/exist//:/a:ro"),
    ("a named volume", {"volumes": ["data:/a"]}, "volumes", "data:/a"),
    ("a mount over everything", {"volumes": ["/etc:/"]}, "volumes.target", "/"),
    ("a mount out of it", {"mounts": [{"source": "/etc", "target": "/a/../.."}]}, "mounts.target", "/a/../.."),
    ("two mounts on one target", {"volumes": ["/etc:/a"], "tmpfs": ["/a"]}, "tmpfs", "/a"),
    ("an unknown mount option", {"volumes": ["/etc:/a:rx"]}, "volumes.options", "rx"),
    ("a tmpfs with a source", {"mounts": [{"type": "tmpfs", "source": "/etc", "target": "/a"}]}, "mounts.source", "/etc"),
    ("an open quotation", {"command": "sh -c 'x"}, "command", "sh -c 'x"),
    ("a number among the words", {"command": ["sleep", 1.5]}, "command", 1.5),
    ("a relative folder", {"working_dir": "data"}, "working_dir", "data"),
    ("an unknown user", {"user": "alice"}, "user", "alice"),
    ("an unknown group", {"groups": ["staff"]}, "groups", "staff"),
    ("a host name with a blank", {"hostname": "my host"}, "hostname", "my host"),
    ("an unknown capability", {"cap_add": ["FLY"]}, "cap_add", "FLY"),
    ("an unknown signal", {"stop_signal": "SIGNIFICANT"}, "stop_signal", "SIGNIFICANT"),
    ("an unknown kill signal", {"kill_signal": "0"}, "kill_signal", "0"),
    ("a long stop time-out", {"stop_timeout": 999999}, "stop_timeout", 999999),
    ("no time", {"timeout": 0}, "timeout", 0),
    ("a missing seccomp profile", {"seccomp_profile": "/does/not/exist"}, "seccomp_profile", "/does/not/exist"),
    ("a seccomp profile that is none", {"seccomp_profile": "/etc/passwd"}, "seccomp_profile", "/etc/passwd"),
    ("a reserved annotation", {"annotations": {"run.oci.hooks": "x"}}, "annotations", "run.oci.hooks"),
    ("an unknown wait condition", {"wait": "ready"}, "wait", "ready"),
    ("a port that is none", {"wait": "port:99999"}, "wait", "port:99999"),
    ("a port without network", {"wait": "port:80"}, "wait", "port:80"),
    ("waiting for a stopped one to run", {"wait": "running", "state": "stopped"}, "wait", "running"),
    ("waiting for an absent one", {"wait": "exited", "state": "absent"}, "wait", "exited"),
    ("image and bundle", {"bundle": "/srv/bundle"}, "bundle", "/srv/bundle"),
    ("neither image nor bundle", {"image": None}, "image", None),
    ("a missing bundle", {"image": None, "bundle": "/does/not/exist"}, "bundle", "/does/not/exist"),
    ("a program that is not in the image", {"command": ["/no/such/program"]}, "command", "/no/such/program"),
]


@pytest.mark.parametrize(("parameters", "option", "value"), [entry[1:] for entry in VALUES], ids=[entry[0] for entry in VALUES])
def test_a_value_that_is_wrong(host: Host, parameters: dict[str, t.Any], option: str, value: object) -> None:
    refused(host, option, value, **parameters)


def test_more_memory_than_the_host_has_is_no_fault(host: Host) -> None:
    """As with podman and docker; one playbook may be for hosts of every size."""
    host.start("large", "crun", memory="999t")
    assert not host.start("large", "crun", memory="999t")["changed"]
    assert host.converge("large", memory="998t")["container"]["resources"]["memory"] == 998 << 40
    host.converge("large", state="absent", force_kill=True)


IMAGES: list[tuple[str, t.Callable[[Host], str], str]] = [
    ("a short name", lambda host: "nginx", "E_INVALID"),
    ("a folder that is missing", lambda host: "oci:/does/not/exist:1", "E_IMAGE"),
    ("a tag that is missing", lambda host: f"oci:{host.root}/images:three", "E_IMAGE"),
    ("another digest", lambda host: f"{host.image}@{NOWHERE}", "E_IMAGE"),
    ("a registry that is down", lambda host: f"docker://127.0.0.1:{unused_port()}/web:1", "E_REGISTRY"),
    ("a registry that refuses", lambda host: f"docker://127.0.0.1:{refusing_port()}/web:1", "E_REGISTRY"),
]


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Refusing(http.server.BaseHTTPRequestHandler):
    """A registry that wants credentials and knows nobody."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if self.raw_requestline and self.parse_request():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="closed"')
            self.end_headers()
        self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


def refusing_port() -> int:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


@pytest.mark.parametrize(("image", "code"), [entry[1:] for entry in IMAGES], ids=[entry[0] for entry in IMAGES])
def test_an_image_that_cannot_be_had(host: Host, image: t.Callable[[Host], str], code: str) -> None:
    reference = image(host)
    refused(host, "image", reference, code, image=reference, validate_certs=False)


def test_an_unknown_image_of_a_registry_that_runs(host: Host, tmp_path: pathlib.Path) -> None:
    with images.running_registry(tmp_path) as registry:
        reference = f"docker://{registry.address}/nothing:1"
        assert "validate_certs" not in refused(host, "image", reference, "E_IMAGE", image=reference, validate_certs=False)


def test_an_image_that_only_a_pull_would_bring(host: Host) -> None:
    fresh = images.make_small_layout(host.files / "unpulled")
    refused(host, "image", fresh, "E_IMAGE", image=fresh, pull="never")


def test_a_disk_that_is_full_while_unpacking(host: Host) -> None:
    folder = host.files / "small disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "none", folder], check=True)
    try:
        with modules.nexcage_root(folder):
            result = modules.fails("nexcage_container", name="full", backend="crun", image=host.image)
            assert result["error"]["code"] == "E_SPACE" and host.image in result["msg"], result
            left = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 4096]
            assert left == [] and modules.works("nexcage_container_info")["containers"] == []
            subprocess.run(["mount", "-o", "remount,size=30m", folder], check=True)
            assert modules.works("nexcage_container", name="full", backend="crun", image=host.image, state="present")["changed"]
            modules.works("nexcage_container", name="full", state="absent")
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_capability_that_the_caller_lacks(host: Host) -> None:
    held = int(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd")).split()[1], 16)
    if held >> 24 & 1:  # SYS_RESOURCE
        assert modules.works("nexcage_container", name="bad", image=host.image, cap_add=["SYS_RESOURCE"], check=True)["changed"]
    else:
        assert "CapBnd" in refused(host, "cap_add", "SYS_RESOURCE", "E_PRIVILEGE", cap_add=["SYS_RESOURCE"])


@pytest.fixture
def settings(host: Host) -> t.Iterator[t.Callable[..., None]]:
    """Sets a plugin's settings for one test."""

    def change(name: str, **parameters: t.Any) -> None:
        modules.works("nexcage_plugin", name=name, **parameters)

    yield change
    pathlib.Path(host.layout.configuration, "config.json").unlink(missing_ok=True)


def fake_runtime(host: Host, words: str) -> str:
    path = host.files / "fake"
    path.write_text(f"#!/bin/sh\necho '{words}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_runtime_that_is_missing_or_too_old(host: Host, settings: t.Callable[..., None], backend: str) -> None:
    settings(backend, config={"binary_path": f"/opt/nowhere/{backend}"})
    assert f"/opt/nowhere/{backend} is not installed" in refused(host, "backend", backend, "E_BINARY", backend=backend)
    settings(backend, config={"binary_path": fake_runtime(host, f"{backend} version 0.9.1")})
    told = refused(host, "backend", backend, "E_BINARY", backend=backend)
    assert ">=1.0.0" in told and "0.9.1" in told
    settings(backend, config={"binary_path": fake_runtime(host, "no version at all")})
    assert "tells no version" in refused(host, "backend", backend, "E_BINARY", backend=backend)
    (host.files / "fake").chmod(0o777)
    assert "can be changed by others" in refused(host, "backend", backend, "E_BINARY", backend=backend)
    other = "runc" if backend == "crun" else "crun"
    made = host.converge("elsewhere", image=host.image, state="present")
    assert made["container"]["backend"] == other
    host.converge("elsewhere", state="absent")


def test_no_backend_at_all(host: Host, settings: t.Callable[..., None]) -> None:
    settings("crun", state="disabled")
    refused(host, "backend", "crun", "E_DISABLED")
    settings("runc", config={"binary_path": "/opt/nowhere/runc"})
    told = refused(host, "backend", "auto", "E_BINARY", backend="auto")
    assert "crun: disabled" in told and "runc: /opt/nowhere/runc is not installed" in told and "or enable the one that is disabled" in told
    settings("runc", state="disabled")
    told = refused(host, "backend", "auto", "E_DISABLED", backend="auto")
    assert "enable one with nexcage_plugin: name=crun" in told and "install" not in told


def test_a_container_of_another_backend(host: Host, backend: str) -> None:
    other = "runc" if backend == "crun" else "crun"
    host.start("bad", other, state="present")
    for state in ("started", "stopped", "absent"):
        assert f"belongs to the backend {other}" in refused(host, "backend", backend, "E_OWNER", backend=backend, state=state)
    host.converge("bad", state="absent")


def test_nothing_is_done_through_a_disabled_backend(host: Host, settings: t.Callable[..., None], backend: str) -> None:
    other = "runc" if backend == "crun" else "crun"
    made = host.start("bad", other)["container"]
    settings(other, state="disabled")
    for wanted in ("auto", other):
        for state in ("started", "stopped", "absent"):
            told = refused(host, "name", "bad", "E_DISABLED", backend=wanted, state=state)
            assert f"enable it with nexcage_plugin: name={other}-backend state=enabled" in told and "choose another" not in told
    refused(host, "backend", backend, "E_OWNER", backend=backend, state="absent")
    refused(host, "name", "bad", "E_DISABLED", backend=backend, state="absent", replace_backend=True)
    told = str(modules.fails("nexcage_container_exec", name="bad", argv=["true"])["msg"])
    assert "enable it with" in told and "choose another" not in told
    assert host.one("bad") == made
    assert host.converge("bad", backend=backend, replace_backend=True, force_kill=True)["container"]["backend"] == backend
    host.converge("bad", state="absent", force_kill=True)


@pytest.fixture
def foreign(host: Host) -> t.Iterator[str]:
    """The name of a container whose plugin is not there any more."""
    folder = pathlib.Path(host.layout.state, "containers/bad")
    generation = folder / ("a" * 16)
    generation.mkdir(parents=True)
    (folder / "current").write_text("a" * 16 + "\n")
    facts = {"schema_version": 1, "id": "a" * 16, "name": "bad", "backend": "other-backend", "spec": {}, "cgroup": "/nexcage/" + "a" * 16}
    record = {**facts, "runtime": "other", "rootfs": {}, "stop_signal": 15, "stop_timeout": 10}
    (generation / "record.json").write_text(json.dumps(record))
    yield "bad"
    shutil.rmtree(folder)


def test_a_container_of_a_plugin_that_is_gone(host: Host, foreign: str) -> None:
    for state in ("started", "absent"):
        assert "other-backend" in refused(host, "name", foreign, "E_OWNER", state=state)
    with unchanged(host):
        listing = modules.works("nexcage_container_info")
        told = modules.fails("nexcage_container_exec", name=foreign, argv=["true"])
    assert listing["containers"] == [] and [entry["name"] for entry in listing["not_listed"]] == [foreign]
    assert "other-backend" in json.dumps(listing["warnings"])
    assert told["error"]["code"] == "E_OWNER"


@pytest.mark.parametrize(
    ("option", "parameters"),
    [
        ("cpuset_cpus", {"cpuset_cpus": "900"}),
        ("mounts", {"mounts": [{"source": "/does/not/exist", "target": "/a"}]}),
        ("command", {"command": ["/no/such/program"]}),
        ("memory_swap", {"memory_swap": "1g", "memory": "2g"}),
        ("image", {"image": "oci:/does/not/exist:1"}),
    ],
)
def test_a_running_container_survives_bad_input(host: Host, backend: str, option: str, parameters: dict[str, t.Any]) -> None:
    made = host.start("bad", backend, memory="64m")["container"]
    result = refused(host, option, None, "E_IMAGE" if option == "image" else "E_INVALID", backend=backend, **{"image": host.image, **parameters})
    assert result and host.one("bad") == made
    host.converge("bad", state="absent", force_kill=True)


def test_less_memory_than_is_used(host: Host, backend: str) -> None:
    made = host.start("bad", backend, memory="64m", pids_limit=70, tmpfs=["/scratch"])["container"]
    modules.works("nexcage_container_exec", name="bad", argv=["/bin/sh", "-c", "head -c 40000000 /dev/zero > /scratch/x"])
    result = modules.fails("nexcage_container", name="bad", memory="8m", pids_limit=60)
    assert (result["error"]["option"], result["error"]["value"], result["changed"]) == ("memory", "8m", False)
    assert result["error"]["details"]["failed"] == "update"
    assert host.one("bad") == made  # none of the limits
    assert host.converge("bad", memory="80m", pids_limit=60).actions == ["update"]
    host.converge("bad", state="absent", force_kill=True)


def test_a_value_that_an_older_one_rules_out(host: Host) -> None:
    host.start("bad", "crun", state="present", memory="64m", memory_swap="128m")
    told = refused(host, "memory", "256m", image=None, memory="256m")
    assert "larger than the memory_swap of 128 MiB that this container has" in told and "give memory_swap too" in told
    assert "give memory_swap: -1 too" in refused(host, "memory", "-1", image=None, memory="-1")
    assert host.converge("bad", state="present", memory_swap="130m").actions == ["update"]
    assert host.converge("bad", state="present", memory="256m", memory_swap="-1").actions == ["update"]
    host.converge("bad", state="absent")


def test_a_replacement_that_fails_leaves_the_old_one_running(host: Host, backend: str) -> None:
    """What only the runtime can refuse is refused while the old container still runs."""
    made = host.start("bad", backend)["container"]
    with unchanged(host):
        # a file cannot be mounted on a folder; only the runtime notices
        result = modules.fails("nexcage_container", name="bad", backend=backend, volumes=["/etc/passwd:/bin"])
    assert result["error"]["code"] == "E_RUNTIME" and result.actions == ["replace", "start"]
    assert result["error"]["details"]["failed"] == "replace" and result["error"]["details"]["done"] == []
    assert host.one("bad") == made and process_of(made).file("/which") == "one"
    host.converge("bad", state="absent", force_kill=True)


@pytest.mark.requires(PYTHON)
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        ("nexcage_container", {"name": "web", "image": "oci:/images/web:1"}),
        ("nexcage_container", {"name": "web", "state": "absent"}),
        ("nexcage_container_exec", {"name": "web", "argv": ["true"]}),
        ("nexcage_container_info", {}),
    ],
)
def test_whoever_is_not_root_is_told_to_become(tmp_path: pathlib.Path, module: str, parameters: dict[str, t.Any], check: bool) -> None:
    result = run_as_nobody(tmp_path, module, check=check, **parameters)
    assert result["failed"] and result["error"]["code"] == "E_PRIVILEGE" and "become: true" in result["msg"], result
    assert list(tmp_path.iterdir()) == []
