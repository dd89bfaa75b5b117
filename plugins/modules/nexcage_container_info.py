#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List containers."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_container_info
short_description: List containers of all backends
version_added: 0.1.0
description:
  - Lists all containers, or those that match every given filter. A container that does not exist is not an error, only not in the list.
  - However many there are, each runtime is asked once.
  - A container of which nothing can be said now, as its backend does not answer or is in quarantine, stands in RV(not_listed). Where it
    is asked for by O(name), the module fails with the reason, as it does with a policy that is not understood.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes.info
options:
  name:
    description: Only containers with one of these names.
    type: list
    elements: str
  labels:
    description: Only containers that have all these labels with these values.
    type: dict
    aliases: [label]
  status:
    description: Only containers in one of these states.
    type: list
    elements: str
    choices: [created, running, paused, stopped, incomplete]
  backend:
    description: Only containers of this backend, such as V(crun) or V(runc).
    type: str
  timeout:
    description: Seconds for each listing.
    type: int
    default: 120
seealso:
  - module: nexcage.backends.nexcage_container
"""

EXAMPLES = r"""
---
- name: List the containers that run
  nexcage.backends.nexcage_container_info:
    status: [running]
  register: running

- name: Look for one container
  nexcage.backends.nexcage_container_info:
    name: [web]
  register: web

- name: List those with a label, on one backend
  nexcage.backends.nexcage_container_info:
    labels:
      tier: front
    backend: crun
"""

RETURN = r"""
---
containers:
  description: The containers, sorted by name, each as RV(nexcage.backends.nexcage_container#module:container).
  returned: success
  type: list
  elements: dict
  sample:
    - name: web
      backend: crun
      status: running
not_listed:
  description:
    - Containers that this host has a record of, and that could not be looked for. Empty where RV(containers) is complete.
    - Only O(backend) narrows it, as labels and status are not known.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The container.
      type: str
    backend:
      description: Its backend.
      type: str
    reason:
      description: What kept the module from it.
      type: str
  sample:
    - name: box
      backend: cloud
      reason: cloud-backend may not be used until 2026-01-01T12:00:00Z
sandbox:
  description: How the backend's code was locked in. Empty if there was no container to ask for.
  returned: success
  type: dict
plugin_log:
  description: What installed plugins said by C(host.log), as RV(nexcage.backends.nexcage_container#module:plugin_log).
  returned: if a plugin with the capability C(logging) said anything, also on failure
  type: list
  elements: dict
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
    containers = part("manager.information").containers
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            "labels": {"type": "dict", "aliases": ["label"]},
            "status": {
                "type": "list",
                "elements": "str",
                "choices": ["created", "running", "paused", "stopped", "incomplete"],
            },
            "backend": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    run(module, containers, reading=True)


if __name__ == "__main__":
    main()
