# Copyright (c) 2026 NexCage contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn existing configuration files into variables of the roles."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: migration
short_description: Turn NexCage's configuration files into variables of the roles
version_added: 0.1.0
description:
  - Reads configuration files of an existing NexCage and gives the variables with which the roles P(nexcage.backends.runtime#role)
    and C(nexcage.backends.plugins) do the same, and an entry for every key, whether it was taken over, changed, or has no effect.
  - The playbook C(nexcage.backends.migrate) uses it for whole inventories.
author:
  - NexCage contributors (@cageforge)
positional: _input
options:
  _input:
    description:
      - The files, as M(ansible.builtin.slurp) returns them, each with C(source) and C(content).
      - Where two say something about one key, the first one counts.
      - JSON, and YAML in a file whose name ends in C(.yaml) or C(.yml).
    type: list
    elements: dict
    required: true
seealso:
  - module: nexcage.backends.nexcage_config_info
"""

EXAMPLES = r"""
---
- name: Read the configuration
  ansible.builtin.slurp:
    src: /etc/nexcage/config.json
  register: found
  no_log: true

- name: See what becomes of it
  ansible.builtin.debug:
    msg: "{{ ([found] | nexcage.backends.migration).lines }}"
"""

RETURN = r"""
---
_value:
  description: What becomes of the files. There is no secret in it.
  type: dict
  contains:
    text:
      description: The variables as a YAML file. Secrets are asked from variables whose names begin with C(vault_nexcage_).
      type: str
    report:
      description: One entry for each key of each file.
      type: list
      elements: dict
      contains:
        key:
          description: The key, with dots.
          type: str
        source:
          description: The file.
          type: str
        action:
          description: V(taken over), V(changed) or V(without effect).
          type: str
        becomes:
          description: The variable. Empty if there is none.
          type: str
        note:
          description: What changed, or why the key has no effect.
          type: str
    lines:
      description: The report for a reader.
      type: list
      elements: str
"""

import base64
import binascii
import json
import typing as t

import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.migration import Entry, Template, migrate

LARGEST = 1 << 20  # bytes; NexCage reads no more either


class _Text(str):
    """A text that Ansible must not take for an expression."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Reads YAML without aliases: a small file could stand for a large one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node of the file."""
        if self.check_event(yaml.AliasEvent):  # type: ignore[no-untyped-call]
            raise yaml.YAMLError("it has aliases (*name), which are not read")
        return t.cast("yaml.Node | None", super().compose_node(parent, index))  # type: ignore[no-untyped-call]


class _Dumper(yaml.SafeDumper):
    """YAML as people write it, for Ansible."""

    def ignore_aliases(self, _data: object) -> bool:
        """Write everything out."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Indent lists too."""
        super().increase_indent(flow, False)  # type: ignore[no-untyped-call]


yaml.add_representer(Template, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'), Dumper=_Dumper)
yaml.add_representer(_Text, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text), style='"'), Dumper=_Dumper)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Name to function."""
        return {"migration": migration}


def migration(files: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """The variables as YAML, and what became of each key.

    Ansible makes an error of the filter of whatever it raises. An import of Ansible's own errors would turn every process
    that imports this file into a controller.

    Raises:
        NexcageError: ``E_STATE`` naming the file, ``E_INVALID`` naming the key.
    """
    if not isinstance(files, list) or not all(isinstance(file, dict) and {"source", "content"} <= set(file) for file in files):
        raise NexcageError(
            "E_INVALID", "it is no list of files, each with source and content", option="migration", remedy="give what ansible.builtin.slurp returned"
        )
    contents = [(str(file["source"]), _content(str(file["source"]), str(file["content"]))) for file in files]
    result = migrate(contents)
    head = "---\n# From " + ", ".join(json.dumps(source) for source, _content_of in contents) + " by nexcage.backends.migration.\n"
    body = yaml.dump(_marked(result.variables), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) if result.variables else "{}\n"
    return {"text": head + body, "report": [entry._asdict() for entry in result.report], "lines": [_line(entry) for entry in result.report]}


def _content(source: str, encoded: str) -> dict[str, t.Any]:
    """The mapping in one file."""
    try:
        data = base64.b64decode(encoded, validate=True)
        if len(data) > LARGEST:
            raise ValueError(f"it has {len(data)} bytes, and {LARGEST} are allowed")
        content = yaml.load(data, _Loader) if source.endswith((".yaml", ".yml")) else json.loads(data, object_pairs_hook=_unique)
    except (ValueError, binascii.Error, yaml.YAMLError, RecursionError) as error:
        raise _unreadable(source, _safe(error)) from None  # the cause shows pieces of the file
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in _names(content)):
        raise _unreadable(source, "it is no mapping of names")
    return content


def _unreadable(source: str, problem: str) -> NexcageError:
    return NexcageError("E_STATE", f"{source} cannot be read as a configuration file: {problem}", remedy="correct the file")


def _unique(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    """A mapping of a file; nobody could tell which of two values counts."""
    names = [name for name, _value in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the key {name} stands there twice")
    return dict(pairs)


def _safe(error: Exception) -> str:
    """What is wrong, without a piece of the file, which may hold secrets."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _names(content: t.Mapping[t.Any, t.Any]) -> t.Iterator[t.Any]:
    """All keys of a mapping and of those in it."""
    waiting: list[t.Mapping[t.Any, t.Any]] = [content]
    while waiting:
        for name, value in waiting.pop().items():
            yield name
            if isinstance(value, dict):
                waiting.append(value)


def _marked(value: t.Any) -> t.Any:
    """The value with every text marked that only looks like an expression."""
    if isinstance(value, dict):
        return {str(name): _marked(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_marked(entry) for entry in value]
    if isinstance(value, str) and not isinstance(value, Template) and any(mark in value for mark in ("{{", "{%", "{#")):
        return _Text(value)
    return value


def _line(entry: Entry) -> str:
    """One entry for a reader."""
    return f"{entry.action}: {entry.key}" + (f" -> {entry.becomes}" if entry.becomes else "") + (f" ({entry.note})" if entry.note else "")
