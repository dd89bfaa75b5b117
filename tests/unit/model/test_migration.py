# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of an existing configuration: each key has its entry, and names go where they went."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import configuration, migration, routing
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES
from ansible_collections.nexcage.backends.plugins.module_utils.model.configuration_table import KEYS
from ansible_collections.nexcage.backends.plugins.module_utils.model.migration import CHANGED, NOTHING, TAKEN
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = "/etc/nexcage/config.json"


def done(*contents: t.Mapping[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, migration.Entry]]:
    result = migration.migrate([(f"{FILE}{number or ''}", content) for number, content in enumerate(contents)])
    return result.variables, {entry.key: entry for entry in result.report}


def rule(pattern: str, runtime: str) -> dict[str, str]:
    return {"pattern": pattern, "runtime": runtime}


def test_the_seed_is_taken_as_it_is() -> None:
    plugins = {
        "crun-backend": {"enabled": True, "priority": 10, "config": {"bundle_path": "/var/lib/nexcage/bundles"}},
        "runc-backend": {"enabled": False, "priority": 20, "config": {"binary_path": "/opt/runc"}},
    }
    variables, report = done({"plugins": plugins})
    assert variables == {
        "runtime_runtimes": ["crun"],
        "plugins": {
            "crun-backend": {"enabled": True, "priority": 10},
            "runc-backend": {"enabled": False, "priority": 20, "config": {"binary_path": "/opt/runc"}},
        },
    }
    assert report["plugins.crun-backend.config.bundle_path"].action == NOTHING
    assert {entry.action for key, entry in report.items() if not key.endswith("bundle_path")} == {TAKEN}
    assert report["plugins.runc-backend.priority"].becomes == "plugins.runc-backend.priority"


def test_routing_keeps_its_results() -> None:
    rules = [rule("^(kube-ovn-.*|cilium-.*)$", "crun"), rule(".*", "proxmox-lxc")]
    variables, report = done({"runtime": {"routing": rules, "log_level": "info"}, "container_config": {"crun_name_patterns": ["crun-*"]}})
    assert variables == {
        "runtime_runtimes": ["crun"],
        "plugins_configuration": {"runtime": {"routing": rules}, "container_config": {"crun_name_patterns": ["crun-*"]}, "routing_compat": "nexcage"},
    }
    assert report["runtime.routing"].action == TAKEN and "proxmox-lxc for lxc" in report["runtime.routing"].note
    assert report["runtime.log_level"].action == NOTHING
    variables, _report = done({"routing_compat": "standard", "container_config": {"default_runtime": "runc"}})
    assert variables["plugins_configuration"]["routing_compat"] == "standard" and variables["runtime_runtimes"] == ["runc"]


def test_rules_that_others_replace() -> None:
    variables, report = done({"runtime": {"routing": [rule("a", "runc")]}, "container_config": {"routing": [rule("b", "crun")]}})
    assert variables["plugins_configuration"] == {"container_config": {"routing": [rule("b", "crun")]}, "routing_compat": "nexcage"}
    assert (report["runtime.routing"].action, report["runtime.routing"].becomes) == (NOTHING, "") and "replaces" in report["runtime.routing"].note
    assert variables["runtime_runtimes"] == ["crun"]


def test_the_manager() -> None:
    variables, report = done({"plugin_manager": {"max_plugins": 100, "enable_hot_reload": False, "require_signatures": True}})
    assert variables == {"plugins_configuration": {"plugin_manager": {"max_plugins": 100, "require_signatures": True}}}
    assert report["plugin_manager.enable_hot_reload"].action == NOTHING and report["plugin_manager.max_plugins"].action == TAKEN


