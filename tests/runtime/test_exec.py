# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in running containers, through the module."""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.containers import command_lines
from ansible_collections.nexcage.backends.tests.support.host import RUNTIMES, Host, process_of

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")


@pytest.fixture(scope="module", params=RUNTIMES)
def container(request: pytest.FixtureRequest, host: Host) -> t.Iterator[dict[str, t.Any]]:
    """One for all tests of a runtime; none of them ends it."""
    made = host.start(f"web-{request.param}", request.param, env={"OWN": "1"}, secret_env={"KEPT": "hush-8d1f"}, working_dir="/tmp")["container"]
    yield made
    host.converge(made["name"], state="absent", force_kill=True)


@pytest.fixture(autouse=True)
def tidy() -> None:
    """The container stays from test to test, in the place of the general cleaning."""


def sh(container: t.Mapping[str, t.Any], script: str, **parameters: t.Any) -> modules.Result:
    return modules.works("nexcage_container_exec", name=container["name"], argv=["/bin/sh", "-c", script], **parameters)


def test_both_streams_and_the_code(container: dict[str, t.Any]) -> None:
    done = sh(container, "echo out; echo err >&2")
    assert (done["changed"], done["rc"], done["stdout"], done["stderr"]) == (True, 0, "out", "err")
    failed = modules.fails("nexcage_container_exec", name=container["name"], argv=["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (failed["rc"], failed["stdout"], failed["stderr"], failed["error"]["code"]) == (3, "out", "err", "E_RUNTIME")
    assert failed["error"]["option"] == "argv" and "failed_when" in failed["msg"]
    killed = modules.fails("nexcage_container_exec", name=container["name"], command="sh -c 'kill -9 $$'")
    assert killed["rc"] == 137 and killed["error"]["option"] == "command"


def test_text_as_it_was_written(container: dict[str, t.Any]) -> None:
    done = sh(container, "printf 'a\\n\\nb \\r\\n\\n'; printf 'x\\n' >&2", strip_empty_ends=False)
    assert (done["stdout"], done["stderr"]) == ("a\n\nb \r\n\n", "x\n")
    done = sh(container, "printf 'a\\n\\nb \\r\\n\\n'")
    assert done["stdout"] == "a\n\nb "
    assert sh(container, "true")["stdout"] == ""


def test_bytes_that_are_no_text(container: dict[str, t.Any]) -> None:
    done = sh(container, "printf '\\377\\000\\303\\274'")
    assert done["stdout"].encode("utf-8", "surrogateescape") == b"\xff\x00\xc3\xbc"


def test_standard_input(container: dict[str, t.Any]) -> None:
    assert sh(container, "cat | wc -c", stdin="grün")["stdout"].strip() == "6"  # with its newline
    assert sh(container, "cat", stdin="a\nb", stdin_add_newline=False, strip_empty_ends=False)["stdout"] == "a\nb"
    assert sh(container, "cat; echo end")["stdout"] == "end"  # nothing to read, and no waiting
    big = "x" * 3_000_000
    assert sh(container, "wc -c", stdin=big, stdin_add_newline=False)["stdout"].strip() == "3000000"
    assert sh(container, "true", stdin=big)["rc"] == 0  # one who does not read it


def test_much_output(container: dict[str, t.Any]) -> None:
    done = sh(container, "head -c 5000000 /dev/zero; head -c 3000000 /dev/zero >&2")
    assert len(done["stdout"]) == 5_000_000 and len(done["stderr"]) == 3_000_000


def test_environment(container: dict[str, t.Any]) -> None:
    done = sh(container, "echo $OWN $KEPT $NEW $PATH", env={"NEW": 5, "OWN": "2"})
    assert done["stdout"] == "2 hush-8d1f 5 /bin"  # what the command itself writes is its own affair
    refused = modules.fails("nexcage_container_exec", name=container["name"], argv=["true"], env={"A": True})
    assert refused["error"]["option"] == "env.A" and "quotes" in refused["error"]["remedy"]


def test_secret_environment(host: Host, container: dict[str, t.Any]) -> None:
    done = sh(container, 'test ${#S} = 14; test -z "$(ps | grep hush-2e[7])"', secret_env={"S": "hush-2e7a-exec"})
    assert "hush-2e7a" not in json.dumps(done) and host.holders("hush-2e7a") == []
    failed = modules.run("nexcage_container_exec", name=container["name"], argv=["/bin/sh", "-c", "echo $S; false"], secret_env={"S": "hush-2e7a-exec"})
    assert failed["failed"] and "hush-2e7a" not in json.dumps(failed)  # Ansible masks the value of a no_log option


def test_user_and_folder(container: dict[str, t.Any]) -> None:
    assert sh(container, "id -u; echo $PWD")["stdout"] == "0\n/tmp"
    assert sh(container, "id -u; id -g; echo $PWD", user="nobody", working_dir="/etc")["stdout"] == "65534\n65534\n/etc"
    assert sh(container, "id -u; id -g", user="1000:2000")["stdout"] == "1000\n2000"
    assert sh(container, "echo $PWD", chdir="/bin/")["stdout"] == "/bin"
    for parameters, option in (({"user": "alice"}, "user"), ({"working_dir": "etc"}, "working_dir"), ({"timeout": 0}, "timeout")):
        refused = modules.fails("nexcage_container_exec", name=container["name"], argv=["true"], **parameters)
        assert refused["error"]["option"] == option
    assert "working_dir" in modules.fails("nexcage_container_exec", name=container["name"], argv=["true"], working_dir="/no/such")["msg"]


def test_commands_that_cannot_run(container: dict[str, t.Any]) -> None:
    for parameters, option in (({"argv": ["/no/such"]}, "argv"), ({"command": "nothing --here"}, "command"), ({"command": "'open"}, "command")):
        refused = modules.fails("nexcage_container_exec", name=container["name"], **parameters)
        assert refused["error"]["code"] == "E_INVALID" and refused["error"]["option"] == option, refused["msg"]
    for parameters in ({"argv": []}, {"command": ""}, {"argv": [""]}):
        assert "names no program" in modules.fails("nexcage_container_exec", name=container["name"], **parameters)["msg"]
    for parameters in ({}, {"argv": ["true"], "command": "true"}):
        assert modules.run("nexcage_container_exec", name=container["name"], **parameters)["failed"]


def test_creates_and_removes(container: dict[str, t.Any]) -> None:
    root = pathlib.Path(f"/proc/{container['pid']}/root")
    for check in (False, True):
        assert not sh(container, "echo ran", creates="/which", check=check)["changed"]
        assert "does not exist" in sh(container, "echo ran", removes="/none", check=check)["msg"]
    assert sh(container, "echo ran", creates="/none")["stdout"] == "ran"
    assert sh(container, "echo ran", removes="/which")["stdout"] == "ran"
    # links are followed inside the container: the host has /etc/debian_version or /work, the container has not
    for name, target in (("to-host", "/etc/hostname-of-host"), ("to-own", "/which"), ("up", "../../../../../which"), ("loop", "loop")):
        (root / "tmp" / name).symlink_to(target)
    here = os.path.realpath(__file__)
    (root / "tmp/to-this-file").symlink_to(here)
    assert sh(container, "echo ran", creates="/tmp/to-this-file")["stdout"] == "ran"
    assert sh(container, "echo ran", creates="/tmp/to-host")["stdout"] == "ran"
    assert sh(container, "echo ran", creates="/tmp/loop")["stdout"] == "ran"
    for name in ("to-own", "up"):
        assert sh(container, "echo ran", creates=f"/tmp/{name}")["stdout"] == ""
    assert modules.fails("nexcage_container_exec", name=container["name"], argv=["true"], creates="which")["error"]["option"] == "creates"
    for name in ("to-host", "to-own", "up", "loop", "to-this-file"):
        (root / "tmp" / name).unlink()


def test_check_mode_runs_nothing(host: Host, container: dict[str, t.Any]) -> None:
    before = host.situation()
    skipped = sh(container, "touch /tmp/made", check=True)
    assert skipped["skipped"] and not skipped["changed"] and skipped["rc"] == 0 and "check mode" in skipped["msg"]
    assert host.situation() == before and not pathlib.Path(f"/proc/{container['pid']}/root/tmp/made").exists()
    early = modules.works("nexcage_container_exec", name="not-yet", argv=["true"], check=True)  # a task before this one would make it
    assert early["skipped"] and "does not run yet" in early["msg"]


def test_time_out_kills_what_was_started(container: dict[str, t.Any]) -> None:
    begin = time.monotonic()
    failed = modules.fails("nexcage_container_exec", name=container["name"], argv=["/bin/sh", "-c", "echo begun; sleep 987 & sleep 987"], timeout=1)
    assert 0.9 < time.monotonic() - begin < 3 and failed["error"]["code"] == "E_TIMEOUT" and failed["error"]["option"] == "timeout"
    assert failed["stdout"] == "begun" and not [line for _pid, line in command_lines() if "sleep 987" in line]
    assert process_of(container).status("State")  # the container itself goes on
    assert sh(container, "echo on")["stdout"] == "on"


def test_a_child_in_the_background_is_not_waited_for(container: dict[str, t.Any]) -> None:
    begin = time.monotonic()
    done = sh(container, "sleep 5 & echo begun")
    assert done["stdout"] == "begun" and time.monotonic() - begin < 3


def test_containers_that_do_not_run(host: Host, backend: str) -> None:
    missing = modules.fails("nexcage_container_exec", name="missing", argv=["true"])
    assert (missing["error"]["code"], missing["error"]["option"], missing["error"]["value"]) == ("E_NOT_FOUND", "name", "missing")
    for state, status in (("present", "created"), ("paused", "paused"), ("stopped", "stopped")):
        host.start("still", backend, state=state, force_kill=True)
        refused = modules.fails("nexcage_container_exec", name="still", argv=["true"])
        assert refused["error"]["option"] == "name" and f"is {status}" in refused["msg"]
    assert modules.fails("nexcage_container_exec", name="../x", argv=["true"])["error"]["option"] == "name"
    host.converge("still", state="absent")
