# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/migrate.yml on configuration files as NexCage has them, and what Ansible makes of the variables."""

from __future__ import annotations

import json
import pathlib
import stat
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.filter import migration as filters
from ansible_collections.nexcage.backends.plugins.module_utils.model import configuration
from ansible_collections.nexcage.backends.tests.support import ansible_cli, modules

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLAYBOOK = "nexcage.backends.migrate"
# A node with the CLI: logging, folders, network, and routing with the catch-all that NexCage reads as a glob.
NODE: dict[str, t.Any] = {
    "runtime_type": "lxc",
    "default_runtime": "proxmox-lxc",
    "log_level": "debug",
    "log_file": "/var/log/nexcage/nexcage.log",
    "data_dir": "/var/lib/nexcage",
    "runtime": {
        "log_level": "debug",
        "root_path": "/var/lib/nexcage",
        "routing": [{"pattern": "^(kube-ovn-.*|cilium-.*)$", "runtime": "crun"}, {"pattern": ".*", "runtime": "lxc"}],
    },
    "container_config": {"crun_name_patterns": ["crun-*"], "default_runtime": "runc"},
    "network": {"bridge": "lxcbr0", "ip": "10.0.0.1", "dns_servers": ["192.0.2.1"]},
    "security": {"seccomp": True, "read_only": False},
    "resources": {"memory": 512, "cpu": 1.0},
    "proxmox": {"hosts": ["pve.example.com"], "port": 8006, "token": "hush-4711", "node": "pve"},
    "zfs": {"enabled": True, "base_dataset": "tank/containers"},
    "socket_path": "/run/x.sock",
}
# A host with plugins, in all the forms that were ever described.
PLUGINS: dict[str, t.Any] = {
    "plugin_manager": {"plugin_dir": "/etc/nexcage/plugins", "max_plugins": 100, "enable_hot_reload": True, "require_signatures": True, "memory_limit_mb": 512},
    "plugins": {
        "crun-backend": {"enabled": True, "priority": 10, "config": {"bundle_path": "/var/lib/nexcage/bundles"}},
        "runc-backend": {"enabled": True, "priority": 20, "config": {"binary_path": "/usr/sbin/runc"}},
        "backend-config": {"proxmox-lxc": {"enabled": False, "proxmox_host": "pve.example.com", "proxmox_token": "hush-0123456789", "timeout": 30}},
        "security-config": {"network_security": {"allow_host_network": False, "blocked_networks": ["127.0.0.0/8"]}},
    },
    "hooks": {"container.pre_create": {"enabled": True, "timeout_ms": 1000}},
    "security": {"allowed_capabilities": ["logging"], "denied_capabilities": ["host_device", "process_ptrace", "host_command"]},
}
README = """
plugins:
  my-backend:
    enabled: true
    config:
      region: ${REGION}
      title: 'no {{ expression }}'
  cli:
    stats:
      enabled: true
"""


def migrate(tmp_path: pathlib.Path, *arguments: str) -> tuple[ansible_cli.Outcome, pathlib.Path]:
    """Run the playbook on files below ``tmp_path/etc``."""
    places = {
        "migrate_search": [str(tmp_path / "etc/config.json"), str(tmp_path / "etc/nexcage.json")],
        "migrate_also": [str(tmp_path / "etc/plugins/config.json"), str(tmp_path / "etc/config.yaml")],
        "migrate_output": str(tmp_path / "vars"),
        "migrate_hosts": "localhost",
        "migrate_become": False,
    }
    outcome = ansible_cli.run_playbook(tmp_path / "home", pathlib.Path(PLAYBOOK), "-e", json.dumps(places), *arguments)
    return outcome, tmp_path / "vars/localhost/nexcage.yml"


def read_back(tmp_path: pathlib.Path, file: pathlib.Path, **variables: str) -> dict[str, t.Any]:
    """The variables as Ansible has them."""
    names = ["runtime_runtimes", "plugins", "plugins_configuration", "plugins_policy"]
    show = {"name": "Show", "ansible.builtin.debug": {"msg": {name: f"{{{{ {name} | default(none) }}}}" for name in names}}}
    play = ansible_cli.write_playbook(
        tmp_path / "show.yml", {"vars_files": [str(file)], "vars": {"vault_nexcage_proxmox_lxc_backend_proxmox_token": "from-vault"}, "tasks": [show]}
    )
    return t.cast("dict[str, t.Any]", ansible_cli.plays_well(tmp_path / "home", play, **variables).of("Show")["msg"])


def put(folder: pathlib.Path, name: str, content: t.Any) -> None:
    path = folder / "etc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def actions(outcome: ansible_cli.Outcome) -> dict[str, str]:
    lines = outcome.of("Report on every key")["msg"]
    return {line.partition(": ")[2].split(" ")[0]: line.partition(": ")[0] for line in lines}


