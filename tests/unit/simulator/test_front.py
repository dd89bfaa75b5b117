# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP, TLS, tickets, tokens and privileges, as a client meets them."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
import typing as t
import urllib.parse

import pytest
from ansible_collections.nexcage.backends.tests.simulator import access, control, process, worlds

NARROW = f"operator@pve!narrow={worlds.TOKEN_SECRET}"
AUDITOR = f"auditor@pve!ro={worlds.TOKEN_SECRET}"


@pytest.mark.parametrize("version", ["8.4", "9.1"])
def test_https_with_a_certificate_of_its_own(version: str) -> None:
    with process.running(version, plain=False, speed=1000.0) as simulator:
        assert simulator.call("GET", "/version").data["release"] == version
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((simulator.host, simulator.port), 10) as plain, context.wrap_socket(plain, server_hostname="pve1") as tls:
            certificate = tls.getpeercert(binary_form=True)
        assert certificate is not None
        assert hashlib.sha256(certificate).digest().hex(":").upper() == simulator.fingerprint
        assert {one["ssl_fingerprint"] for one in simulator.call("GET", "/nodes").data} == {simulator.fingerprint}
        began = time.monotonic()
        assert simulator.call("GET", "/version", token="nobody@pve!x=y").status == 401
        assert time.monotonic() - began < 1.5  # three simulated seconds


def test_who_is_told_what_without_rights(simulator: process.Simulator) -> None:
    for path in ("/cluster/resources?type=vm", "/nodes/pve1/lxc", "/nodes/pve1/storage", "/pools"):
        answer = simulator.raw("GET", "/api2/json" + path, None, {"Authorization": "PVEAPIToken=" + NARROW})
        assert (answer.status, answer.data) == (200, [])
    assert simulator.call("GET", "/access/permissions", token=NARROW).data == {}
    refused = simulator.call("GET", "/nodes/pve1/lxc/100/config", token=NARROW)
    assert (refused.status, refused.reason) == (403, "Permission check failed (/vms/100, VM.Audit)")
    assert simulator.call("GET", "/nodes/pve1/status", token=AUDITOR).status == 200


def test_rights_of_a_separate_token_are_those_of_both(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container()
    path = f"/nodes/pve1/lxc/{vmid}/status/start"
    assert simulator.call("POST", path, token=NARROW).status == 403
    acl = [{"path": "/", "who": "operator@pve", "role": "PVEAdmin"}, {"path": "/", "who": "auditor@pve", "role": "PVEAuditor"}]
    simulator.do("acl", acl=[*acl, {"path": f"/vms/{vmid}", "who": "operator@pve!narrow", "role": "PVEVMUser"}])
    try:
        assert simulator.call("POST", path, token=NARROW).status == 200
        assert simulator.call("DELETE", f"/nodes/pve1/lxc/{vmid}", token=NARROW).reason == f"Permission check failed (/vms/{vmid}, VM.Allocate)"
        shown = simulator.call("GET", "/access/permissions", {"path": f"/vms/{vmid}"}, token=NARROW).data
        assert shown[f"/vms/{vmid}"]["VM.PowerMgmt"] == 1
    finally:
        simulator.do("acl", acl=acl)


def test_the_rights_on_a_pool_are_rights_on_its_members(simulator: process.Simulator, make: t.Any) -> None:
    vmid = make.container(pool="ci")
    acl = [{"path": "/", "who": "operator@pve", "role": "PVEAdmin"}, {"path": "/", "who": "auditor@pve", "role": "PVEAuditor"}]
    simulator.do("acl", acl=[*acl, {"path": "/pool/ci", "who": "operator@pve!narrow", "role": "PVEVMUser"}])
    try:
        assert [one["vmid"] for one in simulator.call("GET", "/nodes/pve1/lxc", token=NARROW).data] == [vmid]
    finally:
        simulator.do("acl", acl=acl)


def login(simulator: process.Simulator, **params: str) -> process.Answer:
    return simulator.raw("POST", "/api2/json/access/ticket", urllib.parse.urlencode(params).encode())


def test_a_second_factor_is_asked_for_and_taken_once(simulator: process.Simulator) -> None:
    half = login(simulator, username="operator@pve", password=worlds.PASSWORD).data
    assert half["NeedTFA"] == 1 and half["ticket"].startswith("PVE:!tfa!")
    cookie = {"Cookie": "PVEAuthCookie=" + urllib.parse.quote(half["ticket"], safe="")}
    assert simulator.raw("GET", "/api2/json/version", None, cookie).status == 401
    code = access.totp("JBSWY3DPEHPK3PXP", time.time())
    given = {"username": "operator@pve", "tfa-challenge": half["ticket"]}
    assert login(simulator, **given, password="totp:000000").status == 401
    whole = login(simulator, **given, password=f"totp:{code}")
    assert whole.status == 200 and "NeedTFA" not in whole.data and whole.data["cap"]["vms"]
    again = login(simulator, **given, password=f"totp:{code}")
    assert (again.status, again.reason) == (401, "authentication failure")


def test_totp_as_its_standard_says() -> None:
    assert access.totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 59) == "287082"


