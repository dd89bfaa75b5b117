# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody else did to the files of a container is seen."""

from __future__ import annotations

import hashlib
import json
import pathlib
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager.observe import damage
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec

KEY = b"k" * 32


def found(folder: pathlib.Path, **spec: t.Any) -> dict[str, t.Any]:
    """An observation with its files as the engine leaves them."""
    config = json.dumps({"annotations": {"org.nexcage.spec": ContainerSpec(spec).seal(KEY)}}, separators=(",", ":")).encode()
    (folder / "config.json").write_bytes(config)
    return {"spec": spec, "config_sha256": hashlib.sha256(config).hexdigest(), "backend_details": {"bundle": str(folder)}}


def test_files_as_they_were_left(tmp_path: pathlib.Path) -> None:
    assert damage(found(tmp_path, memory=5), KEY) == ""


def test_a_config_that_changed_or_is_gone(tmp_path: pathlib.Path) -> None:
    seen = found(tmp_path, memory=5)
    with open(tmp_path / "config.json", "ab") as file:
        file.write(b" ")
    assert "config.json was changed" in damage(seen, KEY)
    (tmp_path / "config.json").unlink()
    assert "config.json is gone" in damage(seen, KEY)


def test_a_record_that_changed_and_another_key(tmp_path: pathlib.Path) -> None:
    seen = found(tmp_path, memory=5)
    assert "seal" in damage(seen, b"x" * 32)
    assert "seal" in damage({**seen, "spec": {"memory": 6}}, KEY)


def test_nothing_to_compare_with(tmp_path: pathlib.Path) -> None:
    """A half-made container has neither file."""
    assert damage({"spec": {}, "backend_details": {"bundle": str(tmp_path)}}, KEY) == ""
