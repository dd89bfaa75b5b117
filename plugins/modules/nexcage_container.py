#!/usr/bin/python
# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manage one container."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: nexcage_container
short_description: Manage a container on crun or runc
version_added: 0.1.0
description:
  - Creates, changes, starts, stops, pauses and removes one container, on any backend, with one vocabulary.
  - The runtimes crun and runc are driven directly, without a daemon.
  - What the task says is compared with what is there. The resulting plan is what check mode predicts, diff mode shows
    and a normal run does.
author:
  - NexCage contributors (@cageforge)
extends_documentation_fragment:
  - nexcage.backends.container
  - nexcage.backends.attributes
attributes:
  check_mode:
    support: full
    details:
      - Fails where the run would fail with what is on the host now, such as a missing image or mount source. What an
        earlier task of the play would bring is missing then, too. Register that task and give this one
        C(when) with C(not ansible_check_mode or that_task is not changed).
  idempotent:
    support: partial
    details:
      - Not with O(state=restarted) and O(recreate=true), which change something in every run.
      - Not with O(state=started) and a container whose process ends by itself, such as a job with O(wait=exited). It is
        run again in every run.
requirements:
  - On the managed host crun or runc, conmon, skopeo and umoci. The role P(nexcage.backends.runtime#role) installs them.
seealso:
  - module: nexcage.backends.nexcage_container_info
  - module: nexcage.backends.nexcage_container_exec
"""

EXAMPLES = r"""
---
- name: Run a container from a local OCI layout
  nexcage.backends.nexcage_container:
    name: web
    image: oci:/srv/images/web:latest
    command: httpd -f -p 8080
    network_mode: host
    memory: 64m
    cpus: "0.5"
    env:
      GREETING: hello
    volumes:
      - /srv/www:/www:ro
    wait: port:8080

- name: Change a limit of the running container, without making it again
  nexcage.backends.nexcage_container:
    name: web
    memory: 128m

- name: Stop it
  nexcage.backends.nexcage_container:
    name: web
    state: stopped

- name: Remove it
  nexcage.backends.nexcage_container:
    name: web
    state: absent

- name: Run a job on runc to its end, and fail where it fails; its code 4 means that there was nothing to do
  nexcage.backends.nexcage_container:
    name: job
    backend: runc
    image: docker://registry.example.com/tools/job:1.2
    command: [/bin/job, --once]
    secret_env:
      TOKEN: "{{ vault_token }}"
    read_only: true
    tmpfs:
      - /tmp:size=16m
    wait: exited
    timeout: 300
  register: job
  failed_when: job is failed or job.container.exit_code | default(0, true) not in [0, 4]
"""

RETURN = r"""
---
container:
  description: The container after the task, in the same form on every backend. In check mode the container as it is now.
  returned: success, and where O(wait) or a pause failed
  type: dict
  contains:
    id:
      description: The backend's own identifier.
      type: str
    name:
      description: The container's name.
      type: str
    backend:
      description: Who runs it.
      type: str
      sample: crun
    status:
      description: V(created), V(running), V(paused), V(stopped), V(incomplete) or V(absent). If absent, only the name stands beside it.
      type: str
      sample: running
    pid:
      description: Process number of the first process, also of one that is V(created) and waits for its start. C(null) if there is none.
      type: int
    image:
      description: The image reference as it was given.
      type: str
    image_digest:
      description: The digest of the image's manifest.
      type: str
    created:
      description: When it was created, ISO 8601 in UTC.
      type: str
    started:
      description: When it was last started.
      type: str
    finished:
      description: When it last ended.
      type: str
    exit_code:
      description:
        - How it last ended, 128 and the signal's number if a signal ended it. C(null) if not known.
        - In check mode C(null) too if the container would be started or made again.
      type: int
    labels:
      description: Its labels.
      type: dict
    networks:
      description: Its networks.
      type: list
      elements: dict
    ports:
      description: Its published ports.
      type: list
      elements: dict
    resources:
      description:
        - Its limits, read back from the host while it runs.
        - C(memory) and C(memory_swap) are in bytes. C(cpus) is the CFS quota in microseconds per 100 milliseconds, so that
          V(50000) is half a CPU.
      type: dict
    backend_details:
      description: Where the backend keeps its log, bundle and control group.
      type: dict
    spec:
      description: What is recorded as wanted, as canonical values in the units of RV(container.resources). Secrets are masked.
      type: dict
msg:
  description: How the container ended and where its log is.
  returned: failure, and with O(wait=exited) where it ended with another code than 0
  type: str
  sample: "job ended with exit code 3; its log is /var/lib/nexcage/containers/job/0123456789abcdef/container.log"
plan:
  description: What was done, or in check mode would be done, in order. Empty if nothing was.
  returned: success, and failure of a step or of O(wait), but not where the task was refused before
  type: list
  elements: dict
  contains:
    action:
      description: One of V(pull), V(create), V(replace), V(update), V(start), V(stop), V(pause), V(resume) and V(delete).
      type: str
    reason:
      description: Why.
      type: str
      sample: "resources.memory: 64 MiB -> 128 MiB"
    changes:
      description: The options that differ, each with C(option), C(before), C(after) and C(live).
      type: list
      elements: dict
hooks:
  description: What became of each hook that an event of this run was told to, one entry for each plugin and event.
  returned: if a plugin listens, also on failure
  type: list
  elements: dict
  contains:
    plugin:
      description: Who listens.
      type: str
    event:
      description: The event.
      type: str
      sample: container.pre_create
    executions:
      description: How often it was told.
      type: int
    failures:
      description: How often it failed, timeouts included.
      type: int
    timeouts:
      description: How often it ran out of time.
      type: int
    vetoes:
      description: How often it stopped the task.
      type: int
    total_ms:
      description: Milliseconds in all.
      type: float
    avg_ms:
      description: Milliseconds on average.
      type: float
    min_ms:
      description: Milliseconds of the shortest.
      type: float
    max_ms:
      description: Milliseconds of the longest.
      type: float
sandbox:
  description: How the backend's code was locked in.
  returned: success
  type: dict
  contains:
    tier:
      description: V(strong), V(standard) or V(process).
      type: str
    layers:
      description: What the lock-down consists of.
      type: list
      elements: str
plugin_log:
  description: >-
    What installed plugins said by C(host.log), at most 50 different messages of each, cut at 512 characters. Those with the level
    V(warning) or V(error) are warnings of the task too, at most 10 of each plugin.
  returned: if a plugin with the capability C(logging) said anything, also on failure
  type: list
  elements: dict
  contains:
    plugin:
      description: Who said it.
      type: str
    operation:
      description: What it was doing, an operation or an event.
      type: str
      sample: create
    level:
      description: One of V(debug), V(info), V(warning) and V(error).
      type: str
    message:
      description: What it said, on one line and without the secrets of plugin and task.
      type: str
    times:
      description: How often it said that.
      type: int
error:
  description: What went wrong.
  returned: failure
  type: dict
  contains:
    code:
      description: A stable code.
      type: str
      sample: E_INVALID
    message:
      description: What is wrong.
      type: str
    option:
      description: The option at fault.
      type: str
    value:
      description: Its value.
      type: raw
    remedy:
      description: What to do.
      type: str
    details:
      description: More facts.
      type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nexcage.backends.plugins.module_utils.worker.delivered import begin, part


def main() -> None:
    """Spawn the worker first: it starts while the rest is imported."""
    begin(AnsibleModule)
    ahead = part("worker.launch").ahead

    process = ahead()
    converge = part("manager.converge").converge
    run = part("manager.run").run
    argument_spec = part("model.options").argument_spec

    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    run(module, converge, process)


if __name__ == "__main__":
    main()
