# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands in running containers: exact bytes, exact codes, and nothing that hangs."""

from __future__ import annotations

import base64
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import execution
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import Yard, command_lines

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")


def children() -> set[str]:
    return set(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_exact_bytes_and_codes(yard: Yard) -> None:
    yard.run()
    everything = bytes(range(256)) * 2000
    answer = yard.engine.exec("web", {"argv": ["cat"], "stdin": base64.b64encode(everything).decode()})
    assert base64.b64decode(answer["stdout"]) == everything and answer["stderr"] == "" and answer["rc"] == 0 and not answer["timed_out"]
    # a command that does not read what it is fed
    assert yard.engine.exec("web", {"argv": ["true"], "stdin": base64.b64encode(everything).decode()})["rc"] == 0
    assert yard.shell("echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert yard.shell("kill -9 $$")[0] == 137
    assert yard.shell("kill -15 $$")[0] == 143
    assert yard.shell("cat")[:2] == (0, "")  # without stdin it reads an end of file
    assert yard.shell("echo a > /dev/stdout; echo b; echo c > /dev/stderr", user="app") == (0, "a\nb\n", "c\n")


def test_what_runs_on_in_the_background_keeps_nobody_waiting(yard: Yard) -> None:
    yard.run()
    before = children()
    begun = time.monotonic()
    assert yard.shell("sleep 77 & echo hi; exit 5") == (5, "hi\n", "")
    assert time.monotonic() - begun < 5 and children() <= before
    assert "sleep 77" in yard.shell("ps")[1]
    yard.engine.stop("web")  # and it does not keep the container from ending


def test_a_timeout_kills_the_command_and_what_it_started(yard: Yard) -> None:
    yard.run()
    before = children()
    begun = time.monotonic()
    answer = yard.engine.exec("web", {"argv": ["sh", "-c", "echo before; sleep 78; echo after"], "timeout": 0.3})
    assert answer["timed_out"] and answer["rc"] == 137 and base64.b64decode(answer["stdout"]) == b"before\n" and time.monotonic() - begun < 5
    assert "sleep 78" not in yard.shell("ps")[1] and children() <= before


def test_what_cannot_be_started_is_refused_and_leaves_nothing(yard: Yard) -> None:
    yard.run()
    wrong: list[dict[str, t.Any]] = [{"argv": ["no-such"]}, {"argv": ["true"], "working_dir": "/nope"}, {"argv": []}, {"argv": ["a\0b"]}]
    for request in wrong:
        with pytest.raises(NexcageError) as caught:
            yard.engine.exec("web", request)
        assert (caught.value.code, caught.value.option) == ("E_INVALID", "argv")
    with pytest.raises(NexcageError, match="no such user"):
        yard.shell("true", user="nobody-here")
    with pytest.raises(NexcageError, match="no such container"):
        yard.shell("true", name="none")
    assert not os.listdir(f"{yard.layout.runtime}/conmon/{yard.one()['id']}") or all(
        not name.startswith("exec") for name in os.listdir(f"{yard.layout.runtime}/conmon/{yard.one()['id']}")
    )
    yard.engine.stop("web")
    with pytest.raises(NexcageError, match="stopped, not running"):
        yard.shell("true")


def test_environment_user_and_secrets(yard: Yard) -> None:
    yard.run(cap_add=["NET_ADMIN"], user="app")
    script = "echo $HOME $COLOUR $TOKEN; id -u; id -G; pwd; grep CapEff /proc/self/status; sleep 0.2"
    found: list[str] = []
    original = execution._execute

    def watched(*arguments: t.Any) -> execution.Outcome:
        outcome = original(*arguments)
        found.extend(line for _pid, line in command_lines() if "hush" in line)
        return outcome

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "_execute", watched)
        rc, out, _err = yard.shell(script, env={"COLOUR": "green"}, secret_env={"TOKEN": "hush-hush"}, working_dir="/data", user="root")
    assert out.splitlines() == ["/root green hush-hush", "0", "0", "/data", "CapEff:\t00000000800415fb"] and rc == 0 and found == []
    assert yard.shell("id -u; grep CapEff /proc/self/status")[1].split() == ["1000", "CapEff:", "0000000000001000"]
    assert yard.shell("id -u; id -g; grep CapEff /proc/self/status", user="5:6")[1].split() == ["5", "6", "CapEff:", "0000000000001000"]


def test_too_much_output_is_refused(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "MOST_OUTPUT", 1 << 16)
    yard.run()
    with pytest.raises(NexcageError) as caught:
        yard.shell("cat /dev/zero")
    assert caught.value.code == "E_LIMIT" and "cat" not in yard.shell("ps")[1]


def test_without_pidfd(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    yard.run()
    monkeypatch.setattr(os, "pidfd_open", lambda _pid: (nothing for nothing in ()).throw(OSError(38, "no pidfd")))
    assert yard.shell("echo hi; exit 4") == (4, "hi\n", "")
    yard.engine.kill("web", 15)
    yard.engine.stop("web")
    assert yard.one()["exit_code"] == 3
