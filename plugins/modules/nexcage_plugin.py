#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage the backend plugins of a host."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_plugin
short_description: Install, grant, configure and remove backend plugins
version_added: 0.1.0
description:
  - Installs backend plugins of third parties from signed packages, says what each may do, and removes or rolls them back.
  - Sets whether a plugin, built in or installed, may be used on a host, how much it is preferred, and its own settings.
  - Everything is verified before anything changes. Killed at any moment, the old or the new version is installed, and the next run
    clears what was left.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes
attributes:
  idempotent:
    support: partial
    details:
      - O(state=rolled_back) without O(version) goes one step back in each run. All else changes nothing in a second run.
options:
  name:
    description:
      - The plugin, such as V(crun-backend). For a plugin that is built in the short form V(crun) works too.
      - Has to be the name in the package's manifest.
    type: str
    required: true
  state:
    description:
      - V(present) installs the package given with O(src) or O(index), and leaves alone what is not given. It is the default with these.
      - V(enabled) and V(disabled) say whether the plugin may be used. V(enabled) also ends a quarantine.
      - The containers of a plugin that is disabled stay as they are. They go on running and are listed. Changing, starting,
        stopping and removing them is refused, and so is a command in them, until the plugin is enabled again. Another
        backend takes one over only with O(nexcage.backends.nexcage_container#module:replace_backend=true).
      - V(absent) removes an installed plugin. It is refused while the plugin has containers, or another plugin needs it.
      - V(reloaded) takes the package that somebody put into C(/etc/nexcage/plugins). Until then the plugin is refused, as what lies there
        is not what was installed. A package from O(src) or O(index) replaces it while it is in use, and no other task fails.
      - V(rolled_back) brings back the version before the last change, in the same way. With O(version) it changes nothing where that
        version is active already. Without it each run goes one step back, and so the second run brings back what the first one left.
    type: str
    choices: [present, absent, enabled, disabled, reloaded, rolled_back]
  src:
    description:
      - A package file, C(NAME-VERSION.nexcage-plugin), or the folder of a plugin, of which an unsigned package is made.
      - Looked for on the controller, unless O(remote_src=true).
      - An address of a package, V(https://...) or V(file:///...), is fetched by the host. Proxies are not used.
    type: path
  index:
    description:
      - The address of a signed index that P(nexcage.backends.nexcage_plugin_index#module) made, V(https://...) or V(file:///...), of
        C(index.json) or with a slash at the end of its folder. The host fetches it, and from beside it the highest release in
        O(version) that is not yanked and fits this collection.
      - Who may sign an index, C(/etc/nexcage/trust/index_signers) says. The signature of the package counts as always.
      - One that is older than one that the host has seen before is refused.
    type: str
  allow_expired_index:
    description: Accept an index that has expired, as on a host that no later one can reach.
    type: bool
    default: false
  lock_file:
    description:
      - A lock file that P(nexcage.backends.nexcage_plugin_index#module) wrote. Only the version and digest in it are installed.
      - Looked for on the controller, unless O(remote_src=true).
    type: path
  ca_file:
    description: A PEM file on the host with the certificates that servers are verified by, instead of those of the system.
    type: path
  remote_src:
    description: Whether O(src) is a package file on the host, and O(lock_file) a file there.
    type: bool
    default: false
  version:
    description:
      - The version, or the range of versions such as V(>=1.2,<2), that the package has to have.
      - A bare version is exactly that one, as with V(==). In a manifest's C(nexcage_version) it is a lower bound.
      - With O(state=rolled_back) that which shall be active afterwards. It is that of the package now, or of the one before.
    type: str
  digest:
    description:
      - The plugin digest that the package has to have, V(sha256:...). P(nexcage.backends.nexcage_plugin_package#module) returns it.
      - A package with the right digest needs no signature.
    type: str
  trust:
    description:
      - V(signature) needs the signature of a publisher that the host trusts for this plugin, or O(digest).
      - V(unsigned) needs neither. It is never enough for a plugin that asks for something as good as root.
    type: str
    choices: [signature, unsigned]
    default: signature
  grant:
    description:
      - What the plugin may do, each capability by its name. There is no word for all.
      - What it asks for, the error without it says, as a block to paste; so does check mode.
      - A name that is left out is refused to the plugin. Left as it is where not given.
    type: list
    elements: str
  accept_root_equivalent:
    description: Accept that O(grant) has something that is as good as root on the host.
    type: bool
    default: false
  scope_digest:
    description:
      - The scope that O(grant) is given for, V(sha256:...). A package with another one is refused.
      - Needed where a capability that was granted before opens more in another version that is as good as root. The error says
        what that is, and the digest to paste. Without it what is new of the other classes is granted under the same names, and
        stands in plan, diff and a warning.
    type: str
  allow_downgrade:
    description: Allow a version lower than one that was installed here before.
    type: bool
    default: false
  priority:
    description: The backend with the lowest number is preferred with O(nexcage.backends.nexcage_container#module:backend=auto).
    type: int
  config:
    description:
      - The plugin's own settings, in full. An empty dictionary removes them all.
      - Which there are, P(nexcage.backends.nexcage_plugin_info#module) shows under C(manifest.configuration).
    type: dict
seealso:
  - module: nexcage.backends.nexcage_plugin_index
  - module: nexcage.backends.nexcage_plugin_info
  - module: nexcage.backends.nexcage_plugin_package
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

- name: Install a backend of somebody else, and say what it may do
  nexcage.backends.nexcage_plugin:
    name: acme-backend
    src: acme-backend-1.1.0.nexcage-plugin
    grant: [container_list, container_info, logging]
    priority: 50

- name: Install the newest version below 2 that the lock file beside the playbook names
  nexcage.backends.nexcage_plugin:
    name: acme-backend
    index: https://plugins.example.com/index.json
    version: <2
    lock_file: nexcage-plugins.lock.json
    grant: [container_list, container_info, logging]

- name: Go back to the version before
  nexcage.backends.nexcage_plugin:
    name: acme-backend
    version: 1.0.0 # without it the next run would go forth again
    state: rolled_back

- name: Remove it
  nexcage.backends.nexcage_plugin:
    name: acme-backend
    state: absent
"""

RETURN = r"""
---
plugin:
  description: The plugin after the task, or in check mode as it would be.
  returned: success
  type: dict
  contains:
    name:
      description: The plugin's name.
      type: str
      sample: crun-backend
    backend:
      description: What O(nexcage.backends.nexcage_container#module:backend) calls it.
      type: str
      sample: crun
    version:
      description: Its version.
      type: str
      sample: 1.0.0
    state:
      description: V(loaded), V(disabled), V(error_state) in quarantine, or V(unloaded) where it is not installed. Only of installed plugins.
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
    digest:
      description: The plugin digest of the installed package.
      type: str
    trust:
      description: Why the package was accepted, V(signature), V(pin) or V(unsigned).
      type: str
    principal:
      description: Who signed it.
      type: str
    grant:
      description: The capabilities it was granted.
      type: list
      elements: str
plan:
  description: What was done, or in check mode would be done, each with its reason.
  returned: success
  type: list
  elements: dict
hooks:
  description: What became of the hooks that were told of it, as RV(nexcage.backends.nexcage_container#module:hooks).
  returned: if a plugin listens
  type: list
  elements: dict
plugin_log:
  description: What installed plugins said by C(host.log), as RV(nexcage.backends.nexcage_container#module:plugin_log).
  returned: if a plugin with the capability C(logging) said anything, also on failure
  type: list
  elements: dict
error:
  description: What went wrong, as RV(nexcage.backends.nexcage_container#module:error). With C(E_GRANT) its C(details.grant) is the block to paste.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nexcage.backends.plugins.module_utils.worker.delivered import begin, part


def main() -> None:
    """Run the module."""
    begin(AnsibleModule)
    configure = part("manager.information").configure
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent", "enabled", "disabled", "reloaded", "rolled_back"]},
            "src": {"type": "path"},
            "remote_src": {"type": "bool", "default": False},
            "index": {"type": "str"},
            "allow_expired_index": {"type": "bool", "default": False},
            "lock_file": {"type": "path"},
            "ca_file": {"type": "path"},
            "version": {"type": "str"},
            "digest": {"type": "str"},
            "trust": {"type": "str", "choices": ["signature", "unsigned"], "default": "signature"},
            "grant": {"type": "list", "elements": "str"},
            "accept_root_equivalent": {"type": "bool", "default": False},
            "scope_digest": {"type": "str"},
            "allow_downgrade": {"type": "bool", "default": False},
            "priority": {"type": "int"},
            "config": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    run(module, configure)


if __name__ == "__main__":
    main()
