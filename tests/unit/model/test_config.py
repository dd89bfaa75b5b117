# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where nexcage's folders lie, and what an error says."""

from __future__ import annotations

from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import REMEDIES, NexcageError


def test_the_folders_of_root() -> None:
    layout = Layout.for_user(0, {"HOME": "/root"})
    assert layout == ("/etc/nexcage", "/var/lib/nexcage", "/run/nexcage", "/var/cache/nexcage", "/var/log/nexcage/audit.jsonl")
    assert Layout.for_user(0, {"NEXCAGE_ROOT": "/x/"}).state == "/x/var/lib/nexcage"


def test_the_folders_of_others() -> None:
    plain = Layout.for_user(1000, {"HOME": "/home/user"})
    assert plain.configuration == "/home/user/.config/nexcage" and plain.runtime == "/run/user/1000/nexcage"
    assert plain.audit == "/home/user/.local/state/nexcage/audit.jsonl" and plain.cache == "/home/user/.cache/nexcage"
    chosen = Layout.for_user(1000, {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r/", "XDG_CACHE_HOME": ""})
    assert (chosen.configuration, chosen.state, chosen.runtime, chosen.cache) == ("/c/nexcage", "/s/nexcage", "/r/nexcage", "/.cache/nexcage")
    assert Layout.for_user(1000, {"NEXCAGE_ROOT": "/x"}).configuration == "/x/etc/nexcage"


def test_an_error_names_option_value_and_remedy() -> None:
    error = NexcageError("E_INVALID", "too short", option="name", value="x", remedy="write more")
    assert str(error) == "name='x': too short. Remedy: write more."
    assert str(NexcageError("E_IMAGE", "gone", option="image")).startswith("image: gone. Remedy: ")
    assert str(NexcageError("E_SPACE", "full")) == f"full. Remedy: {REMEDIES['E_SPACE']}."


def test_an_error_crosses_a_pipe() -> None:
    error = NexcageError("E_LIMIT", "too much", option="memory", value=object(), details={"a": 1})
    again = NexcageError.from_dict(error.as_dict())
    assert (again.code, again.message, again.option, again.remedy, again.details) == ("E_LIMIT", "too much", "memory", REMEDIES["E_LIMIT"], {"a": 1})
    assert isinstance(again.value, str)
    assert NexcageError("E_NONSENSE", "x").code == "E_INTERNAL" and "E_NONSENSE" in NexcageError("E_NONSENSE", "x").message
