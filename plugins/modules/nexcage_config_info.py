#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Show the effective configuration."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_config_info
short_description: Show the effective configuration and where names are routed
version_added: 0.1.0
description:
  - Shows every key of NexCage's configuration with its value, the file or default it comes from, and what it does.
  - Names the keys that have no effect, those that nobody knows, and the files that are not read.
  - Tells to which backend the routing rules send a container's name with O(nexcage.backends.nexcage_container#module:backend=auto).
  - The file is C(/etc/nexcage/config.json), and C(/etc/nexcage/nexcage.json) where the first one does not exist. Secrets are not shown.
  - A value of the wrong type or out of its range is an error that names key, value and what is allowed. RV(error) then
    lists all of them under C(details.problems).
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes.info
options:
  names:
    description: Names of containers, which need not exist, to route.
    type: list
    elements: str
    default: []
  defaults:
    description: Also show the keys that the file does not have, with their defaults. Most keys do nothing, and there are about a hundred.
    type: bool
    default: true
  path:
    description:
      - Another configuration file on the host to look at, such as the C(config.json) of the folder where NexCage used to be started.
      - Nothing else reads this file.
    type: path
seealso:
  - module: nexcage.backends.nexcage_container
  - module: nexcage.backends.nexcage_plugin
"""

EXAMPLES = r"""
---
- name: See where two containers would go
  nexcage.backends.nexcage_config_info:
    names: [web-1, kube-ovn-7]
  register: configuration

- name: See what the file says, and only that
  nexcage.backends.nexcage_config_info:
    defaults: false

- name: Show what has no effect
  ansible.builtin.debug:
    var: configuration.without_effect

- name: Refuse to go on with unknown keys
  ansible.builtin.assert:
    that: configuration.unknown == []
"""

RETURN = r"""
---
file:
  description: The file that counts. C(null) where there is none, and all is default.
  returned: success
  type: str
  sample: /etc/nexcage/config.json
settings:
  description:
    - Every key, and those of the file that stand for several, such as C(plugins.crun-backend.enabled). Those that the file has come first.
    - With O(defaults=false) only these.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key, with dots.
      type: str
      sample: plugin_manager.max_plugins
    value:
      description: Its value. Secrets are V(********).
      type: raw
      sample: 1000
    source:
      description: The file it comes from, or V(default).
      type: str
      sample: default
    effective:
      description: Whether it does anything.
      type: bool
    note:
      description: What it does, or why it does nothing.
      type: str
without_effect:
  description: Keys of the file that do nothing.
  returned: success
  type: list
  elements: dict
  contains:
    key:
      description: The key.
      type: str
    reason:
      description: Why it does nothing.
      type: str
unknown:
  description: Keys of the file that nobody knows.
  returned: success
  type: list
  elements: str
ignored_files:
  description: Files that look like configuration and are not read.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    reason:
      description: Why it is not read.
      type: str
routing:
  description: What the routing rules come to.
  returned: success
  type: dict
  contains:
    compat:
      description: How patterns are read, V(standard) or V(nexcage).
      type: str
    active:
      description: Whether the configuration has rules or a default.
      type: bool
    answers:
      description:
        - For each of O(names), in order, C(name), C(backend), the C(key) that decided, and C(differs).
        - C(backend) is C(null) where the preferred backend is taken.
        - C(differs) says whether the other way to read patterns leads elsewhere.
      type: list
      elements: dict
      sample:
        - name: kube-ovn-7
          backend: crun
          key: container_config.routing[0]
          differs: false
error:
  description: What went wrong, as RV(nexcage.backends.nexcage_container#module:error).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nexcage.backends.plugins.module_utils.worker.delivered import begin, part


def main() -> None:
    """Run the module."""
    begin(AnsibleModule)
    information = part("manager.configuration_shown").information
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "defaults": {"type": "bool", "default": True},
            "path": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, information, reading=True)


if __name__ == "__main__":
    main()