def test_sections_of_the_unreleased_branch_move() -> None:
    variables, report = done(
        {
            "plugins": {
                "crun-backend": {"priority": 1},
                "backend-config": {
                    "crun": {"priority": 10, "binary_path": "/opt/crun", "systemd_cgroup": True},
                    "proxmox-lxc": {"enabled": True, "proxmox_host": "pve1", "proxmox_token": "hush-12345678", "verify_ssl": False},
                    "proxmox-vm": {"vm_cores": 4},
                    "podman": {"enabled": True},
                },
                "security-config": {"network_security": {"allow_host_network": True}},
                "cli": {"stats": {"enabled": True}},
            }
        }
    )
    assert variables["plugins"] == {
        "crun-backend": {"priority": 1, "config": {"binary_path": "/opt/crun"}},
        "proxmox-lxc-backend": {
            "enabled": True,
            "config": {"proxmox_host": "pve1", "proxmox_token": "{{ vault_nexcage_proxmox_lxc_backend_proxmox_token }}", "verify_ssl": False},
        },
        "proxmox-vm-backend": {"config": {"vm_cores": 4}},
    }
    section = "plugins.backend-config."
    assert report[section + "crun.binary_path"].action == CHANGED
    assert "plugins.crun-backend.priority is said elsewhere" in report[section + "crun.priority"].note
    assert report[section + "crun.systemd_cgroup"].action == report[section + "podman.enabled"].action == NOTHING
    assert report["plugins.cli.stats.enabled"].action == report["plugins.security-config.network_security.allow_host_network"].action == NOTHING
    assert "vault_nexcage" in report[section + "proxmox-lxc.proxmox_token"].note and "hush" not in str(variables) + str(report)


def test_secrets_and_the_environment() -> None:
    config = {"api_key": "hush-1", "password": "", "use_token": True, "host": "${PVE_HOST}:${PORT}", "odd": "{{ x }} ${Y}", "user": "root"}
    variables, report = done({"plugins": {"x.y-backend": {"config": config}}})
    made = variables["plugins"]["x.y-backend"]["config"]
    assert made == {
        "api_key": "{{ vault_nexcage_x_y_backend_api_key }}",
        "password": "",
        "use_token": True,
        "host": "{{ lookup('ansible.builtin.env', 'PVE_HOST') }}:{{ lookup('ansible.builtin.env', 'PORT') }}",
        "odd": "{{ x }} ${Y}",
        "user": "root",
    }
    assert [name for name, value in made.items() if isinstance(value, migration.Template)] == ["api_key", "host"]
    actions = {key.rpartition(".")[2]: entry.action for key, entry in report.items()}
    assert actions == {"api_key": CHANGED, "password": TAKEN, "use_token": TAKEN, "host": CHANGED, "odd": TAKEN, "user": TAKEN}


def test_denied_capabilities_become_rules() -> None:
    variables, report = done(
        {"security": {"denied_capabilities": ["host_command", "process_ptrace", "host_command", "typo"], "allowed_capabilities": ["logging"]}}
    )
    (made,) = variables["plugins_policy"]["rules"]
    assert made["id"] == "no-host_command" and made["when"] == {"call": sorted(CAPABILITIES["host_command"].calls)} and made["effect"] == "deny"
    entry = report["security.denied_capabilities"]
    assert entry.action == CHANGED and "process_ptrace, typo" in entry.note
    assert report["security.allowed_capabilities"].action == NOTHING
    for nothing in (["process_ptrace"], []):
        variables, report = done({"security": {"denied_capabilities": nothing}})
        assert variables == {} and report["security.denied_capabilities"].action == NOTHING and report["security.denied_capabilities"].note


@pytest.mark.parametrize("name", sorted(name for name, row in CAPABILITIES.items() if row.grantable and row.calls))
def test_the_policy_knows_these_rules(name: str) -> None:
    rules = pytest.importorskip("ansible_collections.nexcage.backends.plugins.module_utils.manager.policy_rules")
    variables, _report = done({"security": {"denied_capabilities": [name]}})
    (made,) = rules.parse("policy.json", json.loads(json.dumps(variables["plugins_policy"]))).rules
    assert made.effect == "deny"


def test_the_first_file_counts() -> None:
    variables, report = done(
        {"plugins": {"crun-backend": {"priority": 1}}, "plugin_manager": "x"},
        {"plugins": {"crun-backend": {"priority": 2, "enabled": True}}, "plugin_manager": {"max_plugins": 5}},
    )
    assert variables["plugins"] == {"crun-backend": {"priority": 1, "enabled": True}}
    assert variables["plugins_configuration"] == {"plugin_manager": {"max_plugins": 5}}
    assert report["plugins.crun-backend.priority"].note == f"{FILE} says it" and report["plugin_manager"].action == NOTHING


