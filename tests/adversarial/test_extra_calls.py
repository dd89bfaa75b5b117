# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile uses of files, commands, requests, messages and results: the broker's cases 65 to 71 and 74.

A real worker at each tier asks, and a real host answers. For each refusal the same thing without the flaw passes.
"""

from __future__ import annotations

import json
import os
import pathlib
import socket
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci import runtime
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, messages
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.tests.support import web
from ansible_collections.nexcage.backends.tests.support.stranger import Stranger

pytestmark = pytest.mark.requires("linux")

TOKEN = "s3cret-token-of-the-api"
MIB = 1 << 20
TIERS = [pytest.param("strong", marks=pytest.mark.requires("root", "bwrap")), "standard"]
SHOW = {"name": "web", "path": "a/b", "number": 7, "node": "pve1", "mode": "fast"}


@pytest.fixture
def server() -> t.Iterator[web.Server]:
    with web.serving() as server:
        yield server


@pytest.fixture(params=TIERS)
def stranger(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, server: web.Server) -> Stranger:
    """A stranger's plugin on a host that offers namespaces, or none."""
    if request.param == "standard":

        def none() -> t.NoReturn:
            raise NexcageError("E_SANDBOX", "no namespaces here")

        monkeypatch.setattr(strong, "Confined", none)
    made = Stranger(tmp_path, monkeypatch, api_host="127.0.0.1", api_port=server.port, token=TOKEN)
    made.calls()
    assert made.tier == request.param
    return made


def read(path: t.Any, root: str = "data") -> tuple[str, str, dict[str, t.Any]]:
    return "fs", "read", {"root": root, "path": path}


def write(path: t.Any, content: str = "x") -> tuple[str, str, dict[str, t.Any]]:
    return "fs", "write", {"root": "data", "path": path, "content": content}


def show(**values: t.Any) -> tuple[str, str, dict[str, t.Any]]:
    return "command", "run", {"command": "show", "parameters": {**SHOW, **values}}


def get(path: str = "/v1/boxes", network: str = "api", **arguments: t.Any) -> tuple[str, str, dict[str, t.Any]]:
    return "http", "request", {"network": network, "method": "GET", "path": path, **arguments}


