# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator answers as a real Proxmox VE did: every recorded request again, in its order."""

from __future__ import annotations

import collections
import pathlib

import pytest
from ansible_collections.nexcage.backends.tests.simulator.replay import compare, engine, left_out

FOLDER = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data" / "pve-transcripts"
NO_HTTP = ("cli.json",)  # recordings of programs on a node
FILES = sorted(f"{path.parent.name}/{path.name}" for path in FOLDER.glob("*/*.json") if path.name not in NO_HTTP)

# How often the state of a guest had to be made true before a request, because whoever recorded had changed it out of sight
# (replay/hidden.py). Where the simulator forgets to stop, lock or remove a guest, it becomes more.
MADE_TRUE = {
    "8.4/discovery.json": 1,
    "8.4/lxc_config.json": 23,
    "8.4/lxc_create.json": 15,
    "8.4/lxc_disk.json": 10,
    "8.4/lxc_lifecycle.json": 6,
    "8.4/misc.json": 19,
    "8.4/tasks.json": 9,
    "8.4/vm_config.json": 3,
    "8.4/vm_create.json": 18,
    "8.4/vm_disk.json": 7,
    "8.4/vm_lifecycle.json": 4,
    "9.2/discovery.json": 1,
    "9.2/lxc_config.json": 29,
    "9.2/lxc_create.json": 15,
    "9.2/lxc_lifecycle.json": 8,
    "9.2/lxc_start1.json": 1,
    "9.2/oci.json": 11,
    "9.2/oci_start.json": 3,
    "9.2/tasks.json": 9,
    "9.2/vm_config.json": 3,
    "9.2/vm_create.json": 18,
    "9.2/vm_disk.json": 8,
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", FILES or ["none"])
def test_recording(name: str, shared_data: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = engine.Recording(shared_data / "pve-transcripts" / name, name.partition("/")[0])
    results = recording.replay()
    assert len(results) >= len([one for one in recording.entries if "path" in one.get("request", {})])
    reasons = {one: left_out.reason(name, one.number, one.case) for one in results}
    with capsys.disabled():
        print("\n" + engine.summary({name: results}, lambda _file, one: reasons[one])[0], end="")
    different = [one for one in results if one.difference and not reasons[one]]
    assert different == [], "\n".join(f"{one.number} {one.case}: {one.request}: {one.difference}" for one in different)
    assert recording.corrections == MADE_TRUE.get(name, 0)
    needless = [one for one in results if reasons[one] and not one.difference]
    assert needless == [], "these cases are alike and need not be left out"


def test_summary_counts() -> None:
    found = [engine.Outcome(1, "a", "GET /", ""), engine.Outcome(2, "b", "GET /", "differs"), engine.Outcome(3, "c", "GET /", "differs")]
    lines = engine.summary({"x.json": found}, lambda _file, one: "no proof" if one.case == "c" else "")
    assert [" ".join(line.split()) for line in lines] == ["x.json 1 of 2 alike, 1 left out", "all 1 of 2 alike, 1 left out"]


@pytest.mark.parametrize(
    ("path", "recorded", "status", "reason", "body", "alike"),
    [
        ("/version", {"status": 200, "reason": "OK", "body": {"data": {"release": "9.2"}}}, 200, "OK", {"data": {"release": "8.4"}}, True),
        ("/version", {"status": 200, "reason": "OK", "body": {"data": {"release": "9.2"}}}, 200, "OK", {"data": {}}, False),
        ("/version", {"status": 200, "reason": "OK", "body": {"data": []}}, 200, "OK", {"data": [{"a": 1}]}, False),
        ("/version", {"status": 200, "reason": "OK", "body": {"data": None}}, 500, "no", None, False),
        ("/x", {"status": 500, "reason": "a", "body": {"data": None, "message": "a\n"}}, 500, "a", {"data": None, "message": "a\n"}, True),
        ("/x", {"status": 500, "reason": "a", "body": {"data": None, "message": "a\n"}}, 500, "b", {"data": None, "message": "a\n"}, False),
        ("/x", {"status": 500, "reason": "a", "body": {"data": None, "message": "a\n"}}, 500, "a", {"data": None, "message": "b\n"}, False),
        ("/x", {"status": 400, "reason": "a", "body": {"errors": {"k": "x"}}}, 400, "a", {"errors": {"k": "y"}}, False),
        ("/nodes/n/lxc/1/config", {"status": 200, "reason": "OK", "body": {"data": {"memory": 1}}}, 200, "OK", {"data": {"memory": 2}}, False),
        ("/nodes/n/lxc/1/config", {"status": 200, "reason": "OK", "body": {"data": {"digest": "a" * 40}}}, 200, "OK", {"data": {"digest": "b" * 40}}, True),
        ("/nodes/n/tasks/U/status", {"status": 200, "reason": "OK", "body": {"data": {"exitstatus": "OK"}}}, 200, "OK", {"data": {"exitstatus": "no"}}, False),
    ],
)
def test_comparison_sees_differences(path: str, recorded: dict[str, object], status: int, reason: str, body: object, alike: bool) -> None:
    assert (compare.answers(path, recorded, status, reason, body) == "") is alike


def test_every_reason_names_one_file_of_few_cases() -> None:
    counted = collections.Counter(reason for _file, _case, reason in left_out.RULES)
    assert len(left_out.RULES) <= 9
    assert all(reason for reason in counted)
    assert left_out.reason("9.2/auth.json", 1, "no auth") == ""