@pytest.mark.parametrize(
    ("content", "key", "words"),
    [
        ({"network": "x"}, "network", "a mapping"),
        ({"plugin_manager": {"max_plugins": 0}}, "plugin_manager.max_plugins", "an integer from 1 to 1000"),
        ({"runtime": {"routing": [{"pattern": 1, "runtime": "crun"}]}}, "runtime.routing", "a string"),
        ({"socket_path": "/x"}, "socket_path", "nobody knows"),
        ({"plugins": {"../x": {"enabled": True}}}, "plugins.../x.enabled", "no name"),
        ({"plugins": {"x-backend": {"config": {"{{ x }}": 1}}}}, "plugins.x-backend.config.{{ x }}", "no name"),
        ({"plugins": {"x-backend": {"config": {"a": {"b": 1}}}}}, "plugins.x-backend.config.a.b", "nobody knows"),
        ({"plugins": {"backend-config": {"config": {}}}}, "plugins.backend-config.config", "nobody knows"),
        ({"plugins": {"x-backend": {}}}, "plugins.x-backend", "nothing in it"),
        ({"zfs": {"pool": "tank"}}, "zfs.pool", "never read"),
        ({"security": {"denied_capabilities": "x"}}, "security.denied_capabilities", "a list of strings"),
    ],
)
def test_what_has_no_effect(content: dict[str, t.Any], key: str, words: str) -> None:
    variables, report = done(content)
    assert variables == {} and list(report) == [key] and report[key].action == NOTHING and words in report[key].note


def test_an_empty_config_stays_empty() -> None:
    assert done({"plugins": {"crun-backend": {"config": {}}}})[0]["plugins"] == {"crun-backend": {"config": {}}}
    variables, report = done({"plugins": {"x-backend": {"config": {}}}}, {"plugins": {"x-backend": {"config": {"a": 1}}}})
    assert variables["plugins"]["x-backend"]["config"] == {"a": 1} and report["plugins.x-backend.config.a"].action == TAKEN


NAMES = st.sampled_from(sorted({name for key in KEYS for name in key.path.split(".")}) + ["crun-backend", "x y", "a"])
VALUES = (
    st.none() | st.booleans() | st.integers(-5, 5000) | st.sampled_from(["/a", "crun", "hush-0123456789", "info"]) | st.lists(st.just("logging"), max_size=1)
)
CONTENT = st.dictionaries(NAMES, st.recursive(VALUES, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=8), max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(CONTENT, max_size=3))
def test_every_key_has_one_entry(contents: list[dict[str, t.Any]]) -> None:
    result = migration.migrate([(str(number), content) for number, content in enumerate(contents)])
    assert [(entry.source, entry.key) for entry in result.report] == [
        (str(number), ".".join(path)) for number, content in enumerate(contents) for path, _value in configuration.leaves(content)
    ]
    for entry in result.report:
        assert entry.action in migration.ACTIONS and bool(entry.becomes) is (entry.action != NOTHING) and (entry.note or entry.action == TAKEN)
    written = {**result.variables.get("plugins_configuration", {}), "plugins": result.variables.get("plugins", {})}
    assert configuration.parse(written, "written").problems == ()


RULES = st.lists(st.builds(rule, st.text("ab-*.^$", max_size=6), st.sampled_from(["crun", "runc", "lxc", "proxmox", "vm", "typo"])), max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    RULES,
    RULES,
    st.lists(st.text("ab*", max_size=3), max_size=2),
    st.sampled_from([None, "crun", "proxmox"]),
    st.booleans(),
    st.text("ab-", min_size=1, max_size=4),
)
def test_names_go_where_they_went(
    first: list[dict[str, str]], second: list[dict[str, str]], legacy: list[str], default: str | None, both: bool, name: str
) -> None:
    content: dict[str, t.Any] = {"runtime": {"routing": first}, "container_config": {"crun_name_patterns": legacy}}
    if both:
        content["container_config"]["routing"] = second
    if default:
        content["container_config"]["default_runtime"] = default
    before = routing.parse({**content, "routing_compat": "nexcage"})
    after = routing.parse(done(content)[0].get("plugins_configuration", {}))
    assert (before is None) is (after is None)
    if before and after:
        assert routing.route(before, name) == routing.route(after, name)
