# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/getting-started.md shows is what happens: check mode where an earlier task would bring something, and jobs."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.tests.support import ansible_cli
from ansible_collections.nexcage.backends.tests.support.host import Host

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/getting-started.md").read_text()

pytestmark = pytest.mark.requires("root", "crun", "conmon", "skopeo", "umoci", "busybox")


def shown(task: str, table: dict[str, str]) -> list[dict[str, t.Any]]:
    """The tasks of the block in which one of that name is, with what this machine has in place of what is in ``table``."""
    (text,) = [block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if f"- name: {task}\n" in block]
    for word, here in table.items():
        assert word in text, word
        text = text.replace(word, here)
    return t.cast("list[dict[str, t.Any]]", yaml.safe_load(text))


def test_check_mode_where_an_earlier_task_makes_the_mount_source(host: Host, tmp_path: pathlib.Path) -> None:
    tasks = shown("Have a folder to show", {"/srv/www": str(tmp_path / "www"), "oci:/srv/images/web:1": host.image})
    home, root = tmp_path / "home", {"NEXCAGE_ROOT": str(host.root)}
    play = ansible_cli.write_playbook(tmp_path / "guarded.yml", {"tasks": tasks})
    bare = [{key: value for key, value in task.items() if key != "when"} for task in tasks]
    without = ansible_cli.write_playbook(tmp_path / "bare.yml", {"tasks": bare})
    assert "Remedy: " in ansible_cli.run_playbook(home, without, "--check", **root).text  # what the condition is for
    predicted = ansible_cli.plays_well(home, play, "--check", **root)
    assert predicted.of("Have a folder to show")["changed"] and "skipped=1" in predicted.text
    assert ansible_cli.plays_well(home, play, **root).of("Have the server")["changed"]
    again = ansible_cli.plays_well(home, play, "--check", **root)
    assert not again.of("Have the server")["changed"] and "skipped=0" in again.text
    host.converge("web", state="absent", force_kill=True)


def test_the_commands_at_a_shell_on_the_container_of_the_first_playbook(host: Host, tmp_path: pathlib.Path) -> None:
    host.start("web", "crun")
    for module, arguments in re.findall(r"^ansible -i .* -m nexcage\.backends\.(\w+) -a \"(.*)\"$", PAGE, re.MULTILINE):
        result, shown = ansible_cli.adhoc(tmp_path / "home", module, arguments, NEXCAGE_ROOT=str(host.root))
        assert not result["failed"], shown
    assert module == "nexcage_container_exec" and "passwd" in result["stdout"]
    host.converge("web", state="absent", force_kill=True)


def test_a_job_that_runs_once_until_it_ends_well(host: Host, tmp_path: pathlib.Path) -> None:
    tasks = shown("Run it once", {"oci:/srv/images/migrate:7": host.image})
    job = next(task for task in tasks if task["name"] == "Run it once")
    home, root = tmp_path / "home", {"NEXCAGE_ROOT": str(host.root)}

    def run(code: int, *options: str) -> ansible_cli.Outcome:
        job["nexcage.backends.nexcage_container"]["command"] = ["/bin/sh", "-c", f"exit {code}"]
        return ansible_cli.run_playbook(home, ansible_cli.write_playbook(tmp_path / "job.yml", {"tasks": tasks}), *options, **root)

    failed = run(3)
    assert failed.code != 0 and "migrate-7 ended with exit code 3; its log is " in failed.text and "Unknown error" not in failed.text, failed.text
    predicted = run(0, "--check")
    assert predicted.code == 0 and predicted.of("Run it once")["changed"], predicted.text
    assert run(0).of("Run it once")["container"]["exit_code"] == 0
    assert "skipped=1" in run(0).text
    host.converge("migrate-7", state="absent")
