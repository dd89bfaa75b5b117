# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pages of docs/ that come from code and data; a test holds them equal to what this gives.

python tools/generate_docs.py [--check]
"""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

import yaml
from ansible_collections.nexcage.backends.plugins.doc_fragments.container import ModuleDocFragment
from ansible_collections.nexcage.backends.plugins.module_utils.backends import crun, runc
from ansible_collections.nexcage.backends.plugins.module_utils.model import capability_table, options, schema
from ansible_collections.nexcage.backends.tests.support import cases
from ansible_collections.nexcage.backends.tools import cases_page, configuration_page, errors_page, hooks_page, host_page

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTE = "<!--\nCopyright (c) 2026 NexCage contributors\nSPDX-License-Identifier: GPL-3.0-or-later\nWritten by tools/generate_docs.py.\n-->\n"


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[object]]) -> str:
    """A Markdown table."""
    return row(*head) + row(*("---" for _column in head)) + "".join(row(*cells) for cells in rows)


def code(text: object) -> str:
    """A name in Markdown; nothing for nothing."""
    return f"`{text}`" if text else ""


def names(text: str) -> str:
    """Several names in Markdown; one with a value is one."""
    return code(text) if ":" in text else ", ".join(map(code, text.split(", ")))


def effect(option: options.Option) -> str:
    """What a changed value does; the short forms are part of an option that makes the container anew."""
    if option.parse is None and option.name not in ("env_file", "volumes", "tmpfs"):
        return ""
    return "live" if option.live else "makes the container anew"


def option_support() -> str:
    """What each option is, and which backend supports it."""
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    rows = [
        (
            code(option.name),
            ", ".join(code(alias) for alias in option.aliases),
            documented[option.name]["type"],
            *("yes" if backend in option.backends else "no" for backend in options.OCI),
            effect(option),
            "yes" if option.sensitive else "",
        )
        for option in options.OPTIONS
    ]
    return (
        NOTE
        + "\n# Options and backends\n\nWhich option of `nexcage_container` works on which backend, and what a changed value does. The texts are in\n"
        + "`ansible-doc nexcage.backends.nexcage_container`.\n\n"
        + table(["option", "aliases", "type", *options.OCI, "a changed value", "secret"], rows)
        + "\nAn option that a backend does not support is an error before anything changes.\n"
    )


def coming_from() -> str:
    """Option by option from podman and docker."""
    peers = yaml.safe_load((ROOT / "docs/data/peers.yml").read_text())
    rows = [(code(name), code(entry.get("podman")), code(entry.get("docker")), entry.get("note", "")) for name, entry in peers["options"].items()]
    return (
        NOTE
        + "\n# Coming from podman and docker\n\nWhat `containers.podman.podman_container` and `community.docker.docker_container` call the options of\n"
        + "`nexcage_container`, and what differs. An empty cell: there is none. A task with an option that only these two have is\n"
        + "refused with what to do [instead](#what-there-is-not-and-what-to-do-instead), and one with any other by Ansible, as\n"
        + "`Unsupported parameters`.\n\n"
        + table(["here", "podman", "docker", "mind"], rows)
        + "\n## What there is not, and what to do instead\n\n"
        + table(["there", "here"], [(names(entry["option"]), entry["instead"]) for entry in peers["missing"]])
        + "\n## Modules\n\n"
        + table(["there", "here"], [(names(entry["there"]), entry["here"]) for entry in peers["modules"]])
        + "\n## Habits\n\n"
        + table(["there", "here"], peers["habits"])
    )


def pages() -> dict[str, str]:
    """Path below the repository and content of every generated file."""
    manifests = {f"docs/plugins/{p.MANIFEST['name']}/plugin.json": json.dumps(p.MANIFEST, indent=2) + "\n" for p in (crun, runc)}
    return {
        "docs/option-support.md": option_support(),
        "docs/capabilities.md": capability_table.page(),
        "docs/adversarial.md": NOTE + cases_page.page(yaml.safe_load((ROOT / "docs/data/cases.yml").read_text()), cases.collected(), table),
        "docs/configuration.md": NOTE + configuration_page.page(table, code),
        "docs/errors.md": NOTE + errors_page.page(yaml.safe_load((ROOT / "docs/data/errors.yml").read_text()), table),
        "docs/hooks.md": NOTE + hooks_page.page(table, code),
        "docs/host-calls.md": NOTE + host_page.page(table),
        "docs/coming-from-podman-and-docker.md": coming_from(),
        "docs/plugins/plugin.schema.json": json.dumps(schema.json_schema(), indent=2) + "\n",
        **manifests,
    }


def main(arguments: t.Sequence[str]) -> int:
    """Write the pages; with ``--check`` only say which differ."""
    differing = [path for path, text in pages().items() if not (ROOT / path).exists() or (ROOT / path).read_text() != text]
    for path in differing:
        print(path)
        if "--check" not in arguments:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(pages()[path])
    return 1 if differing and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
