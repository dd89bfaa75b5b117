# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Every key of NexCage's configuration files as data: type, default, range, and what it does here.

The keys are those that NexCage 0.7.5 and its plugin system read or show in examples; all stay valid. A key either has an
effect, or says why it has none. Needed by whoever shows, checks or migrates a configuration; a container task needs it not.
"""

from __future__ import annotations

import typing as t

from .routing import MODES, STANDARD


class Key(t.NamedTuple):
    """One key of the configuration.

    Args:
        path: With dots; ``*`` stands for one name, ``**`` for all that lies below.
        kind: One of ``KINDS`` of :mod:`configuration`.
        default: What holds where it is not given; ``None`` for nothing.
        minimum: Smallest number, fewest characters.
        maximum: Largest number.
        choices: The only values, where there are only some.
        effect: What it does; empty where it does nothing.
        reason: Why it does nothing.
        sensitive: Whether the value is a secret.
    """

    path: str
    kind: str
    default: t.Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    effect: str = ""
    reason: str = ""
    sensitive: bool = False


def _all(prefix: str, reason: str, kinds: t.Mapping[str, tuple[t.Any, ...]]) -> tuple[Key, ...]:
    """Keys of one section that do nothing, for one reason: name to kind, default, minimum, maximum."""
    return tuple(Key(f"{prefix}.{name}", *facts)._replace(reason=reason) for name, facts in kinds.items())


LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")

_FOLDERS = "the folders of a host are fixed: /etc, /var/lib, /run and /var/cache/nexcage"
_LOG = "results and the audit log /var/log/nexcage/audit.jsonl take the place of a log file"
_TASK = "a task says it for its container, by its option {}"
_BRIDGE = "NexCage never passed it on; a container's task says its network"
_PROXMOX = "NexCage never read it; the Proxmox backends have it under plugins.<backend>.config"
_NEVER = "NexCage never read it"
_SECTION = "only a branch of NexCage that was never released knew it; write plugins.{}-backend.{{enabled, priority, config}}"
_SAFE = "only a branch of NexCage that was never released knew it; containers have safe defaults, and their tasks say what differs"

MANAGER: tuple[Key, ...] = (
    Key("plugin_manager.plugin_dir", "path", "/etc/nexcage/plugins", effect="the folder of the packages of plugins"),
    Key("plugin_manager.cache_dir", "path", "/var/cache/nexcage/plugins", reason="what can be found out again lies with the rest of it, in /var/cache/nexcage"),
    Key("plugin_manager.max_plugins", "integer", 1000, 1, 1000, effect="how many plugins may be installed; it was 100"),
    Key(
        "plugin_manager.enable_hot_reload",
        "boolean",
        True,
        reason="nothing keeps running: an operation ends with the plugin it began with, the next uses the new one",
    ),
    Key(
        "plugin_manager.require_signatures",
        "boolean",
        True,
        effect="a package without a valid signature is refused; where the file says true, even if a task says trust: unsigned",
    ),
    Key("plugin_manager.sandbox_enabled", "boolean", True, reason="a plugin always runs in its sandbox"),
    Key("plugin_manager.memory_limit_mb", "integer", 512, 1, 4096, effect="MiB that all workers of one run may use together"),
    Key("plugin_manager.cpu_limit_percent", "integer", 10, 1, 100, effect="share of a processor that all workers of one run may use together"),
    Key(
        "plugin_manager.plugin_timeout_seconds",
        "integer",
        30,
        1,
        300,
        reason="each plugin's manifest says it for its operations, and each task has its timeout",
    ),
    Key("plugin_manager.max_plugin_size_mb", "integer", 100, 1, 1024, effect="MiB that a package may have; 5 at most, whatever this says"),
    Key("plugin_manager.enable_plugin_metrics", "boolean", True, effect="whether figures of plugins are kept"),
    Key("plugin_manager.auto_load_plugins", "boolean", True, reason="a plugin is started when a task needs it, and not before"),
)

ROUTING: tuple[Key, ...] = (
    Key("routing_compat", "string", STANDARD, choices=MODES, effect="how the patterns of routing are read"),
    Key("runtime.routing", "rules", [], effect="which backend a name leads to; container_config.routing replaces it"),
    Key("container_config.routing", "rules", [], effect="which backend a name leads to"),
    Key(
        "container_config.default_runtime",
        "string",
        "lxc",
        minimum=1,
        effect="the runtime of a name that no rule fits; where it is not given, only routing_compat: nexcage has a default",
    ),
    Key("container_config.crun_name_patterns", "strings", [], effect="globs of names that lead to crun, after all rules"),
)

GENERAL: tuple[Key, ...] = (
    Key("runtime_type", "string", "lxc", reason="NexCage never used it; see container_config.default_runtime"),
    Key("default_runtime", "string", "proxmox-lxc", reason="NexCage never used it; see container_config.default_runtime"),
    Key("log_level", "string", "info", choices=LEVELS, reason=_LOG),
    Key("log_file", "string", reason=_LOG),
    Key("data_dir", "path", "/var/lib/nexcage", reason=_FOLDERS),
    Key("cache_dir", "path", "/var/cache/nexcage", reason=_FOLDERS),
    Key("temp_dir", "path", "/tmp/nexcage", reason=_FOLDERS),
    Key("runtime.log_level", "string", choices=LEVELS, reason=_LOG),
    Key("runtime.log_path", "string", reason=_LOG),
    Key("runtime.root_path", "path", reason=_FOLDERS),
    *_all("runtime", _NEVER, dict.fromkeys(("terminal", "root", "log_format", "systemd_cgroup", "primary", "fallback"), ("any",))),
    Key("container_config.default_container_type", "string", "lxc", reason="NexCage never came to it; see container_config.default_runtime"),
    Key("network.bridge", "string", "lxcbr0", reason=_BRIDGE),
    Key("network.ip", "string", reason=_BRIDGE),
    Key("network.gateway", "string", reason=_BRIDGE),
    Key("network.dns_servers", "strings", reason="the host's servers with network_mode: host; else a task brings a file of its own, by its option volumes"),
    Key("network.vlan", "any", reason=_NEVER),
    Key("security.seccomp", "boolean", reason=_TASK.format("seccomp_profile")),
    Key("security.apparmor", "boolean", reason="no profile of AppArmor is set; a task chooses that of seccomp, by its option seccomp_profile"),
    Key("security.read_only", "boolean", reason=_TASK.format("read_only")),
    Key("resources.memory", "integer", None, 0, reason=_TASK.format("memory")),
    Key("resources.cpu", "number", None, 0, reason=_TASK.format("cpus")),
    Key("resources.disk", "integer", None, 0, reason="NexCage never used it"),
    Key("resources.network_bandwidth", "integer", None, 0, reason="NexCage never used it"),
    *_all("proxmox", _PROXMOX, {"hosts": ("strings",), "port": ("integer", None, 1, 65535), "node": ("string",), "verify_ssl": ("boolean",)}),
    Key("proxmox.token", "string", reason=_PROXMOX, sensitive=True),
    *_all("proxmox", _NEVER, {"pct_path": ("any",), "timeout": ("any",), "legacy_api": ("any",), "**": ("any",)}),
    *(Key(f"{section}.**", "any", reason=_NEVER) for section in ("storage", "zfs", "networking", "images")),
)

_CLI = "NexCage's own commands for it showed made-up figures"

PLUGINS: tuple[Key, ...] = (
    Key("plugins.*.enabled", "boolean", True, effect="whether a backend may be used"),
    Key("plugins.*.priority", "integer", None, 0, 10000, effect="the usable backend with the lowest number is preferred"),
    Key("plugins.*.config.bundle_path", "path", reason="bundles lie in the state folder, one for each container"),
    Key("plugins.*.config.*", "any", effect="the plugin's own setting, as its manifest declares it"),
    Key("plugins.*.hooks.*", "string", choices=("skip", "retry", "abort"), effect="a hook's strategy; abort lets `container.pre_*` refuse, see hooks.md"),
    *(Key(f"plugins.cli.{name}.enabled", "boolean", True, reason=_CLI) for name in ("stats", "logs", "network")),
    Key("hooks.*.enabled", "boolean", True, reason="a hook is switched off with its plugin"),
    Key("hooks.*.timeout_ms", "integer", 5000, 1, 60000, reason="each plugin's manifest says it for its hooks"),
    Key("security.allowed_capabilities", "strings", reason="each plugin is granted what the operator lists for it; /etc/nexcage/policy.json limits all"),
    Key("security.denied_capabilities", "strings", reason="/etc/nexcage/policy.json denies"),
)

_SERVER: dict[str, tuple[t.Any, ...]] = {"proxmox_port": ("integer", 8006, 1, 65535), "proxmox_node": ("string", "pve"), "verify_ssl": ("boolean", False)}
_SECTIONS: dict[str, dict[str, tuple[t.Any, ...]]] = {
    "crun": {
        "enabled": ("boolean", True),
        "priority": ("integer", 10, 1),
        "binary_path": ("path", "/usr/bin/crun"),
        "log_level": ("string", "warn", None, None, ("debug", "info", "warn", "error")),
        "systemd_cgroup": ("boolean", False),
    },
    "runc": {
        "enabled": ("boolean", True),
        "priority": ("integer", 20, 1),
        "binary_path": ("path", "/usr/bin/runc"),
        "debug": ("boolean", False),
        "systemd_cgroup": ("boolean", False),
    },
    "proxmox-lxc": {
        "enabled": ("boolean", False),
        "priority": ("integer", 30, 1),
        "proxmox_host": ("string", None, 3),
        **_SERVER,
        "timeout": ("integer", 30, 5),
    },
    "proxmox-vm": {
        "enabled": ("boolean", False),
        "priority": ("integer", 40, 1),
        "proxmox_host": ("string", None, 3),
        **_SERVER,
        "vm_cores": ("integer", 2, 1),
        "vm_memory": ("integer", 2048, 512),
        "vm_disk": ("integer", 20, 1),
    },
}
_CONTAINER: dict[str, tuple[t.Any, ...]] = {
    **{f"default_{name}": ("boolean", True) for name in ("seccomp", "apparmor", "no_new_privileges", "user_namespace")},
    **{f"default_{name}": ("boolean", False) for name in ("selinux", "readonly_rootfs")},
    "allowed_capabilities": ("strings", ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID"]),
    "forbidden_capabilities": ("strings", ["CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_MODULE"]),
}
_NETWORK: dict[str, tuple[t.Any, ...]] = {
    "enable_network_policies": ("boolean", True),
    "default_network_isolation": ("boolean", True),
    "allow_host_network": ("boolean", False),
    "allow_privileged_ports": ("boolean", False),
    "max_port_range": ("integer", 65535, 0, 65535),
    "blocked_networks": ("strings", ["169.254.0.0/16", "127.0.0.0/8"]),
    "enable_dns_filtering": ("boolean", False),
}
_RESOURCES: dict[str, tuple[t.Any, ...]] = {
    **{f"enforce_{name}_limits": ("boolean", True) for name in ("memory", "cpu", "pid")},
    "default_memory_limit_mb": ("integer", 512, 0),
    "max_memory_limit_mb": ("integer", 4096, 0),
    "default_cpu_limit": ("number", 1.0, 0),
    "max_cpu_limit": ("number", 4.0, 0),
    "default_pid_limit": ("integer", 1024, 0),
    "max_file_descriptors": ("integer", 1024, 0),
    "max_container_lifetime_hours": ("integer", 0, 0),
}

UNRELEASED: tuple[Key, ...] = (
    *(key for name, kinds in _SECTIONS.items() for key in _all(f"plugins.backend-config.{name}", _SECTION.format(name), kinds)),
    *(
        Key(f"plugins.backend-config.{name}.proxmox_token", "string", None, 10, reason=_SECTION.format(name), sensitive=True)
        for name in ("proxmox-lxc", "proxmox-vm")
    ),
    *_all("plugins.security-config.container_security", _SAFE, _CONTAINER),
    *_all("plugins.security-config.network_security", _SAFE, _NETWORK),
    *_all("plugins.security-config.resource_security", _SAFE, _RESOURCES),
)

# heading of the documentation -> its keys
GROUPS: dict[str, tuple[Key, ...]] = {
    "Routing": ROUTING,
    "Plugins": PLUGINS,
    "The manager of plugins": MANAGER,
    "NexCage itself": GENERAL,
    "Sections of an unreleased branch": UNRELEASED,
}
KEYS: tuple[Key, ...] = tuple(key for keys in GROUPS.values() for key in keys)
