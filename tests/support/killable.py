# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module, by default ``nexcage_container``, as a process that can be made to end at one of its own steps.

Usage: killable.py PARAMETERS STEPS KILL_AT [MODULE]

PARAMETERS is a JSON object. Where STEPS is not empty it is a file that gets a line for each step of a write. At the
step with the number KILL_AT (from 0, never where negative) the process kills itself.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys

from ansible.module_utils.testing import patch_module_args
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store

MODULES = "ansible_collections.nexcage.backends.plugins.modules."


def main(parameters: str, steps: str, kill_at: str, module: str = "nexcage_container") -> None:
    """Run the module."""
    left = [int(kill_at)]

    def reached(step: str) -> None:
        if steps:
            with open(steps, "a", encoding="utf-8") as file:
                file.write(step + "\n")
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1

    store.CHECKPOINT = reached
    with patch_module_args(json.loads(parameters)):
        importlib.import_module(MODULES + module).main()


if __name__ == "__main__":
    main(*sys.argv[1:])
