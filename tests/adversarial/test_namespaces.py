# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hostile plugin reaches where the filter of system calls has a hole, with namespaces and without."""

from __future__ import annotations

import os
import socket
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.adversarial.conftest import start_unfiltered
from ansible_collections.nexcage.backends.tests.adversarial.test_probes import refuse

pytestmark = pytest.mark.requires("linux")


# What a hostile plugin reaches where the filter has a hole, and namespaces are what is left.
BEHIND_THE_FILTER = {
    4: "read /etc/passwd",
    5: "list /proc",
    28: "write to /tmp",
    29: "write to /dev/shm",
    51: "list /sys",
    52: "list /dev",
    "loopback": "connect to a server on the host's loopback",
    "abstract": "connect to an abstract socket of the host's",
    "module": "find the module among the processes",
    "name": "learn the host's name",
    "mount": "find the host's root",
}


@pytest.fixture
def servers(params: dict[str, t.Any]) -> t.Iterator[dict[str, t.Any]]:
    """Two of the host's, and what the probes need to find them."""
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        name = f"nexcage-probe-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        yield {**params, "port": port.getsockname()[1], "abstract": name, "nodename": os.uname().nodename}


@pytest.mark.requires("root", "bwrap")
@pytest.mark.parametrize("where", ["in namespaces", "without"])
@pytest.mark.parametrize("number", BEHIND_THE_FILTER, ids=[f"{number}: {what}" for number, what in BEHIND_THE_FILTER.items()])
def test_namespaces_stop_what_a_hole_in_the_filter_would_let_through(
    number: t.Any, where: str, servers: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with start_unfiltered(monkeypatch, where == "in namespaces") as worker:
        try:
            through = worker.request("exec", {**servers, "probe": number}, refuse)
        except NexcageError as error:
            assert error.code == "E_PLUGIN"
            through = False
    assert bool(through) is (where == "without")
