# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/errors.md, from docs/data/errors.yml."""

from __future__ import annotations

import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import REMEDIES

HEAD = """
# Error codes

A module that fails says in `msg` what is wrong, where, and what to do. The same stands in `error`, for a playbook to
decide by:

| key | holds |
|---|---|
| `code` | one of the codes below; a code keeps its meaning from release to release, a message may change |
| `message` | one sentence that says what is wrong |
| `option`, `value` | the option at fault, or the field of a manifest, and its value; without an option, the file, plugin or program that it is about |
| `remedy` | what to do |
| `details` | more facts: `file`, `plugin`, the `rule` of a policy, the `grant` block to paste, the last lines of a plugin's `stderr` |

<!-- example: rescue -->
```yaml
- name: Make it, and say what to do where that fails
  block:
    - name: Run it
      nexcage.backends.nexcage_container:
        name: web
        image: oci:/srv/images/web:1
        memory: 12potatoes
  rescue:
    - name: Say what to do
      ansible.builtin.debug:
        msg: "{{ ansible_failed_result.error.code }}: {{ ansible_failed_result.error.remedy }}"
```

`E_LOCKED` and `E_TIMEOUT` are the two that may be gone when the same task is tried again:
`until: result.error.code | default('') not in ['E_LOCKED', 'E_TIMEOUT']`. All others stay until somebody does what the
remedy says.

## What each means
"""
EXAMPLES = """
## How each looks

One message of each code, as the tests provoke it by a task. An ellipsis stands for what differs from host to host.
"""


def page(documented: t.Mapping[str, t.Mapping[str, str]], table: t.Callable[..., str]) -> str:
    """The page, in the order of ``REMEDIES``.

    Args:
        documented: What docs/data/errors.yml says of each code.
        table: Makes a Markdown table of head and rows.
    """
    rows = [(f'<a id="{code.lower()}"></a>`{code}`', documented[code]["means"], documented[code]["do"]) for code in REMEDIES]
    messages = "\n".join(f"{code}\n    {documented[code]['example']}" for code in REMEDIES)
    return HEAD + "\n" + table(["code", "what is wrong", "what to do"], rows) + EXAMPLES + "\n```text\n" + messages + "\n```\n"
