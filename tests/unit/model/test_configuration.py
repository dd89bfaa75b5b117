# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration's keys: each with its default, its type and its range; and what a file comes to."""

from __future__ import annotations

import math
import re
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import configuration, options
from ansible_collections.nexcage.backends.plugins.module_utils.model.configuration_table import GROUPS, KEYS, MANAGER, Key
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = "/etc/nexcage/config.json"
RULE = {"pattern": "*", "runtime": "crun"}
# What NexCage has: key, kind, default, smallest, largest. Written down apart from the table, to be compared with it.
FACTS = """
plugin_manager.plugin_dir path /etc/nexcage/plugins
plugin_manager.cache_dir path /var/cache/nexcage/plugins
plugin_manager.max_plugins integer 1000 1 1000
plugin_manager.enable_hot_reload boolean true
plugin_manager.require_signatures boolean true
plugin_manager.sandbox_enabled boolean true
plugin_manager.memory_limit_mb integer 512 1 4096
plugin_manager.cpu_limit_percent integer 10 1 100
plugin_manager.plugin_timeout_seconds integer 30 1 300
plugin_manager.max_plugin_size_mb integer 100 1 1024
plugin_manager.enable_plugin_metrics boolean true
plugin_manager.auto_load_plugins boolean true
runtime_type string lxc
default_runtime string proxmox-lxc
log_level string info
log_file string -
data_dir path /var/lib/nexcage
cache_dir path /var/cache/nexcage
temp_dir path /tmp/nexcage
runtime.log_level string -
runtime.log_path string -
runtime.root_path path -
runtime.routing rules []
container_config.routing rules []
container_config.default_runtime string lxc 1
container_config.crun_name_patterns strings []
container_config.default_container_type string lxc
network.bridge string lxcbr0
network.ip string -
network.gateway string -
network.dns_servers strings -
network.vlan any -
security.seccomp boolean -
security.apparmor boolean -
security.read_only boolean -
resources.memory integer - 0
resources.cpu number - 0
resources.disk integer - 0
resources.network_bandwidth integer - 0
proxmox.hosts strings -
proxmox.port integer - 1 65535
proxmox.node string -
proxmox.token string -
proxmox.verify_ssl boolean -
proxmox.pct_path any -
proxmox.timeout any -
proxmox.legacy_api any -
proxmox.** any -
storage.** any -
zfs.** any -
networking.** any -
images.** any -
runtime.terminal any -
runtime.root any -
runtime.log_format any -
runtime.systemd_cgroup any -
runtime.primary any -
runtime.fallback any -
routing_compat string standard
plugins.*.enabled boolean true
plugins.*.priority integer - 0 10000
plugins.*.hooks.* string -
plugins.*.config.bundle_path path -
plugins.*.config.* any -
plugins.cli.stats.enabled boolean true
plugins.cli.logs.enabled boolean true
plugins.cli.network.enabled boolean true
hooks.*.enabled boolean true
hooks.*.timeout_ms integer 5000 1 60000
security.allowed_capabilities strings -
security.denied_capabilities strings -
plugins.backend-config.crun.enabled boolean true
plugins.backend-config.crun.priority integer 10 1
plugins.backend-config.crun.binary_path path /usr/bin/crun
plugins.backend-config.crun.log_level string warn
plugins.backend-config.crun.systemd_cgroup boolean false
plugins.backend-config.runc.enabled boolean true
plugins.backend-config.runc.priority integer 20 1
plugins.backend-config.runc.binary_path path /usr/bin/runc
plugins.backend-config.runc.debug boolean false
plugins.backend-config.runc.systemd_cgroup boolean false
plugins.backend-config.proxmox-lxc.enabled boolean false
plugins.backend-config.proxmox-lxc.priority integer 30 1
plugins.backend-config.proxmox-lxc.proxmox_host string - 3
plugins.backend-config.proxmox-lxc.proxmox_port integer 8006 1 65535
plugins.backend-config.proxmox-lxc.proxmox_node string pve
plugins.backend-config.proxmox-lxc.proxmox_token string - 10
plugins.backend-config.proxmox-lxc.verify_ssl boolean false
plugins.backend-config.proxmox-lxc.timeout integer 30 5
plugins.backend-config.proxmox-vm.enabled boolean false
plugins.backend-config.proxmox-vm.priority integer 40 1
plugins.backend-config.proxmox-vm.proxmox_host string - 3
plugins.backend-config.proxmox-vm.proxmox_port integer 8006 1 65535
plugins.backend-config.proxmox-vm.proxmox_node string pve
plugins.backend-config.proxmox-vm.proxmox_token string - 10
plugins.backend-config.proxmox-vm.verify_ssl boolean false
plugins.backend-config.proxmox-vm.vm_cores integer 2 1
plugins.backend-config.proxmox-vm.vm_memory integer 2048 512
plugins.backend-config.proxmox-vm.vm_disk integer 20 1
plugins.security-config.container_security.default_seccomp boolean true
plugins.security-config.container_security.default_apparmor boolean true
plugins.security-config.container_security.default_no_new_privileges boolean true
plugins.security-config.container_security.default_user_namespace boolean true
plugins.security-config.container_security.default_selinux boolean false
plugins.security-config.container_security.default_readonly_rootfs boolean false
plugins.security-config.container_security.allowed_capabilities strings [CAP_CHOWN,CAP_DAC_OVERRIDE,CAP_FSETID,CAP_FOWNER,CAP_SETGID,CAP_SETUID]
plugins.security-config.container_security.forbidden_capabilities strings [CAP_SYS_ADMIN,CAP_NET_ADMIN,CAP_SYS_MODULE]
plugins.security-config.network_security.enable_network_policies boolean true
plugins.security-config.network_security.default_network_isolation boolean true
plugins.security-config.network_security.allow_host_network boolean false
plugins.security-config.network_security.allow_privileged_ports boolean false
plugins.security-config.network_security.max_port_range integer 65535 0 65535
plugins.security-config.network_security.blocked_networks strings [169.254.0.0/16,127.0.0.0/8]
plugins.security-config.network_security.enable_dns_filtering boolean false
plugins.security-config.resource_security.enforce_memory_limits boolean true
plugins.security-config.resource_security.enforce_cpu_limits boolean true
plugins.security-config.resource_security.enforce_pid_limits boolean true
plugins.security-config.resource_security.default_memory_limit_mb integer 512 0
plugins.security-config.resource_security.max_memory_limit_mb integer 4096 0
plugins.security-config.resource_security.default_cpu_limit number 1.0 0
plugins.security-config.resource_security.max_cpu_limit number 4.0 0
plugins.security-config.resource_security.default_pid_limit integer 1024 0
plugins.security-config.resource_security.max_file_descriptors integer 1024 0
plugins.security-config.resource_security.max_container_lifetime_hours integer 0 0
"""
CHOICES = {
    "routing_compat": ("standard", "nexcage"),
    "plugins.*.hooks.*": ("skip", "retry", "abort"),
    "log_level": ("trace", "debug", "info", "warn", "error", "fatal"),
    "runtime.log_level": ("trace", "debug", "info", "warn", "error", "fatal"),
    "plugins.backend-config.crun.log_level": ("debug", "info", "warn", "error"),
}
SECRET = {"proxmox.token", *(f"plugins.backend-config.proxmox-{name}.proxmox_token" for name in ("lxc", "vm"))}
# Of the keys of existing files these do something.
EFFECTIVE = {
    *("routing_compat", "runtime.routing", "container_config.routing", "container_config.default_runtime", "container_config.crun_name_patterns"),
    *("plugins.*.enabled", "plugins.*.priority", "plugins.*.config.*", "plugins.*.hooks.*"),
    *(f"plugin_manager.{name}" for name in ("plugin_dir", "max_plugins", "require_signatures", "memory_limit_mb")),
    *(f"plugin_manager.{name}" for name in ("cpu_limit_percent", "max_plugin_size_mb", "enable_plugin_metrics")),
}
WRONG: dict[str, list[t.Any]] = {
    "string": [1, None, True, [], {}],
    "path": ["relative", "", 1, None, "/a\0b"],
    "integer": ["1", 1.5, 1.0, True, None, float("nan"), [], 10**400],
    "number": ["1", True, None, float("inf"), float("nan"), {}],
    "boolean": ["yes", 1, 0, None, "true"],
    "strings": ["x", [1], [None], {}, None],
    "rules": ["x", {}, None, ["x"], [{}], [{"pattern": 1, "runtime": "crun"}], [{"pattern": "^(", "runtime": "crun"}]],
    "any": [],
}
RIGHT: dict[str, list[t.Any]] = {
    "string": ["x" * 12],
    "path": ["/", "/a/b"],
    "integer": [],
    "number": [0.5, 2],
    "boolean": [True, False],
    "strings": [[], ["a", "b"]],
    "rules": [[], [RULE]],
    "any": [None, 1, "x", {"a": [1]}],
}


