# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for get-pip.py, which ansible-test would download: installs the pip that comes with Python."""

from __future__ import annotations

import ensurepip
import os
import subprocess
import sys

# Before bootstrap(), which sets PIP_CONFIG_FILE so that the machine's own pip.conf would be lost.
environment = {name: value for name, value in os.environ.items() if name != "GET_PIP"}
ensurepip.bootstrap()
arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *arguments], env=environment))
