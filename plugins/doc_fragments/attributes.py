# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module declares about itself."""

from __future__ import annotations


class ModuleDocFragment:
    """Attributes shared by the modules."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and return what it would change, without changing anything.
    support: full
  diff_mode:
    description: Returns what it changed, or would change in check mode. Secrets are never shown.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: The operating systems of the managed host.
    support: full
    platforms: linux
  action_group:
    description: Use C(group/nexcage.backends.nexcage) in C(module_defaults) to set defaults for all modules.
    support: full
    membership:
      - nexcage.backends.nexcage
"""

    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode. It never changes anything.
    support: full
  diff_mode:
    description: Returns what it changed.
    support: N/A
    details:
      - It never changes anything.
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  platform:
    description: The operating systems of the managed host.
    support: full
    platforms: linux
  action_group:
    description: Use C(group/nexcage.backends.nexcage) in C(module_defaults) to set defaults for all modules.
    support: full
    membership:
      - nexcage.backends.nexcage
"""
