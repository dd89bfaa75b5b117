# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers that change their own files to harm whoever looks at them later."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.containers import Yard

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")


def test_a_pipe_in_place_of_its_accounts_holds_nobody_up(yard: Yard) -> None:
    yard.run()
    assert yard.shell("cd /etc; busybox mkfifo pipe; busybox mv pipe passwd; test -p passwd")[0] == 0
    begin = time.monotonic()
    for user in (None, "0", "app"):
        with pytest.raises(NexcageError, match="/etc/passwd in the container is no file"):
            yard.shell("true", user=user)
    yard.engine.stop("web", timeout=1)
    with pytest.raises(NexcageError, match="/etc/passwd in the container is no file"):
        yard.engine.start("web")
    assert yard.status() == "stopped" and time.monotonic() - begin < 20
    os.unlink(os.path.join(yard.one()["backend_details"]["bundle"], "rootfs", "etc", "passwd"))
    yard.engine.start("web")
    assert yard.shell("echo $HOME")[:2] == (0, "/root\n")


def test_without_accounts_home_is_the_root(yard: Yard) -> None:
    yard.run(user="12345")
    assert yard.shell("echo $HOME")[:2] == (0, "/\n")
