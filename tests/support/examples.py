# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example plugins as their users meet them: packaged, signed, trusted, granted, installed; and removed again."""

from __future__ import annotations

import contextlib
import pathlib
import re
import typing as t

import yaml
from ansible_collections.nexcage.backends.tests.support import ansible_cli, modules, signing
from ansible_collections.nexcage.backends.tests.support.host import Host

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs/examples"
PUBLISHER = "release@examples.example"


def build(name: str, key: signing.Key, folder: pathlib.Path) -> dict[str, t.Any]:
    """A signed package of one example, by the module an author uses; its ``package``."""
    made: dict[str, t.Any] = modules.works("nexcage_plugin_package", src=str(FOLDER / name), dest=str(folder), key_file=str(key.path))["package"]
    return made


def tasks(name: str) -> list[dict[str, dict[str, t.Any]]]:
    """The tasks in an example's README, each from module to parameters."""
    (block,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / name / "README.md").read_text(), re.DOTALL)
    found: list[dict[str, dict[str, t.Any]]] = yaml.safe_load(block)
    return found


def grant_of(refused: t.Mapping[str, t.Any]) -> list[str]:
    """What the refusal of an install offers to paste."""
    assert refused["error"]["code"] == "E_GRANT", refused["msg"]
    return re.findall(r"^  - (\w+)", refused["error"]["details"]["grant"], re.MULTILINE)


@contextlib.contextmanager
def installed(host: Host, name: str, folder: pathlib.Path, **settings: t.Any) -> t.Iterator[list[str]]:
    """One example on the host, with all that it asks for; in the end neither it nor its containers.

    Args:
        host: Where.
        name: Its name, and that of its folder.
        folder: An empty one for key and package.
        settings: More parameters for ``nexcage_plugin``.

    Yields:
        What was granted.
    """
    key = signing.Key(folder)
    trust = signing.Trust(host.root)
    trust.write("allowed_signers", key.line(PUBLISHER))
    trust.publishers({name: [PUBLISHER]})
    path = build(name, key, folder)["path"]
    granted = grant_of(modules.fails("nexcage_plugin", name=name, src=path, **settings))
    done = modules.works("nexcage_plugin", name=name, src=path, grant=granted, **settings)
    assert (done["plugin"]["trust"], done["plugin"]["principal"]) == ("signature", PUBLISHER)
    try:
        yield granted
    finally:
        for found in modules.works("nexcage_container_info", backend=name)["containers"]:
            modules.works("nexcage_container", name=found["name"], state="absent", force_kill=True)
        modules.works("nexcage_plugin", name=name, state="absent")


def four_steps(example: str, home: pathlib.Path, /, **changes: t.Any) -> list[dict[str, t.Any]]:
    """The task in an example's README, by one run of ansible-playbook: predicted, done, nothing left to do, and nothing predicted.

    Args:
        example: Its name.
        home: A folder for Ansible's own files.
        changes: Options of the task that are different on this machine.

    Returns:
        The four results.
    """
    (block,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / example / "README.md").read_text(), re.DOTALL)
    (task,) = (entry for entry in yaml.safe_load(block) if "nexcage.backends.nexcage_container" in entry)
    task["nexcage.backends.nexcage_container"].update(changes)
    steps = [{"name": f"Step {number}", "check_mode": check, **task} for number, check in enumerate((True, False, False, True))]
    outcome = ansible_cli.plays_well(home, ansible_cli.write_playbook(home / "play.yml", {"tasks": steps}))
    return [outcome.of(str(step["name"])) for step in steps]
