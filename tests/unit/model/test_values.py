# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of value: what is accepted, its canonical form, and the refusals with their remedies."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model import values
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st


def refusal(parse: t.Callable[[str, t.Any], t.Any], value: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        parse("option", value)
    assert caught.value.code == "E_INVALID"
    assert caught.value.option is not None and caught.value.option.startswith("option")
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64MiB", 64 << 20),
        ("64mb", 64 << 20),
        ("1.5g", 3 << 29),
        ("5368709120", 5 << 30),
        (8388608, 8 << 20),
        ("1t", 1 << 40),
        ("-1", -1),
        ("unlimited", -1),
        (" 16m ", 16 << 20),
    ],
)
def test_memory(text: object, expected: int) -> None:
    assert values.memory("memory", text) == expected


@pytest.mark.parametrize("value", ["12potatoes", "", "m", "-5m", "1,5g", "0x10m", True, None, "64 mm", "1e3", "nan"])
def test_memory_refuses(value: object) -> None:
    error = refusal(values.memory, value)
    assert error.value == value and str(error.remedy).endswith(", or -1 for no limit")


def test_a_reference_is_not_empty() -> None:
    assert refusal(values.reference, "").message == refusal(values.reference, " ").message == "is empty"
    assert values.reference("image", "oci:/x") == "oci:/x"


def test_a_user_is_not_empty() -> None:
    for value in ("", " "):
        assert refusal(values.user, value).remedy == "name a user, or leave the option out"
    assert values.user("user", 0) == "0" and values.user("user", "www-data:adm") == "www-data:adm"
    assert "leave the option out" in str(refusal(values.hostname, "").remedy)


def test_text_that_is_no_unicode() -> None:
    assert "Unicode" in refusal(values.text, "\udcff").message
    assert values.text("env.A", "grün 😀") == "grün 😀"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("export C", "remove export"), ("export\tC", "remove export"), (" C", "white space"), ("C ", "white space"), ("a\u00a0b", "white space")],
)
def test_the_name_of_a_variable_has_no_white_space(name: str, remedy: str) -> None:
    error = refusal(values.environment, {"A": "1", name: "2"})
    assert error.value == name and "white space" in error.message and remedy in str(error.remedy)
    assert refusal(values.secret_mapping, {name: "2"}).value is None
    assert values.mapping("labels", {name: "2"}) == {name: "2"}  # a label may be called so


def test_too_little_memory() -> None:
    assert "at least 4m" in refusal(values.memory, "1m").remedy


@pytest.mark.parametrize(("value", "expected"), [("1", 100000), ("0.5", 50000), (2.25, 225000), ("0.01", 1000), (1024, 102400000), ("0", -1), (-1, -1)])
def test_cpus(value: object, expected: int) -> None:
    assert values.cpus("cpus", value) == expected


@pytest.mark.parametrize("value", ["-2", "two", "nan", "inf", "1025", "0.001", ""])
def test_cpus_refuses(value: object) -> None:
    refusal(values.cpus, value)


@pytest.mark.parametrize(("value", "expected"), [("3,0-1", "0-1,3"), ("0", "0"), ("0,1,2,5", "0-2,5"), ("1-1", "1"), ("0-3,2", "0-3")])
def test_cpu_set(value: str, expected: str) -> None:
    assert values.cpu_set("cpuset_cpus", value) == expected


@pytest.mark.parametrize("value", ["", "a", "3-1", "1,,2", "-1", "0-", "99999"])
def test_cpu_set_refuses(value: str) -> None:
    refusal(values.cpu_set, value)


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_cpu_set_says_what_was_given(numbers: set[int]) -> None:
    canonical = values.cpu_set("cpuset_cpus", ",".join(map(str, numbers)))
    expanded: set[int] = set()
    for part in canonical.split(","):
        first, _dash, last = part.partition("-")
        expanded.update(range(int(first), int(last or first) + 1))
    assert expanded == numbers
    assert values.cpu_set("cpuset_cpus", canonical) == canonical


