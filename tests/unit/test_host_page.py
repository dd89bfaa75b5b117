# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/host-calls.md has every call of a plugin, and what the SDK says of calls is what the broker answers."""

from __future__ import annotations

import inspect
import pathlib
import re
import types
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import handlers
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import features, observe
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import EFFECTS
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import REMEDIES
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import host
from ansible_collections.nexcage.backends.tools import host_page

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "docs/host-calls.md").read_text()
METHODS = [(name, method) for name, part in host_page.PARTS for method in host_page.methods(part)]


def quoted(of: object) -> set[str]:
    """What a docstring names between quotes, without examples of values in parentheses."""
    return set(re.findall(r'"(\w+)"', re.sub(r"\([^)]*\)", "", inspect.getdoc(of) or "")))


def test_every_call_of_the_broker_is_there() -> None:
    told = {f"{name}.{method}" for name, method in METHODS} | {"log"}
    assert told == set(EFFECTS) | {call for call in EXTRA if not call.startswith("proxmox")}
    assert all(f"`host.{call}(" in PAGE for call in told)


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_every_parameter_is_one_of_the_broker(name: str, method: str) -> None:
    function = host_page.methods(dict(host_page.PARTS)[name])[method]
    effect = EFFECTS.get(f"{name}.{method}") or EXTRA[f"{name}.{method}"]
    assert list(inspect.signature(function).parameters)[1:] == list(effect.parameters)
    assert host_page.text(function).says and inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_every_part_tells_its_errors_and_no_made_up_ones() -> None:
    assert all(host_page.text(part).errors for _name, part in host_page.PARTS)
    codes = set(re.findall(r"\bE_[A-Z_]+", PAGE))
    assert codes and codes <= set(REMEDIES)


def test_a_record_is_what_the_broker_gives() -> None:
    given = set(re.findall(r'^        "(\w+)":', inspect.getsource(observe.describe), re.MULTILINE))
    assert len(given) > 15 and quoted(host.Oci) == given


def test_the_features_are_those_of_the_runtime() -> None:
    found = re.findall(r'result\["(\w+)"\] =|"(\w+)": ', inspect.getsource(features.probe))
    assert quoted(host.Oci.features) <= {name for pair in found for name in pair}


def test_an_image_is_answered_for_as_it_says() -> None:
    class Images:
        def ensure(self, reference: str, pull: str, **_rest: t.Any) -> dict[str, t.Any]:
            return {"digest": "sha256:0", "changed": True, "path": "/secret", "config": {}}

    order = handlers.Order(ContainerSpec({"image": "oci:/x"}))
    bench = t.cast("handlers.Workbench", types.SimpleNamespace(orders={"web": order}, images=Images(), digests={}))
    answer = handlers.write_handlers(bench)["image.ensure"]({"reference": "oci:/x", "pull": "missing"})
    assert quoted(host.Image.ensure) == set(answer) == {"digest", "changed"}
