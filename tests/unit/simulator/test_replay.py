# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator answers as a real Proxmox VE did: every recorded request again, in its order."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.simulator.replay import engine, left_out

FOLDER = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data" / "pve-transcripts"
NO_HTTP = ("cli.json",)  # recordings of programs on a node
FILES = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.json") if path.name not in NO_HTTP)
# How many cases of a file still differ. It may only become less.
KNOWN: dict[str, int] = {}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", FILES or ["none"])
def test_recording(name: str, shared_data: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = engine.Recording(shared_data / "pve-transcripts" / name, name.partition("/")[0])
    results = recording.replay()
    assert len(results) >= len([one for one in recording.entries if "path" in one.get("request", {})])
    with capsys.disabled():
        print("\n" + engine.summary({name: results}, lambda file, one: left_out.reason(file, one.case))[0], end="")
    different = [one for one in results if one.difference and not left_out.reason(name, one.case)]
    assert len(different) <= KNOWN.get(name, 0), "\n".join(f"{one.number} {one.case}: {one.request}: {one.difference}" for one in different)
