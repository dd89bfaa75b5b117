# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option table: complete, consistent with the documentation, and one canonical spec from it."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.doc_fragments.container import ModuleDocFragment
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

DOCUMENTED = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
KEY = b"k" * 32


def spec(**parameters: t.Any) -> ContainerSpec:
    return options.container_spec({"name": "web", **parameters})


def test_every_row_is_documented_and_nothing_else() -> None:
    assert set(DOCUMENTED) == {"name", *options.BY_NAME}
    for option in options.OPTIONS:
        entry = DOCUMENTED[option.name]
        assert entry["type"] == option.kind, option.name
        assert tuple(entry.get("aliases", ())) == option.aliases, option.name
        assert entry.get("elements") == option.elements, option.name
        assert tuple(entry.get("choices", ())) == (option.choices or ()), option.name
        assert entry.get("default") == option.default, option.name


def test_live_options_say_so() -> None:
    for option in options.SPEC_OPTIONS:
        text = " ".join(DOCUMENTED[option.name]["description"]) if isinstance(DOCUMENTED[option.name]["description"], list) else ""
        assert ("live." in text) is option.live, option.name


def test_every_path_is_one_option() -> None:
    paths = [option.path for option in options.SPEC_OPTIONS]
    assert len(paths) == len(set(paths))
    assert all(path.rpartition(".")[2] == option.name for path, option in zip(paths, options.SPEC_OPTIONS))


def test_unset_is_unmanaged_and_empty_is_empty() -> None:
    assert spec(env=None).get("env") is None
    assert spec(env={}).get("env") == {}
    assert spec(volumes=[]).get("mounts") == []
    assert spec().values == {}


def test_aliases_of_mounts_fold_into_one_value() -> None:
    assert spec(volumes=["/a:/b"]) == spec(mounts=[{"type": "bind", "source": "/a", "target": "/b", "read_only": False, "options": None}])


def test_env_wins_over_files() -> None:
    merged = options.container_spec({"name": "web", "env": {"A": "task"}}, {"A": "file", "B": "file"})
    assert merged.get("env") == {"A": "task", "B": "file"}
    assert options.container_spec({"name": "web"}, {}).get("env") == {}


@pytest.mark.parametrize("name", ["../x", "-x", "", "a/b", "a\0", "a" * 129, ".x", "ä"])
def test_names(name: str) -> None:
    with pytest.raises(NexcageError) as caught:
        options.container_spec({"name": name})
    assert caught.value.option == "name" and caught.value.value == name


@pytest.mark.parametrize(
    ("parameters", "option"),
    [
        ({"image": "oci:/x", "bundle": "/b"}, "bundle"),
        ({"memory": "64m", "memory_swap": "32m"}, "memory_swap"),
        ({"memory": "-1", "memory_swap": "32m"}, "memory_swap"),
        ({"env": {"A": "1"}, "secret_env": {"A": "2"}}, "secret_env"),
    ],
)
def test_contradictions(parameters: dict[str, t.Any], option: str) -> None:
    with pytest.raises(NexcageError) as caught:
        spec(**parameters)
    assert caught.value.option == option and caught.value.code == "E_INVALID"


def test_unlimited_swap_needs_no_memory() -> None:
    assert spec(memory_swap="-1").get("memory_swap") == -1


def test_complete_keeps_what_is_not_given() -> None:
    recorded = spec(image="oci:/a", memory="64m", memory_swap="64m", env={"A": "1", "B": "2"})
    merged = options.complete(spec(cpus="1"), recorded)
    assert merged.get("memory") == 64 << 20 and merged.get("cpus") == 100000
    assert options.complete(spec(bundle="/b"), recorded).get("image") is None
    assert options.complete(spec(image="oci:/c"), spec(bundle="/b")).get("bundle") is None
    assert options.complete(spec(secret_env={"A": "s"}), recorded).get("env") == {"B": "2"}
    assert options.complete(spec(secret_env={"A": "1"}), spec(env={"B": "1"})).get("env") == {"B": "1"}


