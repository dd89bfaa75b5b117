# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile hooks: they refuse, crash, hang, eat, flood, lie and try to set each other off. A real worker at each tier.

Whatever one does, the event goes on to the next listener, and the run goes on, but where the operator lets it refuse.
"""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, hooks
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.tests.support import listening

pytestmark = pytest.mark.requires("linux", "root")
TIERS = [pytest.param("strong", marks=pytest.mark.requires("bwrap")), "standard"]
EVENT = "container.pre_start"
HOSTILE, GOOD = "a-hostile", "z-good"
SOURCE = """
import time
from ..sdk.backend import BackendExtension


class Hostile(BackendExtension):
    def hook(self, host, event, payload):
        BODY


def backend():
    return Hostile()
"""
# name -> what it does, the code of the failure (empty for a veto), what is said of it
ATTACKS: dict[str, tuple[str, str, str]] = {
    "refuses": ("return 'no'", "", "no"),
    "writes into the terminal": ("return 'no\\x1b[2J\\u202e\\n'", "", "no\\x1b[2J\\u202e\\n"),
    "says a lot": ("return 'x' * 500000", "", "x" * 4096),
    "floods": ("return 'x' * (9 << 20)", "E_LIMIT", ""),
    "crashes": ("import os; os._exit(1)", "E_CRASH", "ended with code 1"),
    "leaves": ("raise SystemExit(0)", "E_PLUGIN", "SystemExit"),
    "hangs": ("time.sleep(60)", "E_TIMEOUT", "within 0.5 seconds"),
    "spins": ("while True: pass", "E_TIMEOUT", "within 0.5 seconds"),
    "calls for ever": ("while True: host.state.get('x')", "E_LIMIT|E_TIMEOUT", ""),
    "eats memory": ("x = bytearray(1 << 40)", "E_LIMIT", ""),
    "recurses": ("return self.hook(host, event, payload)", "E_PLUGIN", "RecursionError"),
    "answers with an object": ("return {'veto': True}", "E_PROTOCOL", "dict"),
    "answers with a number": ("return 1", "E_PROTOCOL", "int"),
    "opens a file": ("return open('/etc/shadow').read()", "E_PLUGIN", "Error"),
    "starts its own container": ("host.oci.start(payload['name'])", "E_UNSUPPORTED", "oci.start"),
    "starts another one": ("host.oci.start('other')", "E_CAPABILITY", "other"),
    "fires an event": ("host._call('hook', {'event': event}) if hasattr(host, '_call') else host.oci._call('hook', {})", "E_PLUGIN|E_CAPABILITY", ""),
}


class Target:
    """A host with a hostile listener and a good one after it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "root")})
        self.folder, self.root = folder, folder / "root"
        for name in ("root", "packages"):
            (folder / name).mkdir()
        self.journal = listening.Journal(folder / "journal")
        self.install(GOOD, listening.SOURCE)

    def install(self, name: str, source: str, **row: t.Any) -> None:
        listening.install(self.folder / "packages", self.journal, name, listening.hooks(EVENT, **row), source=source)
        self.journal.clear()

    def fire(self) -> list[str]:
        """The warnings of one event."""
        with dispatch.Session(self.layout, False, 20.0) as session:
            hooks.of(session).fire(EVENT, {"name": "web", "spec": {}})
            tiers = {sandbox.tier for sandbox in hooks.of(session)._room._sandboxes.values()}
            assert tiers == {self.tier}
        return session.warnings

    tier = ""


@pytest.fixture(params=TIERS)
def target(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    if request.param == "standard":

        def none() -> t.NoReturn:
            raise NexcageError("E_SANDBOX", "no namespaces here")

        monkeypatch.setattr(strong, "Confined", none)
    made = Target(tmp_path)
    made.tier = request.param
    return made


@pytest.mark.parametrize("attack", ATTACKS)
def test_case_77_a_hook_that_vetoes_crashes_times_out_or_loops(target: Target, attack: str) -> None:
    body, codes, said = ATTACKS[attack]
    target.install(HOSTILE, SOURCE.replace("BODY", body), timeout_ms=500)
    begin = time.monotonic()
    (warning,) = target.fire()
    assert time.monotonic() - begin < 15 and HOSTILE in warning and said in warning and len(warning) < 4500
    assert "\x1b" not in warning and "\n" not in warning
    assert target.journal.events() == [f"{GOOD} pre_start"], "the next one is asked all the same"
    target.journal.clear()
    listening.strategies(target.root, HOSTILE, container__pre_start="abort")
    with pytest.raises(NexcageError) as refused:
        target.fire()
    assert refused.value.code == "E_VETO" and refused.value.details.get("code", "") in codes.split("|"), refused.value.details
    assert target.journal.lines() == [], "after a veto nobody else is asked"
    target.install(HOSTILE, SOURCE.replace("BODY", "return None"), timeout_ms=5000)
    assert target.fire() == [] and target.journal.events() == [f"{GOOD} pre_start"]


def test_case_77_a_hook_is_no_way_to_the_secrets_of_a_task(target: Target) -> None:
    body = "return ' '.join(sorted(name for name in dir(host.oci) if not name.startswith('_'))) + str(sorted(payload))"
    target.install(HOSTILE, SOURCE.replace("BODY", body))
    (warning,) = target.fire()
    assert "['check_mode', 'name', 'spec']" in warning
    with dispatch.Session(target.layout, False, 20.0) as session:
        session.orders["web"] = t.cast(t.Any, object())
        room = hooks.of(session)._room
        hooks.of(session).fire(EVENT, {"name": "web"})
        assert room.orders == {} and all(bench.orders == {} for bench in room._benches.values())
