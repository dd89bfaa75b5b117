# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of the plugin interface: one vocabulary behind the gate, whatever a plugin of a version says."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import version
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import check_manifest
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import versions
from ansible_collections.nexcage.backends.tests.support import api_two, packages


def broker(seen: list[tuple[str, t.Any]]) -> versions.Handler:
    def handle(name: str, params: dict[str, t.Any]) -> t.Any:
        seen.append((name, params))
        return [{"name": "web"}]

    return handle


def plugin(*calls: tuple[str, dict[str, t.Any]], answer: t.Any = None) -> versions.Request:
    """A worker whose plugin makes these calls and answers what they gave, or something else."""

    def request(operation: str, params: dict[str, t.Any], handler: versions.Handler, deadline_s: float) -> t.Any:
        given = [handler(name, arguments) for name, arguments in calls]
        return {"operation": operation, "params": params, "given": given} if answer is None else answer

    return request


def test_what_is_served_is_what_manifests_may_say() -> None:
    assert tuple(versions.SERVED) == version.API_VERSIONS and all(number == api.number for number, api in versions.SERVED.items())


def test_version_1_is_not_touched() -> None:
    request = plugin()
    assert versions.of({"api_version": 1}).asking(request) is request and versions.of({"api_version": 1}).program("x.") == {}


def test_calls_have_other_names_and_shapes() -> None:
    seen: list[tuple[str, t.Any]] = []
    ask = api_two.api().asking(plugin(("oci.containers", {"only": []}), ("oci.containers", {"only": ["web"]}), ("log", {"level": "info"})))
    assert ask("list", {"names": None}, broker(seen), 1.0)["given"][:2] == [{"web": {"name": "web"}}] * 2
    assert seen == [("oci.list", {"names": None}), ("oci.list", {"names": ["web"]}), ("log", {"level": "info"})]


def test_operations_have_other_parameters_and_answers() -> None:
    ask = api_two.api().asking(plugin(answer={"ended": {"rc": 0}}))
    assert ask("exec", {"name": "web"}, broker([]), 1.0) == {"rc": 0}
    told = versions.Api(2, operations={"exec": versions.Translated("run", lambda params: {"container": params["name"]})}).asking(plugin())
    assert told("exec", {"name": "web"}, broker([]), 1.0) == {"operation": "run", "params": {"container": "web"}, "given": []}
    assert told("start", {"name": "web"}, broker([]), 1.0)["operation"] == "start"


def test_the_other_versions_name_is_no_way_in() -> None:
    seen: list[tuple[str, t.Any]] = []
    with pytest.raises(NexcageError) as caught:
        api_two.api().asking(plugin(("oci.list", {"names": None})))("list", {}, broker(seen), 1.0)
    assert caught.value.code == "E_CAPABILITY" and "plugin API 2 has no call oci.list" in caught.value.message and seen == []


@pytest.mark.parametrize("params", [{}, {"names": []}])
def test_parameters_of_the_other_version(params: dict[str, t.Any]) -> None:
    seen: list[tuple[str, t.Any]] = []
    with pytest.raises(NexcageError) as caught:
        api_two.api().asking(plugin(("oci.containers", params)))("list", {}, broker(seen), 1.0)
    assert caught.value.code == "E_INVALID" and "oci.containers" in caught.value.message and seen == []


@pytest.mark.parametrize("answer", [[], "text", {"rc": 0}, 5])
def test_an_answer_of_another_shape(answer: t.Any) -> None:
    with pytest.raises(NexcageError) as caught:
        api_two.api().asking(plugin(answer=answer))("exec", {"name": "web"}, broker([]), 1.0)
    assert caught.value.code == "E_PLUGIN" and "exec is none of plugin API 2" in caught.value.message


def test_an_unknown_version_is_refused_with_what_is_served() -> None:
    with pytest.raises(NexcageError) as caught:
        check_manifest(packages.manifest(api_version=2))
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_VERSION", "api_version", 2)
    assert "plugin API 1" in caught.value.message and caught.value.remedy
    with api_two.served():
        assert check_manifest(packages.manifest(api_version=2))["api_version"] == 2
        assert versions.of({"api_version": 2}).program("base.").keys() == {"base.sdk.host"}
        with pytest.raises(NexcageError) as caught:
            check_manifest(packages.manifest(api_version=3))
        assert "plugin API 1, 2" in caught.value.message
