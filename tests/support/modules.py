# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run through their ``main()`` in this process, for speed; the Ansible path is tested by playbooks."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pathlib
import typing as t
from unittest import mock

from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

MODULES = "ansible_collections.nexcage.backends.plugins.modules."


class Result(dict[str, t.Any]):
    """What a module printed."""

    @property
    def actions(self) -> list[str]:
        """The kinds of the plan's actions, in order."""
        return [action["action"] for action in self.get("plan", [])]


def run(module: str, check: bool = False, diff: bool = True, **parameters: t.Any) -> Result:
    """Run a module with these parameters and return its result, failed or not."""
    code = importlib.import_module(MODULES + module)
    arguments = {**parameters, "_ansible_check_mode": check, "_ansible_diff": diff}
    output = io.StringIO()
    warnings._global_warnings.clear()  # those of the run before
    # A test that imports an action plugin makes this process a controller, where a module's warnings are shown and not returned,
    # and its parameters looked at as if they were a module's answer.
    apart = mock.patch("ansible.module_utils._internal.is_controller", False)
    plain = mock.patch("ansible.module_utils._internal._json._profiles._string_encoding_check_enabled", bool)
    with patch_module_args(arguments), apart, plain, contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        code.main()
    return Result(json.loads(output.getvalue()))


def works(module: str, **parameters: t.Any) -> Result:
    """Run a module that must succeed."""
    result = run(module, **parameters)
    assert not result.get("failed"), result.get("msg")
    return result


def fails(module: str, **parameters: t.Any) -> Result:
    """Run a module that must fail; its error names what it is about, and a remedy."""
    result = run(module, **parameters)
    assert result.get("failed"), result
    error = result["error"]
    assert error["remedy"] and (error["option"] is not None or error["value"] is not None), result
    return result


@contextlib.contextmanager
def nexcage_root(folder: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Let every module of this process keep its files below ``folder``."""
    with mock.patch.dict(os.environ, {"NEXCAGE_ROOT": str(folder)}):
        yield folder


def snapshot(folder: pathlib.Path) -> dict[str, t.Any]:
    """Every file below a folder with its content's time and size, to see that nothing was written."""
    found = {}
    for path, folders, files in os.walk(folder):
        if "rootfs" in folders:
            folders.remove("rootfs")
        for name in (*folders, *files):
            full = os.path.join(path, name)
            facts = os.lstat(full)
            found[full] = (facts.st_mode, facts.st_ino, facts.st_size if name in files else 0, facts.st_mtime_ns if name in files else 0)
    return found
