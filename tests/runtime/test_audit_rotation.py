# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""logrotate takes the audit log away again and again while many write to it, with the file that the role writes."""

from __future__ import annotations

import gzip
import json
import mmap
import os
import pathlib
import struct
import subprocess
import time

import jinja2
import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import Audit

pytestmark = pytest.mark.requires("linux", "root", "logrotate")
WRITERS, EFFECTS, ROTATIONS = 6, 1000, 12
PAUSE = 0.0005  # seconds after each effect, so that there is writing as long as there is rotating


def rotation(folder: pathlib.Path, repository: pathlib.Path) -> pathlib.Path:
    """The role's file for an audit log in this folder."""
    role = repository / "roles/runtime"
    values = yaml.safe_load((role / "defaults/main.yml").read_text())
    file = folder / "logrotate"
    template = jinja2.Template((role / "templates/logrotate.j2").read_text(), undefined=jinja2.StrictUndefined)
    file.write_text(template.render({**values, "__runtime_audit_log": str(folder / "audit.jsonl")}) + "\n")
    file.chmod(0o644)
    return file


def rotate(file: pathlib.Path) -> None:
    subprocess.run(["logrotate", "--force", "--state", str(file.with_suffix(".state")), str(file)], check=True, capture_output=True)


def write(path: pathlib.Path, progress: mmap.mmap, place: int) -> int:
    """A process that writes the lines of many effects in one run, and tells how far it is; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        audit = Audit(str(path))
        for number in range(EFFECTS):
            struct.pack_into("I", progress, 4 * place, number)
            audit.outcome(audit.intent("oci.start", {"name": "web"}, {"plugin": "crun-backend"}), "oci.start", 0.001)
            time.sleep(PAUSE)
        audit.close()
        code = len(audit.warnings)
    finally:
        struct.pack_into("I", progress, 4 * place, EFFECTS)
        os._exit(code)


def lines(folder: pathlib.Path) -> list[tuple[str, str, int]]:
    """Run, phase and number of each line in all files, whether compressed or not."""
    found = []
    for file in folder.glob("audit.jsonl*"):
        text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        records = [json.loads(line) for line in text.splitlines() if line.endswith(b"}") and line.startswith(b"{")]
        found += [(record["run"], record["phase"], record.get("seq", 0)) for record in records]
    return found


def written(folder: pathlib.Path, file: pathlib.Path) -> list[tuple[str, str, int]]:
    """All lines that are there after many have written, and the log was rotated meanwhile."""
    progress = mmap.mmap(-1, 4 * WRITERS)
    pids = [write(folder / "audit.jsonl", progress, place) for place in range(WRITERS)]
    for _turn in range(ROTATIONS):
        rotate(file)
        # A file is compressed with the rotation after the next: in the months between, each writer has looked where it writes.
        before = struct.unpack(f"{WRITERS}I", progress[:])
        while any(now < min(then + 2, EFFECTS) for then, now in zip(before, struct.unpack(f"{WRITERS}I", progress[:]))):
            time.sleep(0.001)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * WRITERS
    return lines(folder)


def test_no_line_is_lost(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    file = rotation(tmp_path, repository)
    found = written(tmp_path, file)
    assert len(found) == len(set(found)) == WRITERS * (2 * EFFECTS + 1)
    files = sorted(path.name for path in tmp_path.glob("audit.jsonl*"))
    assert len(files) > 5 and "audit.jsonl.1" in files and "audit.jsonl.2.gz" in files
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.glob("audit.jsonl*"))


def test_the_test_sees_lines_that_are_lost(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    file = rotation(tmp_path, repository)
    file.write_text(file.read_text().replace("nocreate", "copytruncate"))
    assert len(written(tmp_path, file)) < WRITERS * (2 * EFFECTS + 1)


def test_one_run_goes_on_in_the_new_file(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    file, log, audit = rotation(tmp_path, repository), tmp_path / "audit.jsonl", Audit(str(tmp_path / "audit.jsonl"))
    for expected in (1, 2, 3):
        audit.intent("oci.start", {"name": "web"}, {})
        assert [json.loads(line)["seq"] for line in log.read_text().splitlines()] == [expected]
        rotate(file)
        assert not log.exists()
    audit.close()
    assert json.loads(log.read_text())["writes"] == 3
    assert sorted(path.name for path in tmp_path.glob("audit.jsonl*")) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2.gz", "audit.jsonl.3.gz"]


def test_an_empty_or_missing_log(tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    file = rotation(tmp_path, repository)
    rotate(file)
    (tmp_path / "audit.jsonl").touch(0o600)
    rotate(file)
    assert [path.name for path in tmp_path.glob("audit.jsonl*")] == ["audit.jsonl"]