@pytest.mark.parametrize(
    ("given", "recorded", "option", "message", "remedy"),
    [
        (
            {"memory": "80m"},
            {"memory": "20m", "memory_swap": "40m"},
            "memory",
            "memory 80 MiB is larger than the memory_swap of 40 MiB",
            "give memory_swap too",
        ),
        ({"memory": "-1"}, {"memory": "20m", "memory_swap": "40m"}, "memory", "has to be limited beside", "give memory_swap: -1 too"),
        ({"memory_swap": "10m"}, {"memory": "20m"}, "memory_swap", "memory_swap 10 MiB is smaller than the memory of 20 MiB", "or give memory too"),
        ({"memory_swap": "10m"}, {"memory": "-1"}, "memory_swap", "needs a memory", "give memory too"),
        ({"memory_swap": "10m"}, {}, "memory_swap", "needs a memory", "give memory too"),
        ({"memory_swap": "10m"}, {"cpus": "1"}, "memory_swap", "needs a memory", "give memory too"),
    ],
)
def test_swap_and_the_memory_that_a_container_has(given: dict[str, str], recorded: dict[str, str], option: str, message: str, remedy: str) -> None:
    with pytest.raises(NexcageError) as caught:
        options.complete(spec(**given), spec(**recorded), given)
    error = caught.value
    assert (error.code, error.option, error.value) == ("E_INVALID", option, given[option])
    assert message in error.message and remedy in str(error.remedy) and "unlimited that" not in error.message


@pytest.mark.parametrize(("memory", "remedy"), [("32m", "give at least 32 MiB"), ("-1", "give memory a limit, or memory_swap: -1")])
def test_swap_beside_a_memory_in_one_task(memory: str, remedy: str) -> None:
    with pytest.raises(NexcageError) as caught:
        spec(memory=memory, memory_swap="16m")
    error = caught.value
    assert (error.option, error.value) == ("memory_swap", "16m") and remedy in str(error.remedy) and "too" not in str(error.remedy)


def test_swap_alone_where_the_container_has_a_memory() -> None:
    assert options.complete(spec(memory_swap="40m"), spec(memory="20m")).values == {"memory": 20 << 20, "memory_swap": 40 << 20}
    assert options.complete(spec(memory="40m"), spec(memory="20m", memory_swap="40m")).get("memory") == 40 << 20


def test_secrets_are_shown_nowhere() -> None:
    secret = spec(secret_env={"TOKEN": "hunter2-hunter2"})
    masked = secret.masked(KEY)
    assert "hunter2" not in repr(secret) + repr(masked.values) + repr(options.public(secret))
    assert masked.masked(KEY) == masked
    assert masked.get("secret_env") != spec(secret_env={"TOKEN": "other"}).masked(KEY).get("secret_env")
    assert options.show(options.BY_NAME["secret_env"], "text") == "(secret)"


def test_a_secret_that_looks_masked_is_masked() -> None:
    assert spec(secret_env={"A": "hmac-sha256:short"}).masked(KEY).get("secret_env") != {"A": "hmac-sha256:short"}


def test_seal() -> None:
    one, two = spec(memory="64m"), spec(memory="32m")
    assert one.seal(KEY) == spec(memory="64m").seal(KEY)
    assert len({one.seal(KEY), two.seal(KEY), one.seal(b"other")}) == 3
    assert one == spec(memory="64m") and one != two and one != "x" and hash(one) == hash(spec(memory="64m"))


def test_an_option_that_a_backend_does_not_support(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tuple(option._replace(backends=("runc",)) if option.name in ("memory", "secret_env") else option for option in options.OPTIONS)
    monkeypatch.setattr(options, "OPTIONS", rows)
    options.check_supported({"name": "web", "memory": None, "cpus": "1"}, "crun")
    options.check_supported({"name": "web", "memory": "64m"}, "runc")
    with pytest.raises(NexcageError) as caught:
        options.check_supported({"name": "web", "memory": "64m"}, "crun")
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_UNSUPPORTED", "memory", "64m") and "runc" in caught.value.remedy
    with pytest.raises(NexcageError) as caught:
        options.check_supported({"name": "web", "secret_env": {"A": "s"}}, "crun")
    assert caught.value.value is None


def test_argument_spec_has_no_empty_entries() -> None:
    for name, entry in options.argument_spec().items():
        assert None not in entry.values(), name


def test_a_container_with_more_text_than_a_listing_holds() -> None:
    given = {"name": "web", "labels": {"a": "x" * 100_000}, "env": {"A": "x" * 20_000}}
    assert options.container_spec(given).get("env") == given["env"]
    with pytest.raises(NexcageError) as caught:
        options.container_spec({**given, "labels": {"a": "x" * 200_000}})
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_INVALID", "labels", None) and "128 KiB" in caught.value.message


def test_the_short_form_that_an_error_is_about() -> None:
    forms = ["/etc:/srv/files/here", "/srv/files/:/a:ro,noexec"]
    for value in ("/srv/files", "/a", "noexec"):
        assert options.short_form(forms, value) == forms[1]
    assert options.short_form(forms, "/srv/files/here") == forms[0]
    assert options.short_form(forms, "/srv") is None and options.short_form([], "/a") is None