def expected(line: str) -> tuple[str, str, t.Any, float | None, float | None]:
    path, kind, default, *ends = line.split()
    words = {"-": None, "true": True, "false": False}
    if default in words:
        value: t.Any = words[default]
    elif default.startswith("["):
        value = [word for word in default[1:-1].split(",") if word]
    else:
        value = {"integer": int, "number": float}.get(kind, str)(default)
    low, high, *_none = *(float(end) for end in ends), None, None
    return path, kind, value, low, high


def test_the_table_is_what_nexcage_has() -> None:
    assert sorted((key.path, key.kind, key.default, key.minimum, key.maximum) for key in KEYS) == sorted(expected(line) for line in FACTS.strip().splitlines())
    assert {key.path: key.choices for key in KEYS if key.choices} == CHOICES
    assert {key.path for key in KEYS if key.sensitive} == SECRET
    assert {key.path for key in KEYS if key.effect} == EFFECTIVE
    assert len({key.path for key in KEYS}) == len(KEYS) == sum(len(keys) for keys in GROUPS.values()) and len(MANAGER) == 12


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_has_an_effect_or_says_why_not(key: Key) -> None:
    assert bool(key.effect) is not bool(key.reason)
    if key.default is not None:
        configuration.check(key, key.path, key.default)


def values(key: Key) -> tuple[list[t.Any], list[t.Any]]:
    """Values that the key allows, and values that it does not."""
    right, wrong = list(RIGHT[key.kind]), list(WRONG[key.kind])
    if key.choices:
        right, wrong = list(key.choices), [*wrong, "other", ""]
    elif key.kind == "integer":
        right = [int(end) for end in (key.minimum, key.maximum) if end is not None]
        wrong = [value for value in wrong if value != 10**400 or key.maximum is not None]
    if key.kind == "string" and key.minimum is not None:
        right, wrong = ["x" * int(key.minimum)], [*wrong, "x" * (int(key.minimum) - 1)]
    elif key.minimum is not None:
        wrong += [int(key.minimum) - 1]
    if key.maximum is not None:
        wrong += [int(key.maximum) + 1]
    return right, wrong


