# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the virtual machine test checks, stage by stage; each builds on the one before."""

from __future__ import annotations

import time
import typing as t

from controller import CheckError, Controller
from machine import Machine

RUNTIMES = ("crun", "runc")
NAMES = {f"{runtime}-{kind}" for runtime in RUNTIMES for kind in ("steady", "stubborn")}
# Seconds after the first container of a converge was made.
CUTS = (0.0, 3.0)
# Seconds; systemd's own patience with a process that ignores SIGTERM is 90.
SHUTDOWN_LIMIT = 60.0


class Lab:
    """The guest, its controller, and the figures measured so far (seconds, in the order measured)."""

    def __init__(self, machine: Machine, controller: Controller) -> None:
        self.machine = machine
        self.controller = controller
        self.figures: list[tuple[str, float]] = []

    def measure(self, what: str, seconds: float) -> None:
        """Keep one figure."""
        self.figures.append((what, round(seconds, 1)))
        print(f"    {seconds:7.1f} s  {what}", flush=True)

    def boot(self, what: str) -> None:
        """Switch the guest on."""
        self.measure(what, self.machine.boot())
        # The package lists in the image count as fresh: the role needs no network.
        self.machine.ssh("touch /var/lib/apt/lists")

    def converge(self, what: str, changed: bool, playbook: str = "site") -> None:
        """Run site.yml (or only its containers) and compare whether it changed anything."""
        run = self.controller.play(playbook)
        self.measure(what, run.seconds)
        if bool(run.changed) != changed:
            lines = [line for line in run.output.splitlines() if line.startswith(("TASK", "changed"))]
            raise CheckError(f"changed={run.changed} where {'a change' if changed else 'none'} was expected:\n" + "\n".join(lines))

    def read(self, command: str) -> str:
        """Output of a shell command of root in the guest, in a session of its own."""
        return self.machine.ssh(command).stdout.strip()

    def expect_status(self, status: str) -> dict[str, dict[str, t.Any]]:
        """All containers are there and in this state."""
        found = self.controller.containers()
        expect({name: entry["status"] for name, entry in found.items()}, dict.fromkeys(NAMES, status))
        expect({name: entry.get("problems", []) for name, entry in found.items() if entry.get("problems")}, {})
        return found


def expect(found: t.Any, wanted: t.Any) -> None:
    """Raise CheckError where two values differ."""
    if found != wanted:
        raise CheckError(f"found {found!r}, wanted {wanted!r}")


def preconditions(lab: Lab) -> None:
    """A real systemd and nothing but cgroup v2"""
    lab.boot("cold boot to the first command over SSH")
    expect(lab.read("stat -fc %T /sys/fs/cgroup"), "cgroup2fs")
    expect(lab.read("cat /proc/1/comm"), "systemd")
    expect(lab.read("stat -fc %T /run"), "tmpfs")
    expect(lab.read("systemctl is-system-running --wait || true"), "running")
    expect(lab.read("command -v crun runc conmon || true"), "")


def converge(lab: Lab) -> None:
    """The role installs, containers run on both runtimes, a second run changes nothing"""
    lab.converge("first converge: packages, image, 4 containers", changed=True)
    lab.converge("converge again", changed=False)
    lab.expect_status("running")


def limits(lab: Lab) -> None:
    """Limits stand in the container's cgroup; too much memory ends with 137"""
    found = lab.expect_status("running")
    for runtime in RUNTIMES:
        pid = found[f"{runtime}-steady"]["pid"]
        group = lab.read(f"sed s/^0::// /proc/{pid}/cgroup")
        values = lab.read(f"cd /sys/fs/cgroup{group} && cat memory.max pids.max cpu.max").splitlines()
        expect(values, [str(32 << 20), "64", "20000 100000"])
    lab.controller.play("oom")


def health(lab: Lab) -> None:
    """The timer of the role looks at the plugins, and its service fails where one is unhealthy; the audit log is rotated"""
    lab.controller.play("health", wanted=True)
    expect(lab.read("systemctl is-enabled nexcage-health.timer; systemctl is-active nexcage-health.timer"), "enabled\nactive")
    expect(lab.controller.play("health", wanted=True).changed, 0)
    result = "systemctl start nexcage-health.service; systemctl show --property ExecMainStatus --value nexcage-health.service"
    expect(lab.read(result), "0")
    expect(lab.read(f"mv /usr/bin/crun /usr/bin/crun.away; {result}"), "1")
    expect("unhealthy: crun-backend" in lab.read("journalctl --unit nexcage-health --output cat"), True)
    expect(lab.read(f"mv /usr/bin/crun.away /usr/bin/crun; {result}"), "0")
    lab.controller.play("health", wanted=False)
    expect(lab.read("systemctl list-units --all --plain --no-legend 'nexcage-health*'; ls /usr/local/lib/nexcage"), "")
    expect(lab.read("cd /var/log/nexcage && logrotate --force /etc/logrotate.d/nexcage && ls"), "audit.jsonl.1")


