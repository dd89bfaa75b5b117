# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role ``plugins`` writes about signers is what the manager takes."""

from __future__ import annotations

import pathlib
import typing as t

import jinja2
import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.manager import publishers, signature, trust
from ansible_collections.nexcage.backends.tests.support import signing
from ansible_collections.nexcage.backends.tests.support.signing import ACME, NOW, Key

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "plugins"


def rendered(namespace: str, signers: list[dict[str, t.Any]]) -> bytes:
    """The file, as ansible.builtin.template makes it, which trims blocks."""
    template = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True).from_string((ROLE / "templates/allowed_signers.j2").read_text())
    return template.render(__plugins_lines=signers, __plugins_namespace=namespace).encode()


def test_both_files_are_written_with_their_namespaces() -> None:
    tasks = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    written = {task["ansible.builtin.template"]["dest"]: task["vars"] for task in tasks if "ansible.builtin.template" in task}
    assert {path.rpartition("/")[2]: values["__plugins_namespace"] for path, values in written.items()} == {
        trust.SIGNERS: signature.PLUGIN,
        trust.INDEX_SIGNERS: signature.INDEX,
    }


@pytest.mark.requires("ssh-keygen")
@pytest.mark.parametrize("namespace", [signature.PLUGIN, signature.INDEX])
def test_lines(tmp_path: pathlib.Path, namespace: str) -> None:
    keys = [Key(tmp_path, name) for name in ("a", "b")]
    limits = {"valid_after": "20270101", "valid_before": "202702010000"}
    signers = [{"principal": ACME, "key": keys[0].public + " a comment\n"}, {"principal": "a,b", "key": keys[1].public, **limits}]
    first, second = publishers.signers(rendered(namespace, signers), "p", namespace)
    assert (first.principals, first.valid_after, first.valid_before) == ((ACME,), None, None)
    assert second.principals == ("a", "b") and (second.valid_after or 0) < NOW < (second.valid_before or 0)
    assert publishers.lint(rendered(namespace, signers), "p", "another") != []
    made = keys[0].sign(b"data", namespace)
    assert signature.verify(b"data", made, rendered(namespace, signers), namespace, bool, str(tmp_path / "run"), None, NOW) == ACME


@pytest.mark.requires("ssh-keygen")
def test_what_the_role_cannot_know_the_manager_refuses(tmp_path: pathlib.Path) -> None:
    key = Key(tmp_path)
    assert publishers.lint(rendered(signing.PLUGIN, [{"principal": "*", "key": key.public}]), "p", signing.PLUGIN) != []
    assert publishers.lint(rendered(signing.PLUGIN, []), "p", signing.PLUGIN) == []