def unplugged(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """Addresses that were connected to; no connection comes about."""
    connected: list[t.Any] = []

    def connect(self: socket.socket, address: t.Any) -> None:
        connected.append(address)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return connected


def codes(answers: list[dict[str, t.Any]]) -> list[str]:
    return [answer.get("code", "") for answer in answers]


def test_case_65_a_file_outside_the_root(stranger: Stranger, tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (stranger.root / "in").mkdir()
    (stranger.root / "in/file").write_text("content")
    (stranger.root / "shadow").symlink_to("/etc/shadow")
    (stranger.root / "away").symlink_to("/etc")
    (stranger.root / "magic").symlink_to("/proc/self/root")
    (stranger.root / "within").symlink_to("in/file")
    by_name = [read(path) for path in ("../secret", "in/../../secret", "/etc/passwd", "in/./file", "", "..", "in//file", "a\0b")]
    by_link = [read(path) for path in ("shadow", "away/passwd", "magic/etc/passwd", "within")]
    assert codes(stranger.calls(*by_name)) == ["E_INVALID"] * len(by_name)
    assert codes(stranger.calls(*by_link)) == ["E_FS"] * len(by_link)
    assert codes(stranger.calls(("fs", "list", {"root": "data", "path": "away"}), ("fs", "stat", {"root": "data", "path": "away/passwd"}))) == ["E_FS"] * 2
    assert codes(stranger.calls(read("in/file", root="etc"))) == ["E_CAPABILITY"]
    assert stranger.calls(read("in/file"))[0]["value"] == "content"
    assert stranger.calls(("fs", "stat", {"root": "data", "path": "shadow"}))[0]["value"]["type"] == "link"


def test_case_65_a_magic_link_of_the_kernel(stranger: Stranger) -> None:
    stranger.plugin.config["data"] = "/proc"  # type: ignore[index]
    here = str(os.getpid())
    assert codes(stranger.calls(read(f"{here}/root/etc/passwd"), read(f"{here}/cwd/x"), read(f"{here}/exe"), read(f"{here}/fd/0"))) == ["E_FS"] * 4
    assert codes(stranger.calls(read("self/root/etc/passwd"), read("self/comm"))) == ["E_FS"] * 2
    assert stranger.calls(read(f"{here}/comm"))[0]["value"] == pathlib.Path("/proc/self/comm").read_text()


def test_case_66_a_write_that_is_too_large_or_to_no_file(stranger: Stranger, tmp_path: pathlib.Path) -> None:
    fifo, target = stranger.root / "fifo", tmp_path / "target"
    os.mkfifo(fifo)
    target.write_text("kept")
    (stranger.root / "link").symlink_to(target)
    (stranger.root / "folder").mkdir()
    assert codes(stranger.calls(*(write(path) for path in ("fifo", "link", "folder", "link/x", "fifo/x")))) == ["E_FS"] * 5
    assert codes(stranger.calls(*(read(path) for path in ("fifo", "folder")))) == ["E_FS"] * 2, "and none of them is waited for"
    assert (target.read_text(), fifo.is_fifo()) == ("kept", True)
    assert stranger.refused("create", calls=[write("large", "x" * (MIB + 1))]).code == "E_LIMIT"
    # "\n" and "ü" are as many bytes in a frame as in the file, or more: what passes the frame is small enough for the file
    encoded = {"root": "data", "path": "large", "content": "!" * 1000, "encoding": "base64"}
    assert codes(stranger.calls(("fs", "write", encoded))) == ["E_INVALID"]
    assert not (stranger.root / "large").exists()
    assert codes(stranger.calls(write("large", "x" * (MIB - 1024)), write("file"))) == ["", ""]
    assert (stranger.root / "large").stat().st_size == MIB - 1024


class TestCase67:
    """Requests that shall reach somebody else."""

    def test_a_host_that_the_manifest_does_not_name(self, stranger: Stranger, server: web.Server) -> None:
        assert codes(stranger.calls(get(host="evil.example.org"), get(host="2130706433"), get(host="127.0.0.1"))) == ["E_CAPABILITY"] * 3
        forms = ("127.0.0.1@evil.example.org", "evil.example.org/127.0.0.1", "[::1]", "127.0.0.1:1", "evil.example.org#", "::1", "127.0.0.1\r\nX: y", "")
        assert codes(stranger.calls(*(get(host=form) for form in forms))) == ["E_INVALID"] * len(forms)
        assert codes(stranger.calls(get(network="other"))) == ["E_CAPABILITY"]
        assert server.seen == []
        assert codes(stranger.calls(get(), get(host="{api_host}"))) == ["", ""]
        assert len(server.seen) == 2

    @pytest.mark.parametrize("form", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost.", "::ffff:127.0.0.2", "0.0.0.0"])
    def test_another_form_of_this_hosts_address(self, stranger: Stranger, server: web.Server, form: str) -> None:
        stranger.plugin.config["api_host"] = form  # type: ignore[index]
        assert codes(stranger.calls(get()))[0] in ("E_CAPABILITY", "E_HTTP")
        assert server.seen == []
        stranger.plugin.config["api_host"] = "127.0.0.1"  # type: ignore[index]
        assert codes(stranger.calls(get())) == [""]

    def test_the_address_where_clouds_keep_credentials(self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
        (answer,) = stranger.calls(get("/latest", network="cloud"))
        assert (answer["code"], "169.254.169.254" in answer["message"]) == ("E_CAPABILITY", True)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [(socket.AF_INET, 1, 6, "", ("192.0.2.1", 80))])
        connected = unplugged(monkeypatch)
        assert codes(stranger.calls(get("/latest", network="cloud", host="cloud.invalid"))) == ["E_HTTP"]
        assert connected == [("192.0.2.1", 80)], "any other address is connected to"

    def test_a_name_that_changes_its_meaning(self, stranger: Stranger, server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        meanings = iter(["192.0.2.1", "127.0.0.1"])
        asked: list[str] = []

        def resolve(host: str, *_rest: t.Any, **_more: t.Any) -> list[t.Any]:
            asked.append(host)
            return [(socket.AF_INET, 1, 6, "", (next(meanings), server.port))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        connected = unplugged(monkeypatch)
        assert codes(stranger.calls(get("/latest", network="cloud", host="cloud.invalid"))) == ["E_HTTP"]
        assert (asked, [address[0] for address in connected]) == (["cloud.invalid"], ["192.0.2.1"]), "what was judged is what is connected to"
        assert codes(stranger.calls(get("/latest", network="cloud", host="cloud.invalid"))) == ["E_CAPABILITY"]
        assert len(connected) == 1

    def test_a_redirect(self, stranger: Stranger, server: web.Server) -> None:
        with web.serving() as other:
            server.routes["/v1/boxes"] = lambda handler: handler.reply(307, "text/plain", b"", Location=f"http://127.0.0.1:{other.port}/")
            (answer,) = stranger.calls(get())
            assert (answer["value"]["status"], other.seen, len(server.seen)) == (307, [], 1)
            stranger.plugin.config["api_port"] = other.port  # type: ignore[index]
            assert codes(stranger.calls(get())) == [""]
            assert len(other.seen) == 1

    def test_another_path(self, stranger: Stranger, server: web.Server) -> None:
        paths = ["/v1/boxes/..%2f..%2fadmin", "/v1/boxes/../admin", "/v1/boxes?admin=1", "/v1/boxes#", "/v1/boxes/{name}", "//evil.example.org/"]
        assert codes(stranger.calls(*(get(path) for path in paths))) == ["E_CAPABILITY"] * len(paths)
        values = ["..%2fadmin", "../admin", "a/../admin", "/admin", "a?b", "a#b", "a b", "a\r\nX: y", "a%0d%0a", "a\\b"]
        answers = stranger.calls(*(get("/v1/boxes/{path}", parameters={"path": value}) for value in values))
        assert codes(answers) == ["E_INVALID"] * len(values)
        assert server.seen == []
        query = {"a": "b&admin=1#", "c": "../%2f"}
        assert codes(stranger.calls(get("/v1/boxes/{path}", parameters={"path": "a/b.c"}, query=query))) == [""]
        assert [seen["target"] for seen in server.seen] == ["/v1/boxes/a/b.c?a=b%26admin%3D1%23&c=..%2F%252f"]


@pytest.mark.parametrize(
    "values",
    [
        *({"name": value} for value in ("-rf", "--path=/etc", "a b", "$(id)", "`id`", "a;id", "a\nb", "a'b", "", "../a")),
        *({"path": value} for value in ("-x", "a/-x", "../etc", "/etc/shadow", "a b", "$(id)", "a|b", "a\0b", "")),
        *({"node": value} for value in ("-n", "a b", "$(id)", "pve1;id", "a.b")),
        *({"mode": value} for value in ("-fast", "medium", "fast slow", "$(id)")),
        *({"number": value} for value in (-1, "7", "-7", 7.5, True, "$(id)")),
        {"more": "x"},
    ],
)
def test_case_68_a_parameter_that_would_be_more_than_a_value(stranger: Stranger, monkeypatch: pytest.MonkeyPatch, values: dict[str, t.Any]) -> None:
    """Nothing is started; the same command with values of their types is."""
    started: list[t.Any] = []
    popen = subprocess.Popen.__init__

    def remember(self: t.Any, arguments: t.Any, *rest: t.Any, **more: t.Any) -> None:
        started.append(arguments)
        popen(self, arguments, *rest, **more)

    monkeypatch.setattr(subprocess.Popen, "__init__", remember)
    answers = stranger.calls(show(**values), show())
    assert codes(answers) == ["E_INVALID", ""]
    assert answers[1]["value"]["stdout"] == "<web><--path=/srv/a/b><7><pve1><fast>"
    program = runtime.program("printf")
    assert [arguments for arguments in started if arguments[0] == program] == [[program, "<%s>", "web", "--path=/srv/a/b", "7", "pve1", "fast"]]


class TestCase70:
    """The secret in everything that a plugin, a server or a file says."""

    def test_what_calls_answer(self, stranger: Stranger, server: web.Server) -> None:
        (stranger.root / "file").write_text(f"token: {TOKEN}\n")
        (stranger.root / TOKEN).write_text("")
        server.routes["/v1/boxes/echo"] = lambda handler: handler.reply(200, "text/plain", handler.headers["Authorization"].encode(), Location=f"/{TOKEN}")
        echo = get("/v1/boxes/{path}", parameters={"path": "echo"})
        answers = stranger.calls(get(), echo, read("file"), ("fs", "list", {"root": "data"}), show(name=TOKEN))
        assert TOKEN not in json.dumps(answers)
        assert codes(answers) == [""] * 5
        assert [seen["headers"]["Authorization"] for seen in server.seen] == [f"Bearer {TOKEN}"] * 2, "the server did get it"
        assert answers[1]["value"]["text"] == "Bearer ********"
        assert answers[2]["value"] == "token: ********\n"

    def test_results_messages_and_the_log(self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
        logged = collect_log(monkeypatch)
        (stranger.root / "file").write_text("content")
        said = f"it is {TOKEN}, and {TOKEN[:10]} is nothing"
        assert stranger.operate("info", text=said, path="file") == {"text": "it is ********, and s3cret-tok is nothing", "answer": "content"}
        error = stranger.refused("stop", text=said)
        assert TOKEN not in json.dumps(error.as_dict()) + str(error) + json.dumps(logged) + json.dumps(stranger.audit())
        assert (error.message, logged[0]["message"]) == ("it is ********, and s3cret-tok is nothing",) * 2

    def test_a_refusal_that_the_plugin_lets_pass(self, stranger: Stranger) -> None:
        error = stranger.refused("exec", part="fs", method="read", arguments={"root": "data", "path": f"{TOKEN}/file"})
        assert (error.code, TOKEN in json.dumps(error.as_dict()) + str(error)) == ("E_NOT_FOUND", False)
        assert "********" in json.dumps(error.as_dict())

    def test_the_same_words_where_they_are_no_secret(self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
        logged = collect_log(monkeypatch)
        stranger.plugin.config["token"] = "quite-another-token"  # type: ignore[index]
        (stranger.root / "file").write_text(TOKEN)
        assert stranger.operate("info", text=TOKEN, path="file") == {"text": TOKEN, "answer": TOKEN}
        assert (stranger.refused("stop", text=TOKEN).message, logged[0]["message"]) == (TOKEN, TOKEN)


def collect_log(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, t.Any]]:
    """What a plugin's log lines come to in results."""
    logged: list[dict[str, t.Any]] = []
    keeper = messages.keeper

    def keeping(session: dispatch.Session, *rest: t.Any) -> t.Any:
        session.logged = logged
        return keeper(session, *rest)

    monkeypatch.setattr(messages, "keeper", keeping)
    return logged


def test_case_71_escapes_and_line_ends_in_messages(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = collect_log(monkeypatch)
    hostile = 'red \x1b[31m\r\nfatal: [web]: FAILED!\x07\u2028\u202e{"phase": "outcome"}\x9b2J'
    error = stranger.refused("stop", text=hostile)
    for text in (error.message, error.remedy, str(error), logged[0]["message"]):
        assert text.isprintable(), text
        assert r"red \x1b[31m\r\nfatal: [web]: FAILED!\x07" in text
    answers = stranger.calls(write("a\nb"), write("a\x1b[31m"), read("a\u202eb"), show(name="a\nb"), get(host="a\nb"))
    assert codes(answers) == ["E_INVALID"] * 5
    assert all(answer["message"].isprintable() for answer in answers)
    assert codes(stranger.calls(write('{"phase": "outcome"}'))) == [""], "a name like any other"
    lines = stranger.audit()
    assert [line["subject"] for line in lines if line["phase"] == "intent"] == ['data:{"phase": "outcome"}']
    assert stranger.refused("stop", text="plain, ü and all").message == "plain, ü and all"


def test_case_74_the_1001st_call(stranger: Stranger) -> None:
    error = stranger.refused("delete", count=1001)
    assert (error.code, "more than 1000 calls" in error.message) == ("E_LIMIT", True)
    assert stranger.operate("delete", count=1000) is None
    assert stranger.audit() == [], "a thousand reads are no event"
