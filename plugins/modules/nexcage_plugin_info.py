#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List the backend plugins of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_plugin_info
short_description: List backend plugins with manifest, health and sandbox
version_added: 0.1.0
description:
  - Lists the backend plugins of a host, the preferred one first.
  - Each enabled plugin is asked for its health, which needs its programs but no privilege.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes.info
options:
  name:
    description: Only these plugins, such as V(crun-backend). The short form V(crun) works too.
    type: list
    elements: str
seealso:
  - module: nexcage.backends.nexcage_plugin
"""

EXAMPLES = r"""
---
- name: See which backends this host has
  nexcage.backends.nexcage_plugin_info:
  register: backends

- name: Refuse to go on without a healthy crun
  ansible.builtin.assert:
    that: (backends.plugins | selectattr('backend', 'eq', 'crun') | first).health.status == 'healthy'
"""

RETURN = r"""
---
plugins:
  description: The plugins, the preferred one first.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The plugin's full name.
      type: str
      sample: crun-backend
    backend:
      description: What O(nexcage.backends.nexcage_container#module:backend) calls it.
      type: str
      sample: crun
    version:
      description: The plugin's version.
      type: str
    enabled:
      description: Whether it may be used.
      type: bool
    priority:
      description: The lowest number is preferred.
      type: int
    config:
      description: The operator's settings for it.
      type: dict
    state:
      description: V(loaded), V(disabled), or V(error_state) where it cannot be used and C(health) says why.
      type: str
    trust:
      description: >-
        Why the plugin's code may run. V(builtin) is the collection itself, V(signature), V(pin) and V(unsigned) are how an installed
        package was accepted.
      type: str
    digest:
      description: The plugin digest of an installed package.
      type: str
    grant:
      description: What an installed plugin was granted.
      type: list
      elements: str
    health:
      description: C(status) is V(healthy), V(degraded), V(unhealthy) or V(unknown), C(problems) says why.
      type: dict
    sandbox:
      description: Tier and layers of the worker that was asked. Empty if the plugin is disabled.
      type: dict
    manifest:
      description: What the plugin declares, as in C(plugin.json).
      type: dict
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
    from ansible_collections.nexcage.backends.plugins.module_utils.manager.information import plugins
    from ansible_collections.nexcage.backends.plugins.module_utils.manager.run import run

    module = AnsibleModule(
        argument_spec={"name": {"type": "list", "elements": "str"}},
        supports_check_mode=True,
    )
    run(module, plugins)


if __name__ == "__main__":
    main()
