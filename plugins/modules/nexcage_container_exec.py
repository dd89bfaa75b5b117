#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command in a container."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_container_exec
short_description: Run a command in a running container
version_added: 0.1.0
description:
  - Runs one command in a running container and returns its exit code and both streams.
  - No shell is involved. A process that the command leaves behind in the background does not keep the task waiting.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.attributes
attributes:
  check_mode:
    support: partial
    details:
      - The command is skipped in check mode. O(creates) and O(removes) are looked at if the container runs.
      - A container that is not there yet is no error then, as the task that makes it was only predicted, too.
  diff_mode:
    support: none
    details:
      - What a command changes cannot be known.
  idempotent:
    support: partial
    details:
      - Only with O(creates) or O(removes).
options:
  name:
    description: The container. It must be running.
    type: str
    required: true
  argv:
    description: The program and its arguments, exactly as given.
    type: list
    elements: str
  command:
    description: The program and its arguments in one string, split as a shell would split it, but no shell runs.
    type: str
  stdin:
    description: What the command reads on its standard input. Nothing where not given.
    type: str
  stdin_add_newline:
    description: Whether to end O(stdin) with a newline.
    type: bool
    default: true
  strip_empty_ends:
    description: Whether to strip empty lines from the end of both streams.
    type: bool
    default: true
  env:
    description: Environment variables, added to those of the container.
    type: dict
    aliases: [environment]
  secret_env:
    description:
      - Environment variables whose values are shown nowhere.
      - Ansible masks these in the output of the command, but not those that the container itself got by C(secret_env) in another
        task. Set C(no_log) for a command that may write them.
    type: dict
  user:
    description: User and optional group, by name or number. The container's own where not given.
    type: str
  working_dir:
    description: The absolute folder to start in. The container's own where not given.
    type: str
    aliases: [workdir, chdir]
  creates:
    description: An absolute path in the container. If it exists, the command does not run.
    type: str
  removes:
    description: An absolute path in the container. If it does not exist, the command does not run.
    type: str
  timeout:
    description: Seconds after which the command is killed and the task fails.
    type: int
    default: 120
seealso:
  - module: nexcage.backends.nexcage_container
"""

EXAMPLES = r"""
---
- name: Ask for the version
  nexcage.backends.nexcage_container_exec:
    name: web
    argv: [/bin/busybox, uname, -a]
  register: kernel

- name: Initialise the data once
  nexcage.backends.nexcage_container_exec:
    name: web
    command: sh -c 'cat > /data.txt'
    stdin: first line
    creates: /data.txt
    user: "0"
"""

RETURN = r"""
---
rc:
  description: The command's exit code, 128 and the signal's number if a signal ended it. 0 if it was skipped.
  returned: when the command ended
  type: int
stdout:
  description: What it wrote to its standard output.
  returned: when the command ran
  type: str
stderr:
  description: What it wrote to its standard error.
  returned: when the command ran
  type: str
msg:
  description: Why the command did not run, or what went wrong.
  returned: when skipped or failed
  type: str
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
    """Spawn the worker first: it starts while the rest is imported."""
    begin(AnsibleModule)
    ahead = part("worker.launch").ahead

    process = ahead()
    execute = part("manager.execute").execute
    run = part("manager.run").run

    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str"},
            "command": {"type": "str"},
            "stdin": {"type": "str"},
            "stdin_add_newline": {"type": "bool", "default": True},
            "strip_empty_ends": {"type": "bool", "default": True},
            "env": {"type": "dict", "aliases": ["environment"]},
            "secret_env": {"type": "dict", "no_log": True},
            "user": {"type": "str"},
            "working_dir": {"type": "str", "aliases": ["workdir", "chdir"]},
            "creates": {"type": "str"},
            "removes": {"type": "str"},
            "timeout": {"type": "int", "default": 120},
        },
        mutually_exclusive=[("argv", "command")],
        required_one_of=[("argv", "command")],
        supports_check_mode=True,
    )
    run(module, execute, process)


if __name__ == "__main__":
    main()
