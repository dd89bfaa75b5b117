#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the signed index of a folder of plugin packages."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_plugin_index
short_description: Make the signed index of a folder of plugin packages
version_added: 0.1.0
description:
  - Writes C(index.json) and its signature C(index.json.sig) beside the packages in a folder. Any web server can serve that folder,
    and it works from a file system too.
  - The index says of each release its version, address, size, digests, capabilities and class. It has a counter that only goes up, and
    a time at which it expires, so that neither an old index nor one that is withheld goes unnoticed.
  - Run it where the packages are made, usually on the controller, with C(delegate_to=localhost) and C(run_once=true).
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes
options:
  path:
    description:
      - The folder. Every C(*.nexcage-plugin) file in it is a release, and each has to be signed by its publisher.
      - A release that was in the index with another digest is refused. A changed plugin needs another version.
    type: path
    required: true
  key:
    description:
      - The private SSH key that signs the index, without a passphrase and readable by its owner alone.
      - Its public key belongs into C(index_signers) on the hosts, with C(namespaces="nexcage-index"). It may be another one than that
        of the packages, and should be.
    type: path
    required: true
  name:
    description:
      - The name of the index, such as V(acme). A host remembers the counter by this name, wherever the index lies.
    type: str
    required: true
  valid_days:
    description: Days after which a new index expires.
    type: int
    default: 30
  renew_days:
    description: An index that expires within so many days is made anew. Has to be less than O(valid_days).
    type: int
    default: 7
  yanked:
    description:
      - Releases that shall not be installed any more, as lists of versions by plugin. The packages stay where they are.
      - An empty dictionary yanks nothing. Left as it is where not given.
    type: dict
  version:
    description:
      - The lowest counter that the index may have. For the day that C(index.json) was lost, with a number above the last one.
    type: int
  lock_file:
    description:
      - A lock file to write, such as C(nexcage-plugins.lock.json) beside the playbook. It holds each plugin to its newest release that
        is not yanked and fits this collection, by version and digest.
    type: path
seealso:
  - module: nexcage.backends.nexcage_plugin
"""

EXAMPLES = r"""
---
- name: Publish the packages in a folder
  nexcage.backends.nexcage_plugin_index:
    path: /srv/nexcage
    key: ~/.ssh/nexcage_index
    name: acme
  delegate_to: localhost
  run_once: true

- name: Take back a release, and hold playbooks to the rest
  nexcage.backends.nexcage_plugin_index:
    path: /srv/nexcage
    key: ~/.ssh/nexcage_index
    name: acme
    yanked:
      acme-backend: [1.2.0]
    lock_file: "{{ playbook_dir }}/nexcage-plugins.lock.json"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
---
index:
  description: The index after the task, or in check mode as it would be.
  returned: success
  type: dict
  contains:
    path:
      description: Where it lies.
      type: str
      sample: /srv/nexcage/index.json
    name:
      description: Its name.
      type: str
      sample: acme
    version:
      description: Its counter.
      type: int
      sample: 42
    expires:
      description: When it expires, in UTC.
      type: str
      sample: "2027-01-15T08:00:00Z"
    sha256:
      description: The SHA-256 of its bytes.
      type: str
    plugins:
      description: The versions of each plugin, the highest first.
      type: dict
      sample:
        acme-backend: [1.3.0, 1.2.0]
plan:
  description: What was done, or in check mode would be done, each with its reason.
  returned: success
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
    publish = part("manager.index_build").publish
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "key": {"type": "path", "required": True, "no_log": False},
            "name": {"type": "str", "required": True},
            "valid_days": {"type": "int", "default": 30},
            "renew_days": {"type": "int", "default": 7},
            "yanked": {"type": "dict"},
            "version": {"type": "int"},
            "lock_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, publish)


if __name__ == "__main__":
    main()
