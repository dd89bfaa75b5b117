# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter that migrates: files in, YAML that Ansible reads back out, and no text of a file ever an expression."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.filter import migration
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError


class Marked(str):
    """A text with the tag ``!unsafe``."""


class Loader(yaml.SafeLoader):
    """YAML with Ansible's tag."""


Loader.add_constructor("!unsafe", lambda loader, node: Marked(loader.construct_scalar(node)))


def file(content: object, source: str = "/etc/nexcage/config.json") -> dict[str, str]:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return {"source": source, "content": base64.b64encode(data).decode(), "encoding": "base64"}


def migrated(*files: dict[str, str]) -> tuple[t.Any, dict[str, t.Any]]:
    result = migration.FilterModule().filters()["migration"](list(files))
    return yaml.load(result["text"], Loader), result


def test_variables_and_report() -> None:
    content = {"plugins": {"crun-backend": {"enabled": True, "priority": 10, "config": {"bundle_path": "/b"}}}, "log_level": "info"}
    read, result = migrated(file(content))
    assert read == {"runtime_runtimes": ["crun"], "plugins": {"crun-backend": {"enabled": True, "priority": 10}}}
    assert result["text"].startswith('---\n# From "/etc/nexcage/config.json" by nexcage.backends.migration.\n')
    assert [entry["action"] for entry in result["report"]] == ["taken over", "taken over", "without effect", "without effect"]
    assert result["lines"][0] == "taken over: plugins.crun-backend.enabled -> plugins.crun-backend.enabled"
    assert result["lines"][3].startswith("without effect: log_level (results and the audit log")


def test_yaml_files() -> None:
    text = b"plugins:\n  runc-backend:\n    priority: 20\n"
    for name in ("config.yaml", "config.yml"):
        assert migrated(file(text, name))[0]["plugins"] == {"runc-backend": {"priority": 20}}
    with pytest.raises(NexcageError, match=r"config\.json cannot be read"):
        migrated(file(text))


def test_two_files() -> None:
    first, second = file({"plugins": {"crun-backend": {"priority": 1}}}, "/a.json"), file(b"plugins: {crun-backend: {priority: 2, enabled: true}}", "/b.yaml")
    read, result = migrated(first, second)
    assert read["plugins"] == {"crun-backend": {"priority": 1, "enabled": True}} and '# From "/a.json", "/b.yaml"' in result["text"]


def test_nothing_to_take() -> None:
    read, result = migrated(file({"zfs": {"pool": "tank"}}))
    assert read == {} and len(result["lines"]) == 1


@pytest.mark.parametrize("text", ["{{ lookup('pipe', 'id') }}", "a {% set x = 1 %}", "{# x #}", "{{", "é\n{{ x }}\n'\"\\"])
def test_what_looks_like_an_expression_is_a_text(text: str) -> None:
    content = {
        "plugins": {"x-backend": {"config": {"value": text, "list": [text]}}},
        "container_config": {"routing": [{"pattern": text, "runtime": text}], "default_runtime": text},
        "plugin_manager": {"plugin_dir": "/" + text},
    }
    read, _result = migrated(file(content))
    texts = [
        *(read["plugins"]["x-backend"]["config"]["value"], read["plugins"]["x-backend"]["config"]["list"][0]),
        *read["plugins_configuration"]["container_config"]["routing"][0].values(),
        read["plugins_configuration"]["container_config"]["default_runtime"],
    ]
    assert all(isinstance(value, Marked) and value == text for value in texts)
    assert isinstance(read["plugins_configuration"]["plugin_manager"]["plugin_dir"], Marked)


def test_secrets_stay_where_they_are() -> None:
    read, result = migrated(file({"plugins": {"x-backend": {"config": {"token": "hush-1"}}}, "proxmox": {"token": "hush-2"}}))
    assert read["plugins"]["x-backend"]["config"]["token"] == "{{ vault_nexcage_x_backend_token }}" and "hush" not in json.dumps(result)


@pytest.mark.parametrize(
    ("data", "source", "words"),
    [
        (b"{", "a.json", "cannot be read"),
        (b"\xff", "a.json", "cannot be read"),
        (b'{"a": 1, "a": 2}', "a.json", "the key a stands there twice"),
        (b"[" * 100000, "a.json", "nested too deep"),
        (b"[]", "a.json", "no mapping"),
        (b"{1: 2}", "a.yaml", "no mapping of names"),
        (b"a: {1: 2}", "a.yaml", "no mapping of names"),
        (b"secret: hush\n  x: [", "a.yaml", "in line"),
        (b"a: &a [x]\nb: [*a, *a]", "a.yaml", "aliases"),
        (b"!!python/object/apply:os.system [id]", "a.yaml", "cannot be read"),
        (b" " * (1 << 20) + b"{}", "a.json", "bytes"),
    ],
)
def test_files_that_cannot_be_read(data: bytes, source: str, words: str) -> None:
    with pytest.raises(NexcageError) as caught:
        migrated(file(data, source))
    assert words in str(caught.value) and source in str(caught.value) and "hush" not in str(caught.value)


@pytest.mark.parametrize("given", ["x", {}, ["x"], [{"source": "a"}], None])
def test_what_is_no_list_of_files(given: t.Any) -> None:
    with pytest.raises(NexcageError, match="no list of files"):
        migration.migration(given)
    with pytest.raises(NexcageError, match="cannot be read"):
        migration.migration([{"source": "a", "content": "not base64!"}])


def test_rules_that_cannot_be_kept() -> None:
    first = file({"container_config": {"routing": [{"pattern": "^(", "runtime": "crun"}]}})
    with pytest.raises(NexcageError, match="regular expression"):
        migrated(first, file({"routing_compat": "standard"}, "b.json"))
    assert migrated(first)[0]["plugins_configuration"]["routing_compat"] == "nexcage"
