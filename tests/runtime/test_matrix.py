# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every option on every runtime: predicted, done, left alone; then another value, then the first one again."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.options import BY_NAME, OPTIONS
from ansible_collections.nexcage.backends.tests.support.host import Host
from ansible_collections.nexcage.backends.tests.support.modules import Result
from ansible_collections.nexcage.backends.tests.support.samples import SAMPLES

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "catatonit", "nsenter")

# what users type, and the row of the table into which it is folded
FORMS = {"env_file": "env", "volumes": "mounts", "tmpfs": "mounts"}


def test_every_option_has_a_sample() -> None:
    rows = {option.name for option in OPTIONS if option.parse is not None}
    forms = {option.name for option in OPTIONS if option.parse is None and not option.path and option.name in FORMS}
    assert set(SAMPLES) == rows | forms and forms == set(FORMS)


class Walk:
    """One container on its way through the values of one option."""

    def __init__(self, host: Host, backend: str, option: str) -> None:
        self.host = host
        self.option = option
        self.sample = SAMPLES[option]
        self.row = BY_NAME[FORMS.get(option, option)]
        self.base: dict[str, t.Any] = {"name": f"{option}-{backend}", "backend": backend, "image": host.image, **self.sample.base}
        self.container: dict[str, t.Any] = {}

    def run(self, value: t.Any, **how: t.Any) -> Result:
        """The module with this value of the option; ``None`` leaves it out."""
        return self.host.converge(**{**self.base, self.option: value}, **how)

    def change(self, second: bool, back: bool = False) -> Result:
        """Predicted without writing anything, done as predicted, found in the container, and left alone after that.

        Args:
            second: Whether to value B.
            back: Whether this way was gone before: then it is not predicted again.
        """
        value = self.sample.second if second else self.sample.first
        value = value(self.host) if callable(value) else value
        before = self.host.situation()
        predicted = None if back else self.run(value, check=True)
        assert self.host.situation() == before
        done = self.run(value)
        assert predicted is None or (predicted["changed"], predicted["plan"], predicted["diff"]) == (True, done["plan"], done["diff"])
        assert done["changed"] and done["container"]["status"] == "running" and not done.get("warnings"), done
        assert self.sample.read(self.host, done["container"]) == self.sample.expected[second]
        self.settled(value)
        if not second and not back:
            self.settled(value, check=True)
        return done

    def settled(self, value: t.Any, **how: t.Any) -> None:
        again = self.run(value, **how)
        assert (again["changed"], again["plan"], again["diff"]["before"], again["diff"]["after"]) == (False, [], {}, {})
        self.container = again["container"]

    def moved(self, second: bool) -> None:
        """From one value to the other: live where the table says so, else by a new container."""
        before = self.container
        done = self.change(second, back=not second)
        step = next(step for step in done["plan"] if step["action"] != "pull")
        assert {(change["option"], change["live"]) for change in step["changes"]} == {(self.row.name, self.row.live)}
        assert all(change["before"] != change["after"] for change in step["changes"])
        assert step["reason"].startswith(self.row.path + ": ")
        assert self.row.path in done["diff"]["before"] and self.row.path in done["diff"]["after"]
        if self.row.live:
            assert done.actions == ["update"] and (done["container"]["id"], done["container"]["pid"]) == (before["id"], before["pid"])
        else:
            assert done.actions[-2:] == ["replace", "start"] and done["container"]["id"] != before["id"]


@pytest.mark.parametrize("option", SAMPLES)
def test_four_steps(host: Host, backend: str, option: str) -> None:
    walk = Walk(host, backend, option)
    assert walk.change(second=False).actions[-2:] == ["create", "start"]
    if walk.sample.second != walk.sample.first:
        walk.moved(second=True)
        walk.settled(None)  # not given: not managed
        walk.moved(second=False)
    if walk.row.effective in ({}, []):
        empty: t.Any = {} if BY_NAME[option].kind == "dict" else []
        assert walk.run(empty).actions[-1:] == (["update"] if walk.row.live else ["start"])
        walk.settled(empty)
    assert host.converge(walk.base["name"], state="absent", force_kill=True).actions == ["stop", "delete"]
