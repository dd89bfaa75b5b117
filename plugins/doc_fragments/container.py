# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a container; kept here so that they do not travel to the managed host."""

from __future__ import annotations


class ModuleDocFragment:
    """One entry for each row of the option table."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - The container's name, unique on a host over all OCI backends.
      - 1 to 128 letters, digits, C(_), C(.) and C(-), the first one a letter or digit.
    type: str
    required: true
  backend:
    description:
      - Who runs the container. V(crun), V(runc), or an installed plugin by its name, with or without C(-backend).
      - V(auto) finds the backend that holds the container already. For a new container it follows the routing rules of
        C(/etc/nexcage/config.json), if there are any; M(nexcage.backends.nexcage_config_info) tells where a name goes. Else it
        takes the enabled backend with the lowest priority number whose programs are there and new enough.
    type: str
    default: auto
  state:
    description:
      - V(absent) - there is no such container. A running one is stopped first, as O(force_kill) says.
      - V(present) and its alias V(created) - it exists with these options. A missing one is created but
        not started. Whether an existing one runs is left alone.
      - V(started) - it exists with these options and runs. A job, whose process has ended, is run again.
      - V(stopped) - it exists with these options and does not run. The status of one that has never run is V(created).
      - V(paused) - it exists with these options, runs, and its processes are frozen.
      - V(restarted) - like V(started), and a container that ran before is stopped and started. This
        changes something in every run.
      - The other options are compared in every state but V(absent).
    type: str
    choices: [absent, present, created, started, stopped, paused, restarted]
    default: started
  image:
    description:
      - The image to create the container from. Needed only when something is created.
      - One of C(oci:PATH[:TAG]), C(oci-archive:PATH[:TAG]), C(docker-archive:PATH[:REFERENCE]),
        C(docker://HOST[:PORT]/NAME[:TAG]), each with an optional C(@sha256:...), which is verified.
      - C(docker://) may be left out where C(HOST) has a dot or a port or is C(localhost), as in V(docker.io/library/busybox:1.36). A
        name without a host is refused, and never guessed.
      - Another reference, or the same one standing for another image, makes the container again.
    type: str
  bundle:
    description:
      - The absolute path of a folder on the host to create the container from, instead of O(image).
      - It holds a C(config.json) of the OCI runtime specification, and the root file system that this names.
      - Only root may be able to change it, and neither the folder nor its C(config.json) may be a link.
      - The folder stays as it is. The container gets a writable layer of its own.
    type: str
  pull:
    description:
      - V(missing) - fetch the image where this host does not have it.
      - V(always) - ask where the reference points now, and make the container again if the image is a new one.
      - V(never) - use only what is unpacked on this host already.
    type: str
    choices: [missing, always, never]
    default: missing
  validate_certs:
    description:
      - Whether a registry must show a valid TLS certificate. V(false) also allows plain HTTP.
      - With V(true), registries that C(registries.conf) of the host lists as insecure stay allowed.
    type: bool
    default: true
  command:
    description:
      - The arguments after the entrypoint. The image's own where not given. An empty list means none.
      - A string is split as a shell would split it, but no shell runs.
    type: raw
  entrypoint:
    description:
      - The program and its first arguments. The image's own where not given.
      - A string is split as a shell would split it, but no shell runs.
    type: raw
  env:
    description:
      - Environment variables, added to those of the image.
      - O(env) and O(env_file) together describe the environment. They replace what the container had from them before,
        and are not merged with it.
      - A boolean is an error, because nobody knows whether it means V(true), V(True) or V(yes). Put it in quotes.
    type: dict
    aliases: [environment]
  env_file:
    description:
      - Files of the managed host with one C(NAME=value) a line. Lines that begin with C(#) are comments.
      - A later file wins over an earlier one, and O(env) wins over both.
      - A task that gives only one of O(env) and O(env_file) takes away what the other had brought.
    type: list
    elements: path
  secret_env:
    description:
      - Environment variables whose values appear in no diff, result, log, process list or world-readable file by nexcage. What a
        program writes is another matter. Its output is in the log of the container, and that of a command, such as C(env), in
        the result of M(nexcage.backends.nexcage_container_exec), where Ansible masks only the secrets of that task. Set
        C(no_log) for such a task.
      - A changed value is noticed by a keyed hash.
      - Ansible masks every occurrence of a secret in a result, so a very short one censors other text as well. Secrets
        should have 8 characters or more.
    type: dict
  working_dir:
    description: The absolute folder in which the process starts.
    type: str
    aliases: [workdir]
  user:
    description: User and optional group of the process, by name or number, such as V(1000:1000) or V(www-data).
    type: str
  groups:
    description: Further groups of the process, by name or number.
    type: list
    elements: str
    aliases: [group_add]
  hostname:
    description: The container's own host name. Its name where not given and where that can be a host name.
    type: str
  mounts:
    description:
      - What is mounted into the container.
      - O(mounts), O(volumes) and O(tmpfs) together describe all mounts. Giving one of them manages all.
    type: list
    elements: dict
    suboptions:
      type:
        description: V(bind) shows a folder or file of the host, V(tmpfs) is memory.
        type: str
        choices: [bind, tmpfs]
        default: bind
      source:
        description: The absolute path on the host. It must exist. Only for V(bind).
        type: str
      target:
        description: The absolute path in the container.
        type: str
        required: true
        aliases: [destination]
      read_only:
        description: Whether the container may only read it.
        type: bool
        default: false
      options:
        description: Options of C(mount), such as V(noexec) or, for a tmpfs, V(size=64m).
        type: list
        elements: str
  volumes:
    description: Bind mounts in the short form C(/source:/target[:options]).
    type: list
    elements: str
    aliases: [volume]
  tmpfs:
    description: Mounts of type tmpfs in the short form C(/target[:options]).
    type: list
    elements: str
  memory:
    description:
      - The most memory the container may use, such as V(64m) or V(1.5g), in powers of 1024. V(-1) is unlimited.
      - More than the host has is accepted, as with podman and docker, and limits nothing.
      - Changes live.
    type: str
  memory_swap:
    description:
      - The most memory and swap together. Needs O(memory), in the task or as what the container has. V(-1) is unlimited.
      - Without it the total is twice O(memory), where the kernel accounts swap.
      - Changes live.
    type: str
  cpus:
    description:
      - The most CPU time, in CPUs, such as V(1.5). V(0) and V(-1) are unlimited. More than the host has is an error.
      - Changes live.
    type: str
  cpu_shares:
    description:
      - The weight against other containers when CPU time is short. 1024 is what a container has without it.
      - Changes live.
    type: int
  cpuset_cpus:
    description:
      - The CPUs it may run on, such as V(0-1,3).
      - Changes live.
    type: str
  cpuset_mems:
    description:
      - The memory nodes it may use, such as V(0).
      - Changes live.
    type: str
  pids_limit:
    description:
      - The most processes and threads. V(0) and V(-1) are unlimited. 2048 where not given.
      - Changes live.
    type: int
  ulimits:
    description:
      - Resource limits of the process in the form C(NAME=SOFT[:HARD]), such as V(nofile=1024:2048).
      - A limit that is not named is that of a fresh system, or of the bundle, and not that of whoever runs the task.
    type: list
    elements: str
    aliases: [ulimit]
  cap_add:
    description:
      - Capabilities to add to the default set, such as V(NET_ADMIN). V(ALL) adds all that the caller has.
      - A capability that the caller itself does not have is an error.
    type: list
    elements: str
    aliases: [capabilities]
  cap_drop:
    description: Capabilities to take from the default set. V(ALL) takes all but those of O(cap_add).
    type: list
    elements: str
  privileged:
    description:
      - Gives every capability the caller has, all devices, no seccomp filter and no masked paths.
      - Whoever controls such a container is root on the host.
    type: bool
  no_new_privileges:
    description: Whether setuid programs in the container are kept from raising privileges.
    type: bool
  read_only:
    description: Whether the root file system is read-only.
    type: bool
    aliases: [read_only_rootfs]
  init:
    description:
      - Whether a small init program runs as process 1, forwards signals and reaps orphans. Needs catatonit on the host.
      - Without it the program itself is process 1, which ignores SIGTERM unless it handles it, and is then killed after
        O(stop_timeout).
    type: bool
  seccomp_profile:
    description:
      - V(default) is the distribution's profile, V(unconfined) is none, an absolute path is a profile on the host.
    type: str
  labels:
    description:
      - Names and values to find the container by. They replace those it had, and are not merged with them.
      - Change live.
    type: dict
    aliases: [label]
  annotations:
    description: OCI annotations, which the runtime and its hooks see. C(run.oci.) and C(org.nexcage.) are refused.
    type: dict
    aliases: [annotation]
  stop_signal:
    description:
      - The signal that asks the container to end, such as V(SIGTERM) or V(SIGRTMIN+3). The image's own where not given.
      - Process 1 of a container ignores a signal that it does not handle. See O(init).
      - Changes live.
    type: str
  stop_timeout:
    description:
      - Seconds between the stop signal and SIGKILL. 10 where not given.
      - Changes live.
    type: int
  network_mode:
    description: V(none) has only a loopback interface, V(host) shares the host's network. V(none) where not given.
    type: str
    choices: [none, host]
    aliases: [network]
  kill_signal:
    description: The signal to stop with in this task, instead of O(stop_signal).
    type: str
  force_kill:
    description: Whether to stop with SIGKILL at once in this task.
    type: bool
    default: false
    aliases: [forcekill]
  recreate:
    description:
      - Whether to make the container again even where nothing differs. This changes something in every run.
      - Needed once for each container of a host whose key was lost or replaced. It is then made from what the task says alone.
    type: bool
    default: false
  replace_backend:
    description:
      - Whether a container that another backend holds may be made again with O(backend).
      - Without it every state is refused where O(backend) names another one, also V(absent).
    type: bool
    default: false
  wait:
    description:
      - What to wait for once everything is done.
      - V(running) - it has run for a second.
      - V(exited) - its process has ended. RV(container.exit_code) says how, and no code is a failure of the task by
        itself. Use C(failed_when).
      - C(port:NUMBER) - something answers on that TCP port of the host. Needs O(network_mode=host).
        It need not be this container that answers, as the network is the host's. Where something answered before the
        container was started, a warning says so.
      - A condition that can no longer come true is an error at once, and one that O(state) rules out is refused
        before anything changes, such as V(exited) with O(state=stopped) where the container would be made again and
        not be started.
    type: str
  timeout:
    description:
      - Seconds for each step, for the wait condition, and for another run that holds the same container.
      - Does not cut a stop short. O(stop_timeout) comes on top, also where a container is restarted or made again.
    type: int
    default: 120
notes:
  - An option that is not given is not managed. An empty list or dictionary means that it must be empty. A text has no empty form.
  - When a container is made again, options that are not given keep the values they had.
  - The new container is created before the old one is stopped, so whatever the runtime refuses is found while the old
    one still runs. If the new program itself fails, the old container does not come back. Use O(wait) to notice.
  - Images stay on the host when no container uses them any more. There is no module yet that removes them.
  - The log, C(log) in RV(container.backend_details), has lines of time, stream, V(F) or V(P) for a whole line or a part of
    one, and text. Only root can read it. It is started anew beyond 64 MiB, and when the container is made again.
"""
