#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a package of a backend plugin."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_plugin_package
short_description: Make a package of a backend plugin, and sign it
version_added: 0.1.0
description:
  - Makes one file, C(<name>-<version>.nexcage-plugin), of a folder with C(plugin.json), C(plugin.py) and what belongs to them.
  - Checks the manifest with the JSON Schema of plugins and with the strict parser that every host uses, and that Python
    can compile each module. No code of the plugin runs, unless O(conformance) says so.
  - The same content always gives the same bytes, whoever packs it, where and when.
  - Packed are C(plugin.json), Python modules but tests, C(*.md), and licences. Folders, hidden files and all else stay
    where they are, and are named under RV(package.left_out).
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes
requirements:
  - jsonschema, where the module runs
  - ssh-keygen of OpenSSH 8.1 or newer, to sign
  - pytest on the controller, for O(conformance)
options:
  src:
    description:
      - The plugin's folder. That of an existing NexCage plugin works too, its C(plugin.json) as it is; the code has to be in C(plugin.py).
    type: path
    required: true
  dest:
    description:
      - Where the package shall be. A folder, or a path whose last part is C(<name>-<version>.nexcage-plugin).
      - A package of another version stays beside it.
    type: path
    required: true
  key_file:
    description:
      - A private SSH key without a passphrase, readable by its owner alone. The package is signed with it.
      - Where not given, a signature that the package has stays as long as its content is the same.
    type: path
  conformance:
    description:
      - Run the conformance suite for plugins on O(src) first, on the controller; what does not pass is not packaged.
        This runs the plugin's code, in the locked worker that hosts run it in, also in check mode.
    type: bool
    default: false
notes:
  - Made for the controller, with C(delegate_to=localhost).
seealso:
  - module: nexcage.backends.nexcage_plugin
"""

EXAMPLES = r"""
---
- name: Package a plugin and sign it
  nexcage.backends.nexcage_plugin_package:
    src: "{{ playbook_dir }}/lxc-backend"
    dest: "{{ playbook_dir }}/files/"
    key_file: ~/.ssh/nexcage-plugins
    conformance: true
  delegate_to: localhost
  run_once: true
  register: made

- name: Show what a pin of this package looks like
  ansible.builtin.debug:
    msg: "digest: {{ made.package.digest }}"
"""

RETURN = r"""
---
package:
  description: The package.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is, or in check mode would be.
      type: str
      sample: /srv/plugins/lxc-backend-1.0.0.nexcage-plugin
    name:
      description: The plugin's name.
      type: str
      sample: lxc-backend
    version:
      description: The plugin's version.
      type: str
      sample: 1.0.0
    digest:
      description: What pins, grants and records know this package by, the SHA-256 of its C(SHA256SUMS). A signature does not change it.
      type: str
      sample: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    files:
      description: Names of the files in it, but for C(SHA256SUMS) and its signature.
      type: list
      elements: str
    left_out:
      description: Names in O(src) that are not in it.
      type: list
      elements: str
    signed_by:
      description: Fingerprint of the key that signed it, V(null) where it is not signed.
      type: str
      sample: SHA256:vWXnYx8uFzPVTHbzi8H6VtT0E0Vdj1a9JBuN4zvGkMg
conformance:
  description: What the conformance suite said.
  returned: success, with O(conformance)
  type: dict
  contains:
    passed:
      description: Tests that passed.
      type: int
      sample: 31
    warnings:
      description: Warnings, such as calls that are declared and never used.
      type: int
      sample: 0
notes:
  description: What the author should know and is no error, such as capabilities that open nothing.
  returned: success
  type: list
  elements: str
error:
  description:
    - What went wrong, as RV(nexcage.backends.nexcage_container#module:error).
    - With the code C(E_MANIFEST), C(details.violations) lists all that is wrong by the JSON Schema.
  returned: failure
  type: dict
"""

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.nexcage.backends.plugins.module_utils.worker.delivered import begin, part


def main() -> None:
    """Run the module."""
    begin(AnsibleModule)
    make = part("manager.packaging").make
    nexcage_error = part("model.errors").NexcageError

    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "key_file": {"type": "path", "no_log": False},
            "conformance": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**make(module.params, module.check_mode))
    except (nexcage_error, OSError) as problem:
        error = problem if isinstance(problem, nexcage_error) else part("broker.store").failure(problem, "the system refused what this task needs")
        module.fail_json(msg=str(error), error=error.as_dict())
    except ImportError:
        library = part("manager.schema_check").LIBRARY
        error = nexcage_error("E_BINARY", missing_required_lib(library), value=library, remedy=f"install {library} for the Python that runs the module")
        module.fail_json(msg=error.message, error=error.as_dict(), exception=traceback.format_exc())


if __name__ == "__main__":
    main()
