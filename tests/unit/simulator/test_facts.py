# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of endpoints and parameters: it reads well, every endpoint is answered, and it holds against the official schema."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
from ansible_collections.nexcage.backends.tests.simulator import __main__ as program
from ansible_collections.nexcage.backends.tests.simulator import facts, formats, service

SCHEMAS = {"8.4": "8.4.json", "9.1": "9.1.json", "9.2": "9.2.3.json"}
# What the excerpt of the schema does not have, though the API does.
BEYOND = {"/", "/access", "/access/roles", "/cluster", "/cluster/sdn/zones", "/cluster/sdn/vnets"} | {
    f"/nodes/{{node}}/{name}" for name in ("config", "dns", "time", "capabilities/qemu/machines")
}
TYPES = {"int": "integer", "num": "number", "bool": "boolean", "list": "array"}


def test_every_endpoint_is_answered_and_nothing_else() -> None:
    assert len(program.PARTS) > 10
    known = {f"{one.method} {one.path}" for version in facts.VERSIONS for one in facts.read(version).endpoints}
    assert known == set(service.HANDLERS)


@pytest.mark.parametrize("line", ["memory", "memory int 16", "net[x] str", "a strange", "b enum"])
def test_bad_lines_are_refused(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.txt").write_text(f"GET /a may all\n  {line}\n")
    monkeypatch.setattr(facts, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"no (rule|type)"):
        facts.read.__wrapped__("9.2")


def test_good_lines_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.txt").write_text("GET /a may all\n  memory! int 16..64 >swap +9.1\n  net[3] props p\n  old str -9.1\nformat p\n  *x enum a|b\n")
    monkeypatch.setattr(facts, "FOLDER", tmp_path)
    new, old = (facts.read.__wrapped__(version) for version in ("9.1", "8.4"))
    rule = new.endpoints[0].rule("memory")
    assert rule and (rule.required, rule.low, rule.high, rule.needs) == (True, 16, 64, "swap")
    assert new.endpoints[0].rule("net3") and not new.endpoints[0].rule("net4") and not new.endpoints[0].rule("net03")
    assert not new.endpoints[0].rule("old") and old.endpoints[0].rule("old") and not old.endpoints[0].rule("memory")


def schema(folder: pathlib.Path, version: str) -> dict[str, t.Any]:
    paths: dict[str, t.Any] = json.loads((folder / "pve-api" / SCHEMAS[version]).read_text())["paths"]
    return paths


def number(value: t.Any) -> float | None:
    return None if value is None else float(value)


def compared(rule: facts.Rule, told: dict[str, t.Any], where: str) -> list[str]:
    """What a rule of ours and one of the schema do not agree in."""
    found = []
    kind = told.get("type", "string")
    if TYPES.get(rule.kind, "string") != kind:
        found.append(f"{where}: {rule.kind}, schema {kind}")
    if rule.required is bool(told.get("optional")):
        found.append(f"{where}: required {rule.required}")
    low, high = (told.get(name) for name in (("minimum", "maximum") if kind in ("integer", "number") else ("minLength", "maxLength")))
    if (rule.low, rule.high) != (number(low), number(high)) and kind != "array":
        found.append(f"{where}: {rule.low}..{rule.high}, schema {low}..{high}")
    if told.get("enum") and set(rule.values) != {str(one) for one in told["enum"]}:
        found.append(f"{where}: other values")
    if isinstance(told.get("format"), str) and rule.form != told["format"]:
        found.append(f"{where}: format {rule.form}, schema {told['format']}")
    if told.get("requires") != rule.needs:
        found.append(f"{where}: needs {rule.needs}, schema {told.get('requires')}")
    return found


@pytest.mark.shared_data
@pytest.mark.parametrize("version", facts.VERSIONS)
def test_table_holds_against_the_schema(version: str, shared_data: pathlib.Path) -> None:
    paths, table = schema(shared_data, version), facts.read(version)
    faults: list[str] = []
    checked = 0
    for endpoint in table.endpoints:
        if endpoint.path in BEYOND:
            assert endpoint.path not in paths
            continue
        told = paths[endpoint.path][endpoint.method].get("parameters", {}).get("properties") or {}
        names = {re.sub(r"\[n\]", "[]", name): rule for name, rule in told.items() if "{" + name + "}" not in endpoint.path}
        extra, missing = set(endpoint.rules) - set(names), set(names) - set(endpoint.rules)
        if extra or (missing and not endpoint.partial):
            faults.append(f"{endpoint.method} {endpoint.path}: too many {extra}, missing {missing}")
        for name in set(endpoint.rules) & set(names):
            where = f"{endpoint.method} {endpoint.path} {name}"
            faults += compared(endpoint.rules[name], names[name], where)
            checked += 1
            inner = names[name].get("format")
            if isinstance(inner, dict):
                ours = table.formats[str(endpoint.rules[name].props)]
                if set(ours) != set(inner):
                    faults.append(f"{where}: keys {set(ours) ^ set(inner)}")
                for key in {*ours} & {*inner}:
                    if "alias" not in inner[key]:
                        faults += compared(ours[key], inner[key], f"{where}.{key}")
    assert faults == []
    assert checked > 500


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("pve-vmid", "100", "99"),
        ("dns-name", "a.b-c", "a_b"),
        ("pve-tag-list", "a;b c", "a!"),
        ("pve-configid", "ab", "a"),
        ("pve-storage-id", "local-lvm", "1x"),
        ("pve-ipv4-config", "10.0.0.1/24", "10.0.0.1"),
        ("pve-ipv6-config", "auto", "fe80::1"),
        ("ipv4", "10.0.0.1", "fe80::1"),
        ("ipv6", "fe80::1", "10.0.0.1"),
        ("mac-addr", "BC:24:11:00:00:01", "01:00:00:00:00:01"),
        ("pve-lxc-mp-string", "/data", "/../etc"),
        ("pve-volume-id", "local:1", "local"),
        ("pve-startup-order", "order=1,up=2", "first"),
        ("pve-ct-timezone", "Europe/Berlin", "Mars/Base"),
        ("urlencoded", "a%20b", "a b"),
        ("pve-storage-content-list", "iso,vztmpl", "iso,foo"),
        ("boot-device-list", "scsi0;net0", "scsi99"),
        ("pve-vm-cpu-conf", "host,flags=+aes", "abacus"),
        ("pve-fw-protocol-spec", "tcp", "x"),
        ("pve-hotplug-features", "network,disk", "cats"),
        ("address-list", "10.0.0.1 host.test", "10.0.0.999"),
        ("pve-lxc-dev-string", "/dev/null", "null"),
    ],
)
def test_formats(form: str, good: str, bad: str) -> None:
    formats.check(form, good)
    with pytest.raises(ValueError):
        formats.check(form, bad)


def test_formats_that_nobody_checks_pass() -> None:
    formats.check("pve-acme-nothing", "anything at all")
