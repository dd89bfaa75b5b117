# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback that writes every result of a play as one JSON line, so that a test can look at it."""

from __future__ import annotations

import json
import os
import typing as t

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: nexcage_results
type: notification
short_description: Write every result as a JSON line to the file that NEXCAGE_RESULTS names
description:
  - For the tests of nexcage.backends.
requirements: []
"""


class CallbackModule(CallbackBase):
    """Collects results."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "nexcage_results"

    def _write(self, status: str, result: t.Any) -> None:
        values = json.loads(self._dump_results(result._result, indent=0, serialize=True))
        line = json.dumps({"task": result._task.get_name(), "host": result._host.get_name(), "status": status, "result": values})
        with open(os.environ["NEXCAGE_RESULTS"], "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def v2_runner_on_ok(self, result: t.Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        self._write("failed", result)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        self._write("skipped", result)
