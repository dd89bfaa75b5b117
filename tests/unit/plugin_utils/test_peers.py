# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An option of podman's and docker's modules that this one has not: refused with what the page about coming from there says."""

from __future__ import annotations

import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.action import nexcage_container
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery, peers

ROOT = pathlib.Path(__file__).resolve().parents[3]
PEERS = yaml.safe_load((ROOT / "docs/data/peers.yml").read_text())
OURS = {name for option, entry in options.argument_spec().items() for name in (option, *entry.get("aliases", ()))}


def plain(text: str) -> str:
    """The same outside of Markdown."""
    return re.sub(r" See \[[^]]*\]\([^)]*\)\.", "", text).replace("`", "").rstrip(".")


def test_the_table_says_what_the_page_says() -> None:
    expected = {entry[peer]: ours for ours, entry in PEERS["options"].items() for peer in ("podman", "docker") if entry.get(peer, ours) not in OURS}
    for entry in PEERS["missing"]:
        for name in entry["option"].partition(":")[0].split(", "):
            assert name not in expected, name
            expected[name] = plain(entry["instead"])
    assert expected == peers.INSTEAD
    assert len(peers.INSTEAD) == sum(len(names.split()) for names, _text in peers.TABLE)
    assert (ROOT / peers.PAGE).exists()


def test_no_option_of_this_module_is_refused() -> None:
    assert not OURS & set(peers.INSTEAD)
    peers.refuse([*OURS, "potatoes"])  # what nobody has is for Ansible to refuse


def test_what_to_do_instead() -> None:
    with pytest.raises(NexcageError) as caught:
        peers.refuse(["name", "restart_policy"])
    assert str(caught.value) == (
        "restart_policy: podman_container or docker_container has it, nexcage_container has not. Remedy: instead of it: nothing restarts a "
        "container by itself; run the playbook, or a unit of your own (docs/coming-from-podman-and-docker.md has all)."
    )
    with pytest.raises(NexcageError) as caught:
        peers.refuse(["restart", "name", "ports"])
    assert caught.value.option == "ports" and "; restart: state: restarted (" in str(caught.value.remedy)


@pytest.mark.parametrize(("arguments", "reaches"), [({"name": "web"}, True), ({"name": "web", "ports": ["80:80"]}, False)])
def test_the_host_is_not_asked_for_it(arguments: dict[str, t.Any], reaches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    action = object.__new__(nexcage_container.ActionModule)
    monkeypatch.setattr(delivery.Delivery, "deliver", lambda *_arguments: {"changed": True})
    result = action.deliver(arguments, {})
    assert result.get("changed", False) is reaches
    assert reaches or (result["failed"], result["error"]["option"], result["error"]["code"]) == (True, "ports", "E_UNSUPPORTED")
