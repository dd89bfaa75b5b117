# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the module of this name, after the conformance suite on the controller where the task asks for that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.plugin_utils import delivery

COLLECTION = Path(delivery.__file__).parents[2]
LIBRARY = "pytest"
LIMIT = 600  # seconds
SHOWN = 4000  # characters of pytest's output
_COUNT = re.compile(r"(\d+) (passed|failed|error|warning)")
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S*?::(\S+)", re.MULTILINE)


class ActionModule(delivery.Delivery):
    """The module's result, with the suite's under ``conformance``."""

    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Test first: what does not pass is not packaged."""
        told: dict[str, t.Any] = {}
        try:
            if delivery.asked(self._task.args, "conformance"):
                told = {"conformance": conformance(self._source())}
        except NexcageError as error:
            return {"failed": True, "changed": False, "msg": str(error), "error": error.as_dict()}
        return {**super().run(tmp, task_vars), **told}

    def _source(self) -> str:
        path = os.path.expanduser(str(self._task.args.get("src")))
        try:
            return os.path.realpath(str(t.cast("t.Any", self)._find_needle("files", path)))
        except AnsibleError as error:
            raise NexcageError(
                "E_NOT_FOUND", str(error), option="src", value=path, remedy="the suite runs on the controller: the folder has to be there"
            ) from None


def conformance(folder: str) -> dict[str, t.Any]:
    """Run the suite on a plugin's folder: how many tests passed, and how many warnings there are.

    Raises:
        NexcageError: ``E_PLUGIN`` where a test fails; ``E_BINARY`` without pytest; ``E_TIMEOUT``.
    """
    command = [sys.executable, "-m", LIBRARY, "-q", "-rfE", "--tb=short", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder]
    command += [str(COLLECTION / "tests/conformance"), "--nexcage-plugin", folder]
    # The collection by the name that it has here; nothing is left in its folder.
    environment = {**os.environ, "PYTHONPATH": str(COLLECTION.parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ended = subprocess.run(  # pylint: disable=ansible-bad-function
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise NexcageError("E_TIMEOUT", f"the conformance suite took more than {LIMIT} seconds", option="src", value=folder) from None
    if ended.returncode == 0:
        counts = {kind: int(number) for number, kind in _COUNT.findall(ended.stdout.rstrip().rpartition("\n")[2])}
        return {"passed": counts.get("passed", 0), "warnings": counts.get("warning", 0)}
    if f"No module named {LIBRARY}" in ended.stderr:
        raise NexcageError("E_BINARY", f"the conformance suite needs {LIBRARY}", remedy=f"install {LIBRARY} for {sys.executable}, or leave conformance out")
    failed = _FAILED.findall(ended.stdout)
    raise NexcageError(
        "E_PLUGIN",
        f"the plugin fails the conformance suite: {', '.join(failed) or 'the suite did not run'}",
        option="src",
        value=folder,
        remedy="see details.output; docs/writing-a-plugin.md says what is tested",
        details={"failed": failed, "output": (ended.stdout + ended.stderr)[-SHOWN:]},
    )
