# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to do instead of an option that ``podman_container`` or ``docker_container`` has and ``nexcage_container`` has not.

The page docs/coming-from-podman-and-docker.md says the same; a test holds both against docs/data/peers.yml.
"""

from __future__ import annotations

import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

PAGE = "docs/coming-from-podman-and-docker.md"
TABLE: tuple[tuple[str, str], ...] = (
    # what has another name here
    ("rootfs", "bundle"),
    ("secrets", "secret_env"),
    ("mount", "mounts"),
    ("force_delete", "force_kill"),
    ("healthy_wait_timeout", "wait"),
    # what there is not
    (
        "ports publish published published_ports publish_all publish_all_ports expose exposed exposed_ports default_host_ip",
        "network_mode: host; there are no networks of its own",
    ),
    (
        "networks network_aliases networks_cli_compatible purge_networks links ip ip6 mac_address domainname",
        "network_mode: host; there are no networks of its own",
    ),
    ("net", "network_mode"),
    (
        "dns dns_servers dns_option dns_opts dns_search dns_search_domains",
        "the host's with network_mode: host; else a file of your own on /etc/resolv.conf, by volumes",
    ),
    ("etc_hosts add_hosts no_hosts", "a file of your own on /etc/hosts, by volumes"),
    (
        "restart_policy restart_retries generate_systemd quadlet_dir quadlet_file_mode quadlet_filename quadlet_options",
        "nothing restarts a container by itself; run the playbook, or a unit of your own",
    ),
    ("restart force_restart", "state: restarted"),
    ("paused", "state: paused"),
    (
        "healthcheck healthcheck_interval healthcheck_retries healthcheck_start_period healthcheck_timeout healthcheck_failure_action",
        "wait: port:N, or a task with nexcage_container_exec and until",
    ),
    ("device devices device_requests device_cgroup_rule device_cgroup_rules gpus sysctl sysctls shm_size", "a bundle whose config.json says it"),
    ("device_read_bps device_read_iops device_write_bps device_write_iops blkio_weight blkio_weight_device", "a bundle whose config.json says it"),
    (
        "memory_reservation memory_swappiness kernel_memory oom_kill_disable oom_killer oom_score_adj cpu_rt_period cpu_rt_runtime umask",
        "a bundle whose config.json says it",
    ),
    ("cpu_period cpu_quota", "cpus"),
    ("delete_time", "stop_timeout"),
    (
        "detach",
        "leave true out; in place of false, wait: exited gives container.exit_code. Podman's task fails on another code than 0; here failed_when: "
        "job.container.exit_code != 0 says so",
    ),
    ("log_driver log_options log_opt output_logs", "one file for each container, at container.backend_details.log, started anew at 64 MiB"),
    ("auto_remove rm remove rmi cleanup", "a second task with state: absent; its container keeps the exit code and the log until then"),
    ("tty interactive attach detach_keys sig_proxy", "there is no terminal and no standard input; nexcage_container_exec has stdin"),
    (
        "pid pid_mode ipc ipc_mode userns userns_mode uidmap gidmap subuidname subgidname uts cgroupns cgroupns_mode",
        "each container has its own PID, IPC, UTS and mount namespaces, and there are no user namespaces; a bundle whose config.json says otherwise",
    ),
    ("security_opt", "seccomp_profile and no_new_privileges; no profile of AppArmor and no label of SELinux is set"),
    ("security_opts", "seccomp_profile and no_new_privileges; no profile of AppArmor and no label of SELinux is set"),
    ("seccomp_policy", "seccomp_profile"),
    (
        "volumes_from volume_driver storage_opts image_volume keep_volumes delete_volumes",
        "name the folders of the host in volumes; there are no volumes of its own",
    ),
    ("read_only_tmpfs", "tmpfs names what shall be writable"),
    ("env_host env_merge http_proxy unsetenv unsetenv_all", "env says what is added to the image's own environment, and nothing else is"),
    ("label_file", "labels"),
    ("authfile tls_verify platform arch", "skopeo login on the host, and validate_certs; an image is for the host's own platform"),
    (
        "runtime executable docker_host api_version init_path cgroup_parent cgroups",
        "backend names who runs it, and there is nothing else of that to choose in a task",
    ),
    ("pod requires init_ctr", "there are no pods: one task for each container, in their order"),
    ("cidfile conmon_pidfile pid_file", "container.id, container.pid and container.backend_details of the result"),
    ("cmd_args", "there is none: whatever reaches the runtime is checked"),
    (
        "comparisons image_comparison image_strict image_name_mismatch image_label_mismatch ignore_image command_handling container_default_behavior",
        "an option that is not given is not compared, an empty one must be empty; there is nothing to tune",
    ),
    ("pull_check_mode_behavior", "check mode never pulls, and fails where the image could not be had"),
)
INSTEAD = {name: text for names, text in TABLE for name in names.split()}


def refuse(arguments: t.Iterable[str]) -> None:
    """Refuse the options of a task that only the peers have.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` for the first of them, with what to do instead of each.
    """
    theirs = sorted(name for name in arguments if name in INSTEAD)
    if theirs:
        each = [INSTEAD[theirs[0]]] if len(theirs) == 1 else [f"{name}: {INSTEAD[name]}" for name in theirs]
        message = "podman_container or docker_container has it, nexcage_container has not"
        raise NexcageError("E_UNSUPPORTED", message, option=theirs[0], remedy=f"instead of it: {'; '.join(each)} ({PAGE} has all)")
