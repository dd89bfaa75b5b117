#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the backend plugins of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_plugin
short_description: Enable, disable and configure backend plugins
version_added: 0.1.0
description:
  - Sets whether a backend plugin may be used on a host, how much it is preferred, and its own settings.
  - Only that plugin's entry in C(/etc/nexcage/config.json) changes. Everything else in the file stays as it is.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes
options:
  name:
    description: The plugin, such as V(crun-backend). The short form V(crun) works too.
    type: str
    required: true
  state:
    description: Whether the plugin may be used. Left as it is where not given.
    type: str
    choices: [enabled, disabled]
  priority:
    description: The backend with the lowest number is preferred with O(nexcage.backends.nexcage_container#module:backend=auto).
    type: int
  config:
    description:
      - The plugin's own settings, in full. An empty dictionary removes them all.
      - Which there are, P(nexcage.backends.nexcage_plugin_info#module) shows under C(manifest.configuration).
    type: dict
seealso:
  - module: nexcage.backends.nexcage_plugin_info
"""

EXAMPLES = r"""
---
- name: Prefer runc
  nexcage.backends.nexcage_plugin:
    name: runc-backend
    priority: 5

- name: Never use crun on this host
  nexcage.backends.nexcage_plugin:
    name: crun-backend
    state: disabled
"""

RETURN = r"""
---
plugin:
  description: The plugin's settings after the task.
  returned: success
  type: dict
  sample:
    name: crun-backend
    backend: crun
    version: 1.0.0
    enabled: true
    priority: 10
    config: {}
plan:
  description: What was set, or in check mode would be set.
  returned: success
  type: list
  elements: dict
error:
  description: What went wrong, as RV(nexcage.backends.nexcage_container#module:error).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nexcage.backends.plugins.module_utils.worker.once import compile_once


def main() -> None:
    """Run the module."""
    compile_once()
    from ansible_collections.nexcage.backends.plugins.module_utils.manager.information import configure
    from ansible_collections.nexcage.backends.plugins.module_utils.manager.run import run

    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["enabled", "disabled"]},
            "priority": {"type": "int"},
            "config": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    run(module, configure)


if __name__ == "__main__":
    main()
