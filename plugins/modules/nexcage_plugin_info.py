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
  - Each enabled plugin is asked for its health, which needs its programs but no privilege. O(health=false) asks none.
  - >-
    Whoever is not root has plugins and settings of his own, in his home. A task without C(become=true) shows these, and warns that they are
    not those of the host.
  - >-
    The health of an installed plugin also covers what its manifest asks of the host, and how its operations ended of late.
    One that failed in the last hour makes it V(degraded).
  - >-
    An installed plugin with five operations within ten minutes that crash, hang, break the protocol or go over a limit is put in
    quarantine and refused. After 15 minutes one operation is let through, and ends the quarantine if it succeeds. Asking for the
    health is such an operation. O(nexcage.backends.nexcage_plugin#module:state=enabled) ends the quarantine at once.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes.info
attributes:
  check_mode:
    description: Can run in check mode. It never changes anything but the file that O(metrics_file) names, and not even that in check mode.
    support: full
options:
  name:
    description: Only these plugins, such as V(crun-backend). The short form V(crun) works too.
    type: list
    elements: str
  health:
    description:
      - Ask each enabled plugin for its health, one after the other. That starts a worker for each, which takes 20 to 40 milliseconds.
      - >-
        With V(false) nothing is started, so that hundreds of plugins are listed in a second. Their health then says what is known
        without asking, such as operations that failed of late, and is V(unknown) otherwise.
    type: bool
    default: true
  verify:
    description:
      - >-
        Look at everything again that lies on disk of installed plugins. That is the package and its digest, its trust by today's trust
        files, the grant against what the plugin asks for, the record, the package to roll back to, and who can write to any of it.
      - What is found stands in RV(plugins[].verification), and does not fail the task.
    type: bool
    default: false
  metrics_file:
    description:
      - >-
        Write the figures of all plugins listed to this file, in the text format of Prometheus, for the textfile collector of its node
        exporter. An absolute path that ends in C(.prom), in a folder that exists.
      - It is replaced as a whole each time, and the task counts as unchanged. Nothing is written in check mode.
      - Names of containers are never in it.
    type: path
seealso:
  - module: nexcage.backends.nexcage_plugin
"""

EXAMPLES = r"""
---
- name: See which backends this host has
  nexcage.backends.nexcage_plugin_info:
  register: backends

- name: See what is installed, on a host with hundreds of plugins
  nexcage.backends.nexcage_plugin_info:
    health: false

- name: Refuse to go on without a healthy crun
  ansible.builtin.assert:
    that: (backends.plugins | selectattr('backend', 'eq', 'crun') | first).health.status == 'healthy'

- name: See whether anything was changed behind our back
  nexcage.backends.nexcage_plugin_info:
    verify: true
  register: verified
  failed_when: verified.plugins | rejectattr('verification.ok') | length > 0

- name: Write figures for Prometheus
  nexcage.backends.nexcage_plugin_info:
    metrics_file: /var/lib/prometheus/node-exporter/nexcage.prom
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
    quarantined:
      description: Why an installed plugin may not be used for now, and since when. Empty where it may.
      type: str
    statistics:
      description: >-
        How the operations of an installed plugin went since it first came to this host. Those that only read and succeed are not counted.
        Nothing of a built-in plugin.
      type: dict
      contains:
        executions:
          description: How many operations were counted.
          type: int
        failures:
          description: How many of them failed, for whatever reason.
          type: int
        faults:
          description: How many crashed, hung, broke the protocol or went over a limit.
          type: int
        denied_calls:
          description: How many calls of the plugin the broker refused.
          type: int
        hooks:
          description: >-
            How its hooks went, by event. Each has C(executions), C(failures), C(faults), C(timeouts), C(vetoes) and C(avg_ms). They are not in
            the counts above.
          type: dict
          sample: {container.pre_create: {executions: 3, failures: 0, faults: 0, timeouts: 0, vetoes: 1, avg_ms: 28.4}}
        last_success:
          description: When an operation or a hook that is counted last succeeded.
          type: str
          sample: "2026-11-23T00:30:00Z"
        last:
          description: >-
            The last one with C(time), C(operation), C(outcome), C(code) and C(milliseconds). The outcome is V(ok), V(error) where host or
            task are to blame, V(defect) where the plugin is, and V(fault) where its worker was lost.
          type: dict
    verification:
      description: >-
        Whether everything on disk is as it should be (C(ok)), what was looked at (C(checks)), and what is wrong (C(problems), each with
        C(check), C(code), C(message) and C(remedy)). A built-in plugin comes with the collection, and has nothing to look at.
      returned: with O(verify=true)
      type: dict
    sandbox:
      description: Tier and layers of the worker that was asked. Empty if the plugin is disabled, or none was asked.
      type: dict
    manifest:
      description: What the plugin declares, as in C(plugin.json).
      type: dict
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
  description: What went wrong, as RV(nexcage.backends.nexcage_container#module:error).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nexcage.backends.plugins.module_utils.worker.delivered import begin, part


def main() -> None:
    """Run the module."""
    begin(AnsibleModule)
    plugins = part("manager.information").plugins
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "name": {"type": "list", "elements": "str"},
            "health": {"type": "bool", "default": True},
            "verify": {"type": "bool", "default": False},
            "metrics_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, plugins, reading=True)


if __name__ == "__main__":
    main()
