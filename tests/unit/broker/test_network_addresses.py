# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a request of a plugin reaches: addresses are judged when a name is resolved, and what an operator wrote."""

from __future__ import annotations

import ipaddress
import socket
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import connection
from ansible_collections.nexcage.backends.tests.support import web
from ansible_collections.nexcage.backends.tests.unit.broker.test_network import DOCUMENT, Client, changed


class TestAddresses:
    """Whom a request never reaches, unless the operator wrote the address himself."""

    @pytest.mark.parametrize(
        "address",
        [
            *("127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "169.254.1.1", "fe80::1", "100.100.100.200", "fd00:ec2::254", "168.63.129.16"),
            *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::"),
            *("2001:0:4136:e378:8000:63bf:5601:5601", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255"),
        ],
    )
    def test_an_address_that_is_refused(self, address: str) -> None:
        assert connection.judge(ipaddress.ip_address(address), None)
        assert connection.judge(ipaddress.ip_address(address), "cloud.example.org"), "whatever name stands for it"

    @pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "64:ff9b::808:808", "8.8.8.8"])
    def test_an_address_that_is_not(self, address: str) -> None:
        assert connection.judge(ipaddress.ip_address(address), None) == ""

    @pytest.mark.parametrize(
        ("named", "address", "allowed"),
        [
            ("127.0.0.1", "127.0.0.1", True),
            ("127.0.0.1", "::ffff:127.0.0.1", True),
            ("127.0.0.1", "127.0.0.2", False),
            ("localhost", "::1", True),
            ("localhost", "169.254.169.254", False),
            ("169.254.169.254", "169.254.169.254", True),
            ("0.0.0.0", "0.0.0.0", False),
            ("2130706433", "127.0.0.1", False),
        ],
    )
    def test_the_operator_may_name_one(self, named: str, address: str, allowed: bool) -> None:
        assert (connection.judge(ipaddress.ip_address(address), named) == "") is allowed

    def test_a_name_that_means_this_host(self, server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port))])
        error = Client(server.port, "cloud.example.org").refused("GET")
        assert (error.code, "127.0.0.1" in error.message) == ("E_CAPABILITY", True)
        assert Client(server.port, "localhost")("GET")["status"] == 200
        assert Client(server.port).refused("GET", host="cloud.invalid").code == "E_CAPABILITY", "a host of the manifest's own"
        document = changed(hosts=["127.0.0.1"])
        assert Client(server.port, document=document).refused("GET").code == "E_CAPABILITY"
        document = {**DOCUMENT, "configuration": {**DOCUMENT["configuration"], "api_host": {"type": "string", "default": "127.0.0.1"}}}
        client = Client(server.port, document=document)
        del client.config["api_host"]
        assert client.refused("GET").code == "E_CAPABILITY", "the author's default is not the operator's word"
        assert len(server.seen) == 1

    def test_all_that_a_name_means_is_judged_and_connected_to_once_resolved(self, server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        good, bad = (socket.AF_INET, 1, 6, "", ("127.0.0.1", server.port)), (socket.AF_INET, 1, 6, "", ("169.254.169.254", server.port))

        def answer(host: str, *_rest: object, **_more: object) -> list[t.Any]:
            asked.append(host)
            return [good] if len(asked) == 1 else [good, bad]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        client = Client(server.port, "localhost")
        assert client("GET")["status"] == 200
        assert asked == ["localhost"]
        assert client.refused("GET").code == "E_CAPABILITY"

    def test_the_second_address_where_the_first_does_not_answer(self, server: web.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            closed = free.getsockname()[1]
        places = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", port)) for port in (closed, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: places)
        assert Client(server.port, "localhost")("GET")["status"] == 200
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: places[:1])
        assert "ConnectionRefusedError" in Client(server.port, "localhost").refused("GET").message

    def test_ipv6(self) -> None:
        with web.serving("::1") as server:
            assert Client(server.port, "::1")("GET")["status"] == 200
            assert server.seen[0]["headers"]["Host"] == f"[::1]:{server.port}"

    def test_a_name_that_means_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_arguments: object, **_more: object) -> t.NoReturn:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        error = Client(80, "cloud.example.org").refused("GET")
        assert (error.code, "cannot be resolved" in error.message) == ("E_HTTP", True)

    def test_a_name_service_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: time.sleep(1) or [])
        begin = time.monotonic()
        assert Client(80, "cloud.example.org", seconds=0.1).refused("GET").code == "E_TIMEOUT"
        assert time.monotonic() - begin < 0.9
