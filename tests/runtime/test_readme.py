# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README shows is what happens: its playbook, its output, its error."""

from __future__ import annotations

import pathlib
import re
import subprocess
import time

import pytest
import yaml
from ansible_collections.nexcage.backends.tests.support import ansible_cli
from ansible_collections.nexcage.backends.tests.support.host import Host

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
SCRIPT = ROOT / "playbooks/files/make_demo_image.sh"

pytestmark = pytest.mark.requires("root", "crun", "conmon", "skopeo", "umoci", "busybox", "catatonit")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def line_by_line(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_playbook_and_its_output(host: Host, tmp_path: pathlib.Path) -> None:
    text = next(block for block in blocks("yaml") if "nexcage_container:" in block)
    assert len(text.splitlines()) == 12
    subprocess.run(["sh", str(SCRIPT), str(tmp_path / "web"), "1"], check=True, stdout=subprocess.DEVNULL)
    (tmp_path / "web.yml").write_text(yaml.safe_dump(yaml.safe_load(text.replace("/srv/images/web", str(tmp_path / "web")))))
    recaps, difference, error = (line_by_line(block) for block in blocks("text")[:3])

    for shown in recaps:
        settings = {"ANSIBLE_LOCALHOST_WARNING": "1", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "1", "NEXCAGE_ROOT": str(host.root)}
        outcome = ansible_cli.plays_well(tmp_path / "home", tmp_path / "web.yml", **settings)
        assert shown in line_by_line(outcome.text)
        assert ("only implicit localhost" in outcome.text) is ("Without an inventory, Ansible warns first" in README)
    predicted = ansible_cli.plays_well(tmp_path / "home", tmp_path / "web.yml", "-e", "memory=128m", "--check", "--diff", NEXCAGE_ROOT=str(host.root))
    assert "\n".join(difference) in "\n".join(line_by_line(predicted.text))
    refused = ansible_cli.run_playbook(tmp_path / "home", tmp_path / "web.yml", "-e", "memory=12potatoes", NEXCAGE_ROOT=str(host.root))
    assert refused.code != 0 and error[0] in refused.text

    (arguments,) = re.findall(r'^\.venv/bin/ansible localhost -m nexcage\.backends\.nexcage_container -a "(.*)"$', README, re.MULTILINE)
    begin = time.monotonic()
    removed, _shown = ansible_cli.adhoc(tmp_path / "home", "nexcage_container", arguments, NEXCAGE_ROOT=str(host.root))
    assert removed["changed"] and host.one("web") is None and time.monotonic() - begin < 9  # not killed after stop_timeout