def test_a_node(tmp_path: pathlib.Path) -> None:
    put(tmp_path, "config.json", NODE)
    put(tmp_path, "nexcage.json", {"plugins": {"crun-backend": {"priority": 99}}})  # is not read, as the first one is there
    outcome, file = migrate(tmp_path, "-vvv")
    assert outcome.code == 0 and "hush" not in outcome.text, outcome.text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "hush" not in file.read_text()
    told = actions(outcome)
    assert set(told) == {".".join(path) for path, _value in configuration.leaves(NODE)}
    assert {key for key, action in told.items() if action == "taken over"} == {
        "runtime.routing",
        "container_config.crun_name_patterns",
        "container_config.default_runtime",
    }
    assert set(told.values()) == {"taken over", "without effect"}
    made = read_back(tmp_path, file)
    assert made["runtime_runtimes"] == ["crun", "runc"] and not made["plugins"]
    assert made["plugins_configuration"] == {
        "runtime": {"routing": NODE["runtime"]["routing"]},
        "container_config": NODE["container_config"],
        "routing_compat": "nexcage",
    }
    again, _file = migrate(tmp_path)
    assert again.code == 0 and not again.of("Write the variables")["changed"]
    # what is made of it sends names where NexCage sends them
    put(tmp_path, "nexcage/config.json", made["plugins_configuration"])
    with modules.nexcage_root(tmp_path):
        answers = modules.works("nexcage_config_info", names=["kube-ovn-1", "crun-1", "web"])["routing"]["answers"]
    assert [entry["backend"] for entry in answers] == ["crun", "crun", "runc"]


def test_plugins_in_all_their_forms(tmp_path: pathlib.Path) -> None:
    put(tmp_path, "nexcage.json", {"plugins": PLUGINS["plugins"]})
    put(tmp_path, "plugins/config.json", {key: PLUGINS[key] for key in ("plugin_manager", "hooks", "security")})
    put(tmp_path, "config.yaml", README)
    outcome, file = migrate(tmp_path)
    assert outcome.code == 0 and "hush" not in outcome.text + file.read_text(), outcome.text
    told = actions(outcome)
    assert set(told) == {".".join(path) for content in (PLUGINS, yaml.safe_load(README)) for path, _value in configuration.leaves(content)}
    assert {key for key, action in told.items() if action == "changed"} == {
        *(f"plugins.backend-config.proxmox-lxc.{name}" for name in ("enabled", "proxmox_host", "proxmox_token", "timeout")),
        *("security.denied_capabilities", "plugins.my-backend.config.region"),
    }
    made = read_back(tmp_path, file, REGION="north")
    assert made["plugins"] == {
        "crun-backend": {"enabled": True, "priority": 10},
        "runc-backend": {"enabled": True, "priority": 20, "config": {"binary_path": "/usr/sbin/runc"}},
        "proxmox-lxc-backend": {"enabled": False, "config": {"proxmox_host": "pve.example.com", "proxmox_token": "from-vault", "timeout": 30}},
        "my-backend": {"enabled": True, "config": {"region": "north", "title": "no {{ expression }}"}},
    }
    assert made["plugins_configuration"] == {
        "plugin_manager": {name: value for name, value in PLUGINS["plugin_manager"].items() if name != "enable_hot_reload"}
    }
    assert [entry["id"] for entry in made["plugins_policy"]["rules"]] == ["no-host_command"]


def test_the_examples_of_the_filter(tmp_path: pathlib.Path) -> None:
    put(tmp_path, "config.json", NODE)
    text = filters.EXAMPLES.replace("/etc/nexcage", str(tmp_path / "etc"))
    play = ansible_cli.write_playbook(tmp_path / "play.yml", {"tasks": yaml.safe_load(text)})
    outcome = ansible_cli.plays_well(tmp_path / "home", play)
    assert len(outcome.of("See what becomes of it")["msg"]) == len(list(configuration.leaves(NODE))) and "hush" not in outcome.text


def test_nothing_there(tmp_path: pathlib.Path) -> None:
    outcome, file = migrate(tmp_path)
    assert outcome.code == 0 and "is there" in outcome.of("Say that there is nothing to do")["msg"] and not file.exists()


@pytest.mark.parametrize("content", ["{", '{"a": 1, "a": 2}'])
def test_a_damaged_file(tmp_path: pathlib.Path, content: str) -> None:
    put(tmp_path, "config.json", content)
    outcome, file = migrate(tmp_path)
    assert outcome.code != 0 and "etc/config.json cannot be read as a configuration file" in outcome.text.replace("\n", " ") and not file.exists()


def test_check_mode_writes_nothing(tmp_path: pathlib.Path) -> None:
    put(tmp_path, "config.json", NODE)
    outcome, file = migrate(tmp_path, "--check", "--diff")
    assert outcome.code == 0 and actions(outcome) and not file.exists() and "hush" not in outcome.text
