# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible as the controller of the guest: one inventory, one configuration, nothing of the user's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import time
import typing as t
from pathlib import Path

from machine import HERE, USER, Machine, humble

PLAYBOOKS = HERE / "playbooks"


class CheckError(Exception):
    """Something in the guest is not as it must be."""


class Run(t.NamedTuple):
    """How one playbook ended."""

    code: int
    changed: int
    seconds: float
    output: str


class Controller:
    """Runs playbooks against one machine over SSH, as an ordinary user who becomes root."""

    def __init__(self, machine: Machine, work: Path) -> None:
        self.machine = machine
        self.work = work
        self.runs = 0
        (work / "ansible.cfg").write_text(
            "[defaults]\nhost_key_checking = true\nretry_files_enabled = false\ninterpreter_python = /usr/bin/python3\n"
            "timeout = 60\n[ssh_connection]\npipelining = true\n",
            encoding="ascii",
        )

    def _environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        own.update(
            ANSIBLE_CONFIG=str(self.work / "ansible.cfg"),
            ANSIBLE_HOME=str(self.work / "home"),
            ANSIBLE_COLLECTIONS_PATH=sysconfig.get_paths()["purelib"],
            ANSIBLE_NOCOLOR="1",
            LC_ALL="C.UTF-8",
        )
        return own

    def _inventory(self) -> str:
        """Written anew each time: the port differs after each power cut."""
        arguments = [*self.machine.ssh_options(), "-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={self.work}/%C"]
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.machine.port,
            "ansible_user": USER,
            "ansible_ssh_args": " ".join(arguments),
        }
        path = self.work / "inventory.json"
        path.write_text(json.dumps({"all": {"hosts": {"guest": variables}}}), encoding="ascii")
        return str(path)

    def start(self, playbook: str, **variables: t.Any) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a playbook; the running process and the file its output goes to."""
        self.runs += 1
        log = self.work / f"{self.runs:02d}-{playbook}.log"
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", self._inventory()]
        command += ["--extra-vars", json.dumps(variables), str(PLAYBOOKS / f"{playbook}.yml")]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=self._environment(), cwd=self.work, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=humble
            )
        return process, log

    def play(self, playbook: str, **variables: t.Any) -> Run:
        """Run a playbook to its end.

        Raises:
            CheckError: it failed.
        """
        begin = time.monotonic()
        process, log = self.start(playbook, **variables)
        try:
            code = process.wait(timeout=1200)
        finally:
            process.kill()
        output = log.read_text(encoding="utf-8")
        if code:
            raise CheckError(f"{playbook}.yml failed, see {log}:\n" + "\n".join(output.splitlines()[-25:]))
        changed = sum(int(number) for number in re.findall(r"^guest .*changed=(\d+)", output, re.MULTILINE))
        return Run(code, changed, time.monotonic() - begin, output)

    def containers(self) -> dict[str, dict[str, t.Any]]:
        """What nexcage_container_info tells, by name."""
        report = self.work / "containers.json"
        report.unlink(missing_ok=True)
        self.play("state", report_file=str(report))
        return {entry["name"]: entry for entry in json.loads(report.read_text(encoding="utf-8"))}

    def close_session(self) -> None:
        """End the SSH session that Ansible keeps open, as its own time limit would do later."""
        target = [*self.machine.ssh_options(), "-o", f"ControlPath={self.work}/%C", "-p", str(self.machine.port)]
        subprocess.run(["ssh", *target, "-O", "exit", f"{USER}@127.0.0.1"], capture_output=True, check=False)