def file_with(path: str, value: t.Any) -> dict[str, t.Any]:
    content = value
    for name in reversed(path.replace("**", "deep").replace("*", "some-backend").split(".")):
        content = {name: content}
    return t.cast("dict[str, t.Any]", content)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_types_and_ranges(key: Key) -> None:
    path = key.path.replace("**", "deep").replace("*", "some-backend")
    right, wrong = values(key)
    assert right
    for value in right:
        result = configuration.parse(file_with(key.path, value), FILE)
        assert result.problems == () and result.unknown == ()
        (setting,) = (setting for setting in result.settings if setting.path == path)
        assert (setting.value, setting.source, setting.key) == (value, FILE, key)
        result.refuse()
    for value in wrong:
        result = configuration.parse(file_with(key.path, value), FILE)
        with pytest.raises(NexcageError) as caught:
            result.refuse()
        problem = caught.value
        assert problem.code == "E_INVALID" and str(problem.option).startswith(path) and problem.remedy and problem.details["problems"] == [str(problem)]
        assert "nexcage_config_info shows all" not in str(problem.remedy)  # it fails with the same error
        if key.kind != "rules":
            assert problem.message == f"it must be {configuration.allowed(key)}"
            assert key.sensitive or problem.option != path or problem.value == value or (isinstance(value, float) and math.isnan(value))
        else:
            assert problem.value is not None or value in (None, [{}])
        assert "*" in key.path or [s.source for s in result.settings if s.path == path] == [configuration.DEFAULT]


def test_what_is_allowed_in_words() -> None:
    words = {key.path: configuration.allowed(key) for key in KEYS}
    assert words["plugin_manager.max_plugins"] == "an integer from 1 to 1000"
    assert words["plugins.backend-config.proxmox-lxc.timeout"] == "an integer of 5 or more"
    assert words["plugins.backend-config.proxmox-lxc.proxmox_host"] == "a string of 3 or more characters"
    assert words["routing_compat"] == "one of standard, nexcage" and words["data_dir"] == "an absolute path"


def test_an_empty_file_is_all_defaults() -> None:
    result = configuration.parse({}, FILE, {"plugin_manager.plugin_dir": "/elsewhere"})
    assert [setting.path for setting in result.settings] == [key.path for key in KEYS if "*" not in key.path]
    assert {setting.source for setting in result.settings} == {configuration.DEFAULT}
    assert result.value("plugin_manager.plugin_dir") == "/elsewhere" and result.value("plugin_manager.max_plugins") == 1000


def test_unknown_keys() -> None:
    content = {"socket_path": 1, "runtime": {"sokcet": {"deep": 1}}, "plugins": {"x": {"y": 1, "enabled": True}, "backend-config": {"podman": {}}}}
    result = configuration.parse(content, FILE)
    assert result.unknown == ("socket_path", "runtime.sokcet", "plugins.x.y", "plugins.backend-config.podman") and not result.problems