def test_a_ticket_needs_its_csrf_token_and_gets_old(simulator: process.Simulator) -> None:
    found = login(simulator, username="root@pam", password=worlds.PASSWORD).data
    cookie = {"Cookie": "PVEAuthCookie=" + urllib.parse.quote(found["ticket"], safe=""), "Authorization": ""}
    assert simulator.call("GET", "/version", token="", headers=cookie).status == 200
    assert simulator.call("POST", "/pools", {"poolid": "x1"}, token="", headers=cookie).reason == "Permission denied - invalid csrf token"
    cookie["CSRFPreventionToken"] = found["CSRFPreventionToken"]
    assert simulator.call("POST", "/pools", {"poolid": "x1"}, token="", headers=cookie).status == 200
    renewed = login(simulator, username="root@pam", password=found["ticket"])
    assert renewed.status == 200
    simulator.do("advance", seconds=7300)
    assert simulator.call("GET", "/version", token="", headers=cookie).reason == "Authentication failed!"
    simulator.call("DELETE", "/pools", {"poolid": "x1"})


def test_errors_close_the_connection_and_successes_keep_it(simulator: process.Simulator) -> None:
    assert simulator.call("GET", "/version").headers["connection"] == "Keep-Alive"
    assert simulator.call("GET", "/nodes/pve1/lxc/999/config").headers["connection"] == "close"


def test_what_proxies_do_to_answers(simulator: process.Simulator) -> None:
    simulator.do("front", set={"reasons": False, "cookie": "SRV=a1; path=/"})
    answer = simulator.call("GET", "/nodes/pve1/lxc/999/config")
    assert (answer.status, answer.reason) == (500, "Internal Server Error")
    assert "does not exist" in answer.body["message"]
    assert answer.headers["set-cookie"].startswith("SRV=")
    simulator.do("front", set={"reasons": True, "message": False})
    answer = simulator.call("GET", "/nodes/pve1/lxc/999/config")
    assert "message" not in answer.body and "does not exist" in answer.reason


def test_control_needs_the_secret_and_a_known_act(simulator: process.Simulator) -> None:
    refused = simulator.raw("POST", "/_sim", b'{"do": "look"}', {"X-Simulator": "guess"})
    assert (refused.status, refused.reason) == (403, "not the test that started this simulator")
    with pytest.raises(ValueError, match=r"nothing to do: fly; there is .*advance"):
        simulator.do("fly")
    assert set(simulator.do("look")) == {"now", "guests", "volumes", "tasks", "seen"}
    simulator.do("unsee")
    simulator.call("GET", "/version")
    assert [one["path"] for one in simulator.do("look")["seen"]] == ["/version"]
    assert control.PREFIX == "/_sim"


def test_rights_are_given_and_taken_through_the_api(simulator: process.Simulator) -> None:
    assert simulator.call("POST", "/access/users", {"userid": "new@pve", "password": "long-enough"}).status == 200
    made = simulator.call("POST", "/access/users/new@pve/token/ci", {"privsep": 0}).data
    token = f"{made['full-tokenid']}={made['value']}"
    assert simulator.call("GET", "/cluster/status", token=token).status == 403
    assert simulator.call("PUT", "/access/acl", {"path": "/", "users": "new@pve", "roles": "PVEAuditor"}).status == 200
    assert simulator.call("GET", "/cluster/status", token=token).status == 200
    assert simulator.call("PUT", "/access/acl", {"path": "/", "users": "new@pve", "roles": "NoSuch"}).body["errors"] == {
        "roles": "role 'NoSuch' does not exist"
    }
    fresh = simulator.call("PUT", "/access/users/new@pve/token/ci", {"regenerate": 1}).data["value"]
    assert simulator.call("GET", "/version", token=token).status == 401
    assert simulator.call("GET", "/version", token=f"new@pve!ci={fresh}").status == 200
    assert simulator.call("PUT", "/access/acl", {"path": "/", "users": "new@pve", "roles": "PVEAuditor", "delete": 1}).status == 200
    assert simulator.call("GET", "/cluster/status", token=f"new@pve!ci={fresh}").status == 403
    assert simulator.call("DELETE", "/access/users/new@pve").status == 200
