# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible sends to a host, run there by other Pythons, other users, and inside something like a container."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support.ansible_cli import adhoc
from ansible_collections.nexcage.backends.tests.support.host import FOREVER, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "setpriv", "unshare")
SYSTEM_PYTHON = "/usr/bin/python3"
# capabilities(7) that docker and podman leave to root of a container
CONTAINER = "-all," + ",".join(f"+{name}" for name in "chown dac_override fowner fsetid kill net_bind_service setfcap setgid setpcap setuid sys_chroot".split())


@pytest.fixture(scope="module")
def payload(host: Host, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The AnsiballZ of one task in check mode, with the code that the host asked for, where anybody can read it."""
    home = tmp_path_factory.mktemp("payload")
    host.start("early", "crun", state="present")
    host.converge("early", state="absent")
    # as many at once as the shell of a real connection would have: one file, parameters included
    parameters = json.dumps({"name": "sent", "image": host.image, "command": FOREVER, "memory": "32m", "timeout": 60})
    shutil.rmtree(code_of(host), ignore_errors=True)  # of earlier tests
    predicted, shown = adhoc(home, "nexcage_container", parameters, "--check", ANSIBLE_KEEP_REMOTE_FILES="1")
    assert not predicted["failed"] and not kept(host), shown  # check mode keeps nothing
    found = list((home / "remote").glob("*/AnsiballZ_nexcage_container.py"))
    assert len(found) == 1, found
    file = pathlib.Path(shutil.copy(found[0], host.files / "sent.py"))
    text = file.read_text()
    assert text.count('"_ansible_check_mode": true') == text.count('"_code_data": ') == 1
    file.write_text(text.replace('"_ansible_check_mode": true', '"_ansible_check_mode": false'))
    return file


@pytest.fixture
def open_root(host: Host) -> t.Iterator[None]:
    """Let other users read the payload."""
    before = host.root.stat().st_mode
    host.root.chmod(0o755)
    yield
    host.root.chmod(before)


def run(*command: str | pathlib.Path) -> dict[str, t.Any]:
    ended = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False, cwd="/tmp")
    assert ended.stdout.strip().startswith("{"), ended.stdout + ended.stderr
    return t.cast("dict[str, t.Any]", json.loads(ended.stdout))


def pythons(repository: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """The oldest and the newest Python that is here, and the system's own."""
    subprocess.run([str(repository / "tools/find-python"), "links", str(folder)], check=True, stdin=subprocess.DEVNULL)
    found = sorted(folder.glob("python3.*"), key=lambda path: int(path.name.rpartition(".")[2]))
    return sorted({str(found[0]), str(found[-1]), SYSTEM_PYTHON}) if found else [SYSTEM_PYTHON]


def kept(host: Host) -> dict[str, int]:
    """The files of the collection's code and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in code_of(host).glob("*")}


def code_of(host: Host) -> pathlib.Path:
    return host.root / "var/cache/nexcage/code"


def test_each_python_makes_and_finds_a_container(host: Host, payload: pathlib.Path, repository: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for python in pythons(repository, tmp_path / "pythons"):
        shutil.rmtree(code_of(host), ignore_errors=True)  # of earlier tests, or of another Python of the same version
        made = run(python, payload)
        before = kept(host)
        again = run(python, payload)
        assert len(before) == 2 and kept(host) == before  # written once: what was sent, and what this Python made of it
        assert made.get("changed") is True and made["container"]["status"] == "running", (python, made.get("msg"))
        assert again.get("changed") is False and made["sandbox"]["tier"] == again["sandbox"]["tier"] == "standard", (python, again.get("msg"))
        host.converge("sent", state="absent", force_kill=True)


def test_exploded(host: Host, payload: pathlib.Path) -> None:
    """How one looks for the cause of a problem: take it apart, change something, run it."""
    subprocess.run([SYSTEM_PYTHON, str(payload), "explode"], check=True, capture_output=True)
    try:
        made, again = run(SYSTEM_PYTHON, payload, "execute"), run(SYSTEM_PYTHON, payload, "execute")
        assert made["changed"] and made["sandbox"]["tier"] == "standard" and not again["changed"]
    finally:
        shutil.rmtree(payload.parent / "debug_dir")
        host.converge("sent", state="absent", force_kill=True)


def test_through_another_interpreter(host: Host, tmp_path: pathlib.Path) -> None:
    text = f"name=other image={host.image} state=present"
    for pipelining in ("0", "1"):
        made, shown = adhoc(tmp_path, "nexcage_container", text, "-e", f"ansible_python_interpreter={SYSTEM_PYTHON}", ANSIBLE_PIPELINING=pipelining)
        assert made["changed"] is (pipelining == "0") and made["container"]["status"] == "created", shown


def sent(home: pathlib.Path, module: str, text: str, *options: str) -> tuple[bool, dict[str, t.Any]]:
    """Whether a task sent the code, and its result."""
    before = set(home.glob("remote/*/*"))
    result, shown = adhoc(home, module, text, *options, ANSIBLE_KEEP_REMOTE_FILES="1")
    assert not result["failed"], shown
    (payload,) = set(home.glob("remote/*/AnsiballZ_*")) - before
    return '"_code_data": ' in payload.read_text(), result


def test_code_is_sent_until_a_task_may_keep_it(host: Host, tmp_path: pathlib.Path) -> None:
    """What only looks keeps nothing; what may change something does, also where there was nothing to change."""
    shutil.rmtree(code_of(host), ignore_errors=True)
    text = "name=nobody state=absent"
    for module, options in (("nexcage_container_info", ()), ("nexcage_container", ("--check",)), ("nexcage_plugin_info", ())):
        assert sent(tmp_path, module, "" if module.endswith("info") else text, *options)[0] and not kept(host)
    assert sent(tmp_path, "nexcage_container", text)[0] and len(kept(host)) == 2
    before = kept(host)
    for module, options in (("nexcage_container_info", ()), ("nexcage_container", ("--check",)), ("nexcage_container", ())):
        assert not sent(tmp_path, module, "" if module.endswith("info") else text, *options)[0]
    assert kept(host) == before


def test_an_asynchronous_task(host: Host, tmp_path: pathlib.Path) -> None:
    """Nobody is there to ask, so the code goes along; and where it is kept already, nothing is written."""
    shutil.rmtree(code_of(host), ignore_errors=True)
    for state, changed in (("present", True), ("absent", True)):
        text = f"name=later image={host.image} state={state}"
        result, shown = adhoc(tmp_path, "nexcage_container", text, "-B", "60", "-P", "1", "-e", f"ansible_async_dir={tmp_path}/jobs")
        assert result["changed"] is changed and result["finished"] and result["container"]["name"] == "later", shown
    assert len(kept(host)) == 2


# ---- without what it takes


def refused(host: Host, *command: str | pathlib.Path) -> str:
    """A run that has to fail before anything happened; what it says."""
    before = host.situation()
    result = run(*command)
    assert result["failed"] and result["error"]["code"] == "E_PRIVILEGE" and result["error"]["remedy"], result
    after = host.situation()
    # the state folder may have got what any first run makes
    assert {key: value for key, value in after.items() if key in before or key.endswith(("/containers", "/tasks"))} == before
    return str(result["msg"])


@pytest.mark.usefixtures("open_root")
def test_an_unprivileged_user(host: Host, payload: pathlib.Path) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert "become: true" in refused(host, *nobody, SYSTEM_PYTHON, payload)
    # also where not even a worker can be started
    assert "become: true" in refused(host, *nobody, "prlimit", "--nproc=1:1", SYSTEM_PYTHON, payload)


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        (("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"), "CAP_SYS_ADMIN"),
        (("setpriv", "--bounding-set=" + CONTAINER, "--inh-caps=" + CONTAINER), "CAP_SYS_ADMIN"),
        (("setpriv", "--bounding-set=-all", "--inh-caps=-all"), "CAP_SETUID"),
        (("unshare", "--user", "--map-root-user"), "user namespace"),
        (("unshare", "--user", "--map-root-user", "--mount"), "user namespace"),
    ],
    ids=["no-admin", "like-docker", "nothing", "user-namespace", "user-and-mount-namespace"],
)
def test_root_that_is_none(host: Host, payload: pathlib.Path, command: tuple[str, ...], lacking: str) -> None:
    message = refused(host, *command, SYSTEM_PYTHON, payload)
    assert lacking in message and "privileged" in message


def test_nothing_of_this_is_needed_to_look(host: Host, payload: pathlib.Path) -> None:
    """A container that is as it should be is found so, with no capability at all."""
    made = run(SYSTEM_PYTHON, payload)
    found = run("setpriv", "--bounding-set=-all", "--inh-caps=-all", SYSTEM_PYTHON, payload)
    assert found.get("changed") is False and found["container"]["id"] == made["container"]["id"], found.get("msg")
    assert os.path.isdir(made["container"]["backend_details"]["bundle"])
    host.converge("sent", state="absent", force_kill=True)