def sessions(lab: Lab) -> None:
    """Containers and conmon live in delegated scopes and outlive the session that made them"""
    found = lab.expect_status("running")
    lab.controller.close_session()
    time.sleep(3)
    expect(lab.read("loginctl list-sessions --no-legend | grep -c tester || true"), "0")
    for name, entry in found.items():
        pid, conmon = entry["pid"], entry["backend_details"]["conmon_pid"]
        group = lab.read(f"sed s/^0::// /proc/{pid}/cgroup")
        scope = f"nexcage-{entry['id']}.scope"
        expect((name, group), (name, f"/nexcage.slice/{scope}/container"))
        expect(lab.read(f"sed s/^0::// /proc/{conmon}/cgroup"), f"/nexcage.slice/{scope}/supervisor")
        expect(set(lab.read(f"systemctl show --value --property=Delegate,ActiveState {scope}").split()), {"active", "yes"})
    lab.read("systemctl daemon-reload && systemctl daemon-reexec")
    after = lab.expect_status("running")
    expect({name: entry["pid"] for name, entry in after.items()}, {name: entry["pid"] for name, entry in found.items()})
    lab.converge("converge again after the session was closed", changed=False)


def reboot(lab: Lab) -> None:
    """After a reboot containers are stopped, a run starts them, their data is there"""
    lab.controller.play("remember", token="before the reboot")
    lab.measure("systemctl reboot with 4 running containers", lab.machine.reboot())
    times = lab.read("journalctl --boot=-1 --output=short-unix | grep -E 'Stopp(ing|ed) nexcage-[0-9a-f]+.scope' | cut -d ' ' -f 1").split()
    expect(len(times), 2 * len(NAMES))
    waited = float(max(times)) - float(min(times))
    lab.measure("of that for the containers to end, two of which ignore SIGTERM for 3 s", waited)
    if waited > SHUTDOWN_LIMIT:
        raise CheckError(f"the shutdown waited {waited:.0f} s for containers")
    lab.expect_status("stopped")
    lab.converge("converge after the reboot", changed=True)
    lab.expect_status("running")
    lab.controller.play("recall", token="before the reboot", starts=2)
    lab.converge("converge again after the reboot", changed=False)


def power_cut_idle(lab: Lab) -> None:
    """After a power cut containers are stopped, a run heals, synced data is there"""
    lab.controller.play("remember", token="before the power cut")
    lab.machine.power_cut()
    lab.boot("boot after a power cut")
    lab.expect_status("stopped")
    lab.converge("converge after the power cut", changed=True)
    lab.expect_status("running")
    lab.controller.play("recall", token="before the power cut", starts=3)
    lab.converge("converge again after the power cut", changed=False)


def power_cut_converging(lab: Lab) -> None:
    """After a power cut in the middle of a run, the next run heals"""
    for delay in CUTS:
        lab.controller.play("remove", with_images=True)
        process, log = lab.controller.start("containers")
        deadline = time.monotonic() + 600
        while b"(item=crun)" not in log.read_bytes() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(delay)
        lab.machine.power_cut()
        try:
            code = process.wait(timeout=120)
        finally:
            process.kill()
        if code == 0:
            raise CheckError("the run ended before the power cut")
        lab.boot(f"boot after a power cut {delay} s after the first container of a run")
        left = lab.controller.containers()
        states = ", ".join(f"{name} {entry['status']}" for name, entry in sorted(left.items()))
        print(f"               left behind: {states or 'nothing'}", flush=True)
        expect({entry["status"] for entry in left.values()} - {"stopped", "incomplete"}, set())
        lab.converge("converge after it, containers only", changed=True, playbook="containers")
        lab.expect_status("running")
        lab.converge("converge again after it, containers only", changed=False, playbook="containers")


def removal(lab: Lab) -> None:
    """All is removed: no process, control group, mount or file is left"""
    run = lab.controller.play("remove", with_images=True, with_preparation=True)
    lab.measure("removal of 4 containers", run.seconds)
    lab.controller.close_session()
    expect(lab.read("ps -eo comm= | grep -xE 'conmon|crun|runc' || true"), "")
    expect(lab.read("find /sys/fs/cgroup -name '*nexcage*' ! -name nexcage.slice"), "")
    expect(lab.read("find /sys/fs/cgroup/nexcage.slice -mindepth 1 -type d 2> /dev/null || true"), "")
    expect(lab.read("grep -E 'nexcage|overlay' /proc/mounts || true"), "")
    expect(lab.read("systemctl list-units --all --plain --no-legend 'nexcage*' | grep -v '^nexcage.slice' || true"), "")
    expect(lab.read("systemctl --failed --plain --no-legend"), "")
    expect(lab.read("find /run/nexcage /var/lib/nexcage 2> /dev/null || true"), "")


STAGES: tuple[t.Callable[[Lab], None], ...] = (preconditions, converge, limits, health, sessions, reboot, power_cut_idle, power_cut_converging, removal)
