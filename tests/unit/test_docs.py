# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation says what the code does: generated pages, option by option, and links that lead somewhere."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.manager import registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import manifest, options, version
from ansible_collections.nexcage.backends.plugins.modules import nexcage_plugin_package
from ansible_collections.nexcage.backends.tools import generate_docs

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", sorted(generate_docs.pages()))
def test_generated_pages_are_current(path: str) -> None:
    assert (ROOT / path).read_text() == generate_docs.pages()[path], "run: make docs"


def test_every_option_has_its_entry_for_those_who_come_from_podman_or_docker() -> None:
    peers = yaml.safe_load((ROOT / "docs/data/peers.yml").read_text())["options"]
    assert set(peers) == {"name", *options.BY_NAME}


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_the_manifest_of_a_built_in_plugin_is_one_that_anybody_could_ship(name: str) -> None:
    text = (ROOT / f"docs/plugins/{name}/plugin.json").read_text()
    parsed = manifest.parse_manifest(text).as_dict()
    assert manifest.check_manifest(parsed).as_dict() == parsed
    assert {key: parsed[key] for key in ("name", "version", "capabilities", "operations", "resource_requirements")} == {
        key: json.loads(text)[key] for key in ("name", "version", "capabilities", "operations", "resource_requirements")
    }


def test_the_table_of_floors_is_about_the_folders_that_there_are() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The floors")[2].partition("\n## ")[0]
    (absent,) = re.findall(r"^(.*) do not exist yet", page, re.MULTILINE)
    missing = set(re.findall(r"`(\w+)`", absent))
    (face,) = re.findall(r"^\| 6 \| (.*) \| no \|$", page, re.MULTILINE)
    there = {path.name for path in (ROOT / "plugins").iterdir() if path.is_dir() and not path.name.startswith("_")}
    assert set(re.findall(r"`(\w+)`", face)) - missing == there - {"module_utils", "doc_fragments"}
    assert missing and not missing & there


def test_an_author_is_told_what_he_needs() -> None:
    page = (ROOT / "docs/writing-a-plugin.md").read_text()
    needs = page.partition("## What you need")[2].partition("\n## ")[0]
    documented = yaml.safe_load(nexcage_plugin_package.DOCUMENTATION)["requirements"]
    for library in ("pytest", "jsonschema"):
        assert f"`{library}`" in needs and any(line.startswith(library) for line in documented), library
    assert f"`{version.COMPATIBILITY_LEVEL}` today" in page.partition("## Versions\n")[2]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
