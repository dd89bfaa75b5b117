# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of a command from the operator's task."""

from __future__ import annotations

import base64
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import foreign_words, options
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support.samples import SAMPLES


def entry(*argv: str, **parameters: t.Any) -> dict[str, t.Any]:
    return {"argv": list(argv), "parameters": parameters}


def words(argument: str, value: t.Any, form: str | None = None, name: str = "memory", kind: str = "option") -> list[str]:
    rule = {"type": kind, "option": name, **({"form": form} if form else {})}
    source = {name: value} if value is not None else {}
    return foreign_words.arguments(entry("a", argument, "{x}", value=rule, x={"type": "uint"}), {"x": "7"}, source, source)[1:-1]


@pytest.mark.parametrize(
    ("argument", "value", "form", "expected"),
    [
        ("--m={value}", 5, None, ["--m=5"]),
        ("--m={value}", None, None, []),
        ("--m={value}-{x}", 5, None, ["--m=5-7"]),
        ("--flag={value}", True, None, ["--flag=true"]),
        ("--flag={value}", False, None, ["--flag=false"]),
        ("--env={value}", {"A": "b c", "B": "$(x)"}, None, ["--env=A=b c", "--env=B=$(x)"]),
        ("--env={value}", {}, None, []),
        ("{value}", ["-c", "{x}", ""], None, ["-c", "{x}", ""]),
        ("{value}", ["a", "b"], "json", ['["a","b"]']),
        ("--cpus={value}", 150000, "cpus", ["--cpus=1.5"]),
        ("--cpus={value}", -1, "cpus", ["--cpus=0"]),
        ("--memory={value}", -1, "limit", ["--memory=0"]),
        ("--memory={value}", 5, "limit", ["--memory=5"]),
        ("--ulimit={value}", {"nofile": [1, 2]}, None, ["--ulimit=nofile=1:2"]),
    ],
)
def test_words(argument: str, value: t.Any, form: str | None, expected: list[str]) -> None:
    assert words(argument, value, form) == expected


def test_a_value_is_no_option_of_the_program() -> None:
    assert words("{value}", "image") == ["image"] and words("--image={value}", "-v") == ["--image=-v"]
    with pytest.raises(NexcageError) as caught:
        words("{value}", "-v/:/host", name="image")
    assert (caught.value.code, caught.value.option, caught.value.value) == ("E_INVALID", "image", "-v/:/host")


def test_the_process_of_an_exec() -> None:
    made = entry("{argv}", "--user={user}", "--image={image}", argv={"type": "process"}, user={"type": "process"}, image={"type": "option"})
    assert foreign_words.arguments(made, {}, {"user": "root", "image": "i"}, {"argv": ["a"], "user": None, "image": "j"}) == ["a", "--image=i"]


def test_mounts() -> None:
    mount = {"type": "bind", "source": "/a b", "target": "/t", "read_only": True, "options": ["bind", "nosuid", "rslave"]}
    made = "--mount=type=bind,source=/a b,target=/t,readonly=true,bind-nonrecursive=true,nosuid,bind-propagation=rslave"
    assert words("--mount={value}", [mount], name="mounts") == [made]
    tmpfs = {"type": "tmpfs", "source": None, "target": "/t", "read_only": False, "options": ["mode=0700", "size=1m"]}
    assert words("--mount={value}", [tmpfs], name="mounts") == ["--mount=type=tmpfs,target=/t,tmpfs-mode=0700,tmpfs-size=1m"]
    assert words("--mount={value}", [{**tmpfs, "options": ["rbind"]}], name="mounts") == ["--mount=type=tmpfs,target=/t"]
    for item in ("uid=5", "nr_inodes=1k", "strictatime"):
        with pytest.raises(NexcageError) as caught:
            words("--mount={value}", [{**tmpfs, "options": [item]}], name="mounts")
        assert (caught.value.code, caught.value.option, caught.value.value) == ("E_UNSUPPORTED", "mounts", item)
    for change in ({"source": "/a,ro=false"}, {"target": '/"'}, {"target": "/a\nb"}):
        with pytest.raises(NexcageError) as caught:
            words("--mount={value}", [{**mount, **change}], name="mounts")
        assert (caught.value.code, caught.value.option) == ("E_UNSUPPORTED", "mounts")


VALUES = {name: sample.first for name, sample in SAMPLES.items() if not callable(sample.first)}


@pytest.mark.parametrize("name", sorted(option.name for option in options.SPEC_OPTIONS if option.name in VALUES and not option.sensitive))
def test_every_option_has_words(name: str) -> None:
    value = options.container_spec({"name": "web", name: VALUES[name]}).values[name]
    made = foreign_words.texts(name, value)
    assert made and all(isinstance(word, str) and word for word in made)


def test_standard_input() -> None:
    def given(kind: str | None, secrets: dict[str, str], process: dict[str, t.Any]) -> bytes | None:
        return foreign_words.standard_input({"stdin": kind} if kind else {}, secrets, process)

    assert given(None, {"A": "b"}, {}) is None
    assert given("secret_env", {"A": "b c", "C": "d"}, {}) == b"A=b c\nC=d\n"
    assert given("secret_env", {}, {}) == b""
    assert given("secret_env", {"A": "b"}, {"argv": ["x"], "secret_env": {"C": "d"}}) == b"C=d\n"  # an exec has its own
    assert given("input", {}, {"stdin": base64.b64encode(b"\0x").decode()}) == b"\0x"
    assert given("input", {}, {"stdin": None}) is None and given("input", {"A": "b"}, {}) is None
    for value in ("a\nB=c", "a\rb"):
        with pytest.raises(NexcageError) as caught:
            given("secret_env", {"A": value}, {})
        assert caught.value.code == "E_UNSUPPORTED" and value not in str(caught.value)