@pytest.mark.parametrize(
    "path", ["runtime", "network", "security", "resources", "container_config", "proxmox", "plugins", "plugins.x", "plugins.x.config", "hooks.y"]
)
@pytest.mark.parametrize("value", [[], "x", 1, None])
def test_a_section_is_a_mapping(path: str, value: t.Any) -> None:
    with pytest.raises(NexcageError) as caught:
        configuration.parse(file_with(path, value), FILE).refuse()
    assert (caught.value.option, caught.value.message) == (path, "it must be a mapping")


def test_all_problems_are_told() -> None:
    content = {"log_level": 1, "plugin_manager": {"max_plugins": 0, "plugin_dir": "x"}}
    with pytest.raises(NexcageError) as caught:
        configuration.parse(content, FILE).refuse()
    assert [problem.partition("=")[0] for problem in caught.value.details["problems"]] == [
        "log_level",
        "plugin_manager.max_plugins",
        "plugin_manager.plugin_dir",
    ]


def test_secrets_are_not_shown() -> None:
    content = {
        "proxmox": {"token": "hush-1", "hosts": ["pve"], "password": "hush-2", "more": {"api_key": ["hush-3"], "verify_token": True}},
        "plugins": {"x-backend": {"config": {"proxmox_token": "hush-4", "binary_path": "/usr/bin/crun"}}},
    }
    result = configuration.parse(content, FILE)
    shown = {setting.path: setting.as_dict() for setting in result.settings}
    assert "hush" not in str(shown)
    assert shown["plugins.x-backend.config.proxmox_token"]["value"] == configuration.MASK
    assert shown["plugins.x-backend.config.binary_path"] == {
        "key": "plugins.x-backend.config.binary_path",
        "value": "/usr/bin/crun",
        "source": FILE,
        "effective": True,
        "note": "the plugin's own setting, as its manifest declares it",
    }
    assert shown["proxmox.more"]["value"] == {"api_key": [configuration.MASK], "verify_token": True}
    assert shown["proxmox.hosts"]["value"] == ["pve"] and shown["proxmox.hosts"]["effective"] is False
    problem = configuration.parse({"proxmox": {"token": ["hush-1"]}}, FILE).problems[0]
    assert "hush" not in str(problem) + str(problem.as_dict())


def test_the_manager_alone() -> None:
    assert configuration.manager({}) == {key.path.partition(".")[2]: key.default for key in MANAGER}
    got = configuration.manager(
        {"plugin_manager": {"max_plugins": 7, "cache_dir": "/c"}, "log_level": 5}, {"plugin_manager.plugin_dir": "/p", "plugin_manager.cache_dir": "/x"}
    )
    assert (got["max_plugins"], got["plugin_dir"], got["cache_dir"]) == (7, "/p", "/c")
    for section, option in (([], "plugin_manager"), ({"max_plugins": 1001}, "plugin_manager.max_plugins"), ({"plugin_dir": None}, "plugin_manager.plugin_dir")):
        with pytest.raises(NexcageError) as caught:
            configuration.manager({"plugin_manager": section})
        assert caught.value.option == option


def test_find() -> None:
    def path(*names: str) -> str | None:
        key = configuration.find(names)
        return key.path if key else None

    assert path("plugins", "backend-config", "crun", "enabled") == "plugins.backend-config.crun.enabled"
    assert path("plugins", "crun-backend", "config", "a.b") == "plugins.*.config.*"
    assert path("zfs", "pool", "name") == "zfs.**" and path("proxmox", "node") == "proxmox.node"
    assert path("plugins", "x", "y") is None and path("runtime") is None and path("nothing", "here") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*{name for key in KEYS for name in key.path.split(".")}, "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({key.path.split(".")[0] for key in KEYS}) + ["x"]), JSON, max_size=5))
def test_any_file_gives_settings_or_typed_problems(content: dict[str, t.Any]) -> None:
    result = configuration.parse(content, FILE)
    known = {setting.path for setting in result.settings if setting.source == FILE}
    told = known | set(result.unknown) | {str(problem.option).partition("[")[0] for problem in result.problems}
    for path, _value in configuration.leaves(content):
        prefixes = {".".join(path[:length]) for length in range(1, len(path) + 1)}
        assert prefixes & told or _value == {}, path
    for setting in result.settings:
        setting.as_dict()


def test_an_option_that_a_reason_names_is_one() -> None:
    """What a key of NexCage's says of a task's option can be written into a task as it stands there."""
    named = [(key.path, option) for key in KEYS for option in re.findall(r"by its option (\w+)", key.reason)]
    assert {"security.seccomp", "security.apparmor", "resources.cpu", "network.dns_servers"} <= {name for name, _option in named}
    assert [entry for entry in named if entry[1] not in options.BY_NAME] == []
    assert "dns_servers" not in options.BY_NAME and "apparmor" not in options.BY_NAME