def test_whole_numbers() -> None:
    check = values.whole(2, 10)
    assert check("option", "7") == 7
    for value in (1, 11, "x", True, None, 2.5):
        refusal(check, value)


def test_pids_limit() -> None:
    assert [values.pids_limit("pids_limit", value) for value in (0, -1, 5)] == [-1, -1, 5]
    refusal(values.pids_limit, -2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("SIGTERM", 15), ("term", 15), (9, 9), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGRTMIN", 34), ("SIGSYS", 31)],
)
def test_signal(value: object, expected: int) -> None:
    assert values.signal_number("stop_signal", value) == expected


@pytest.mark.parametrize("value", ["SIGNOPE", 0, 65, 32, "", "RTMIN+99", "-9"])
def test_signal_refuses(value: object) -> None:
    refusal(values.signal_number, value)


def test_text() -> None:
    assert values.text("option", 8080) == "8080"
    for value, message in (
        (True, "a boolean where text is needed"),
        (1.5, "a fraction where text is needed"),
        (None, "nothing is given where text is needed"),
        (["a"], "a list where text is needed"),
        ({"a": "b"}, "a mapping where text is needed"),
        ("a\0b", "contains a NUL byte"),
    ):
        error = refusal(values.text, value)
        assert error.message == message
        assert (error.remedy == "give a value, in quotes") is (value is None or isinstance(value, (list, dict)))


@pytest.mark.parametrize(("value", "expected"), [("/a//b/", "/a/b"), ("/", "/"), ("/a/./b", "/a/b")])
def test_absolute_path(value: str, expected: str) -> None:
    assert values.absolute_path("working_dir", value) == expected


@pytest.mark.parametrize("value", ["a", "", "/a/../b", "../x", "/a\0"])
def test_absolute_path_refuses(value: str) -> None:
    refusal(values.absolute_path, value)


def test_argument_vector() -> None:
    assert values.argument_vector("command", "sh -c 'a b'") == ["sh", "-c", "a b"]
    assert values.argument_vector("command", ["a b", 3]) == ["a b", "3"]
    assert values.argument_vector("command", []) == []
    assert "quotation" in refusal(values.argument_vector, "sh 'x").remedy
    refusal(values.argument_vector, ["x", True])


def test_mapping() -> None:
    assert list(values.mapping("env", {"B": 1, "A": "x"}).items()) == [("A", "x"), ("B", "1")]
    error = refusal(values.mapping, {"DEBUG": True})
    assert error.option == "option.DEBUG" and "quotes" in error.remedy and error.value is True
    for value in ("x", {"": "a"}, {"a=b": "c"}, {"A": None}, {"A": 1.0}):
        refusal(values.mapping, value)


def test_capability_set() -> None:
    assert values.capability_set("cap_add", ["cap_net_admin", "CHOWN", "chown"]) == ["CHOWN", "NET_ADMIN"]
    assert values.capability_set("cap_add", ["chown", "all"]) == ["ALL"]
    refusal(values.capability_set, ["NET_ADMINISTRATOR"])


def test_ulimits() -> None:
    assert values.ulimits("ulimits", ["nofile=1:2", "core:0", "NPROC=-1"]) == {"nofile": [1, 2], "core": [0, 0], "nproc": [-1, -1]}
    for value in ("nofile", "nope=1", "nofile=3:2", "nofile=-1:5", "nofile=x"):
        refusal(values.ulimits, [value])
    assert "twice" in refusal(values.ulimits, ["core=0", "core=1"]).message


def test_mount_forms_mean_the_same() -> None:
    typed = [{"type": "bind", "source": "/s", "target": "/t", "read_only": True}]
    assert values.mounts(typed, [], []) == values.mounts([], ["/s:/t:ro"], [])
    assert values.mounts([{"type": "tmpfs", "target": "/x", "options": ["size=1m"]}], [], []) == values.mounts([], [], ["/x:size=1m"])
    assert [mount["target"] for mount in values.mounts(typed, ["/s:/a"], ["/m"])] == ["/a", "/m", "/t"]


@pytest.mark.parametrize("value", ["a", "name:/t", "/s", "/s:/t:ro:x", "/s:t", "/s:/", "/s:/t:z", "/s:/t:size=1m", "/s/../x:/t"])
def test_volume_refuses(value: str) -> None:
    refusal(values.volume, value)


@pytest.mark.parametrize("value", ["tmp", "/t:bind", "/", "/t:size=x"])
def test_tmpfs_refuses(value: str) -> None:
    refusal(values.tmpfs, value)


@pytest.mark.parametrize("value", [{"target": "/t"}, {"type": "tmpfs", "target": "/t", "source": "/s"}, {"source": "/s", "target": None}])
def test_mount_refuses(value: dict[str, t.Any]) -> None:
    refusal(values.mount, value)


def test_two_mounts_on_one_target() -> None:
    with pytest.raises(NexcageError, match="two mounts on one target"):
        values.mounts([], ["/a:/t"], ["/t/"])


def test_small_words() -> None:
    assert values.network_mode("network_mode", "host") == "host"
    refusal(values.network_mode, "bridge")
    assert [values.seccomp_profile("s", value) for value in ("default", "unconfined", "/p.json")] == ["default", "unconfined", "/p.json"]
    remedy = str(refusal(values.seccomp_profile, "strict").remedy)
    assert remedy == "write default, unconfined, or the path of a profile: write a path that starts with / and has no '..'"
    assert values.hostname("hostname", "web-1.example") == "web-1.example"
    for value in ("-x", "a_b", "", "a" * 65, "a..b"):
        refusal(values.hostname, value)
    assert values.flag("init", 1) is True
    assert values.name_set("groups", ["b", "a", "b"]) == ["a", "b"]


def test_for_a_reader() -> None:
    assert [values.show_size(number) for number in (-1, 64 << 20, 3 << 30, 1 << 40, 2048, 1000)] == [
        "unlimited",
        "64 MiB",
        "3 GiB",
        "1 TiB",
        "2 KiB",
        "1000 B",
    ]
    assert values.show_cpus(150000) == "1.5" and values.show_cpus(-1) == "unlimited"
    shown = {number: values.show_signal(number) for number in (1, 2, 15, 31, 34, 37, 60, 64)}
    assert list(shown.values()) == ["SIGHUP", "SIGINT", "SIGTERM", "SIGSYS", "SIGRTMIN", "SIGRTMIN+3", "SIGRTMAX-4", "SIGRTMAX"]
    assert all(values.signal_number("stop_signal", name) == number for number, name in shown.items())
    assert values.show_count(5) == 5 and values.show_count(-1) == "unlimited"


@given(st.integers(4 << 20, 1 << 50))
def test_a_size_in_bytes_is_itself(number: int) -> None:
    assert values.memory("memory", number) == number == values.memory("memory", str(number))


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text())))
def test_nothing_but_refusals(value: object) -> None:
    """Whatever is typed, a parser returns a value or raises its own error."""
    for parse in (
        values.size,
        values.memory,
        values.cpus,
        values.cpu_set,
        values.pids_limit,
        values.signal_number,
        values.text,
        values.absolute_path,
        values.argument_vector,
        values.mapping,
        values.volume,
        values.tmpfs,
        values.hostname,
        values.seccomp_profile,
    ):
        try:
            parse("option", value)
        except NexcageError as error:
            assert error.code == "E_INVALID"


@pytest.mark.parametrize("value", ["hush\0", "hush\udcff", ["hush"], {"a": "hush"}, 1.25, True, None])
def test_no_error_shows_a_secret(value: object) -> None:
    with pytest.raises(NexcageError) as caught:
        values.secret_mapping("secret_env", {"TOKEN": value})
    assert caught.value.value is None and "hush" not in str(caught.value) and caught.value.option == "secret_env.TOKEN"
