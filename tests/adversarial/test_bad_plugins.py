# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugins that print, crash, sleep, flood and lie, met through the module at both tiers: a typed error that names them.

The host and the other plugins are as before; what only makes noise does no harm at all.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, packing
from ansible_collections.nexcage.backends.tests.support import modules, packages, provoking, releases
from ansible_collections.nexcage.backends.tests.support.provoking import GRANT
from ansible_collections.nexcage.backends.tests.support.provoking import NAME as PROBE
from ansible_collections.nexcage.backends.tests.support.signing import Key
from ansible_collections.nexcage.backends.tests.support.site import NAME, TIERS, Site, at_tier

pytestmark = pytest.mark.requires("linux", "root", "crun", "ssh-keygen")
# what a module may return at its top level, and Ansible may add
KEYS = {
    "changed",
    "failed",
    "msg",
    "error",
    "container",
    "containers",
    "plan",
    "diff",
    "sandbox",
    "hooks",
    "plugins",
    "warnings",
    "invocation",
    "stderr",
    "plugin_log",
}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key"))


def prepared(folder: pathlib.Path, patch: pytest.MonkeyPatch, tier: str, key: Key) -> Site:
    """A host with the plugin that plays tricks, and one beside it."""
    made = Site(folder, patch, tier, key)
    made.installed()
    install(made)
    return made


@pytest.fixture(scope="module", params=TIERS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, key: Key) -> Site:
    with pytest.MonkeyPatch.context() as patch:
        return prepared(tmp_path_factory.mktemp("site"), patch, request.param, key)


@pytest.fixture
def tricky(shared: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One host for all tests that change nothing on it; how the plugin's operations ended is forgotten."""
    monkeypatch.setenv("NEXCAGE_ROOT", str(shared.root))
    at_tier(shared.tier, monkeypatch)
    (pathlib.Path(shared.layout.state) / "plugins" / PROBE / breaker.FILE).unlink(missing_ok=True)
    return shared


@pytest.fixture(params=TIERS)
def site(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, key: Key) -> Site:
    """A host of its own for each test."""
    return prepared(tmp_path, monkeypatch, request.param, key)


def install(site: Site, source: str = provoking.SOURCE, version: str = "1.0.0", **fields: t.Any) -> None:
    (site.folder / "data").mkdir(exist_ok=True)
    files = {**packages.files(provoking.manifest(version=version, **fields)), "plugin.py": source.encode()}
    path = site.write(packing.pack(files), version, PROBE)
    config = {"data": str(site.folder / "data")}
    result = site.ask(name=PROBE, src=path, trust="unsigned", grant=fields.get("capabilities", GRANT), config=config, allow_downgrade=True)
    assert not result.get("failed"), result


def play(name: str, timeout: int = 20) -> modules.Result:
    """One task that lets it play a trick; whatever it does, the module's own output is what it shall be."""
    result = modules.run("nexcage_container", name=name, backend="probe", state="absent", timeout=timeout)
    assert set(result) <= KEYS, set(result) - KEYS
    return result


def kept(site: Site) -> dict[str, t.Any]:
    """All files but the plugin's own book of outcomes, and the audit log, which has a line of what was refused."""
    return {path: what for path, what in site.snapshot().items() if f"/plugins/{PROBE}" not in path and path != site.layout.audit}


TRICKS = {
    "crash": ("E_CRASH", "ended with code 7"),
    "raise": ("E_PLUGIN", "ZeroDivisionError"),
    "exit": ("E_PLUGIN", "SystemExit"),
    "sleep": ("E_TIMEOUT", "within 1 seconds"),
    "spin": ("E_LIMIT", "processor time"),
    "memory": ("E_LIMIT", "MemoryError"),
    "calls": ("E_LIMIT", "more than 1000 calls"),
    "flood": ("E_LIMIT", "more than 256 log lines"),
    "garbage": ("E_PROTOCOL", "bytes announced"),
    "unknown": ("E_CAPABILITY", "there is no broker call 'oci.explode'"),
    "executes": ("E_CAPABILITY", "container_exec, which the manifest does not declare"),
    "starts": ("E_READ_ONLY", "this operation only reads"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_plugin_that_misbehaves(tricky: Site, name: str) -> None:
    code, said = TRICKS[name]
    before = kept(tricky)
    result = play(name, timeout=1 if name == "sleep" else 20)
    error = result["error"]
    assert (error["code"], error["option"], error["value"]) == (code, "backend", "probe") and said in result["msg"], result
    assert kept(tricky) == before
    assert not play("well-behaved").get("failed"), "the next task has a worker of its own"


@pytest.mark.parametrize("name", ["print", "noise"])
def test_a_plugin_that_only_makes_noise(tricky: Site, name: str) -> None:
    before = tricky.snapshot()
    result = play(name)
    assert not result.get("failed") and result["container"] == {"name": name, "status": "absent"}, result
    assert "printed" not in json.dumps(result) and tricky.snapshot() == before


LIES = {
    "facts": "list",
    "text": "list",
    "number": "list",
    "nothing": "list",
    "words": "list[0]",
    "nameless": "list[0]",
    "item-facts": "list[0]",
    "item-status": "list[0]",
    "item-other": "list[0]",
}


@pytest.mark.parametrize("name", LIES)
def test_case_69_a_listing_with_facts_for_ansible_or_other_lies(tricky: Site, name: str) -> None:
    before = kept(tricky)
    result = play(name)
    error = result["error"]
    assert (error["code"], error["option"]) == ("E_PROTOCOL", LIES[name]) and PROBE in error["message"], result
    assert kept(tricky) == before
    assert not play("well-behaved").get("failed")


HEALTH = """
    def health(self, host, params):
        return {answer!r}
"""


@pytest.mark.case(71)
def test_case_69_a_health_with_facts_for_ansible(site: Site) -> None:
    facts = {"ansible_facts": {"x": 1}, "_ansible_no_log": True, "changed": True, "failed": True}

    def told(answer: t.Any) -> dict[str, t.Any]:
        source = provoking.SOURCE.replace("    def info(", HEALTH.format(answer=answer).lstrip("\n") + "\n    def info(")
        install(site, source, operations=[*provoking.OPERATIONS, "health"])
        result = modules.run("nexcage_plugin_info", name=[PROBE])
        assert set(result) <= KEYS and not result.get("failed") and not result["changed"], result
        assert "ansible_facts" not in json.dumps(result)
        return t.cast("dict[str, t.Any]", result["plugins"][0]["health"])

    assert told({"status": "healthy", "problems": [], **facts})["status"] == "healthy"
    assert told({"status": "splendid", "problems": []})["status"] == "unhealthy"
    for answer in (None, "healthy", ["healthy"], {"status": ["healthy"]}, {"status": "healthy", "problems": {"a": 1}}):
        assert "must answer with a status" in told(answer)["problems"][0]
    hostile = told({"status": "degraded", "problems": ["red \x1b[31m\nok: [web]", {"a": "\x9b2J"}], "note": "\x07\u202e"})
    assert all(text.isprintable() for text in (*hostile["problems"], hostile["note"])) and len(hostile["problems"]) == 2


DOES_NOTHING = """
    def create(self, host, params):
        return {}
"""
CREATES = """
    def create(self, host, params):
        return host.oci.create(params["name"], host.image.ensure(params["image"])["digest"])

    def start(self, host, params):
        host.oci.start(params["name"])

    def stop(self, host, params):
        host.oci.stop(params["name"], 9, 0)

    def exec(self, host, params):
        return {"rc": 0, "stdout": "done", "stderr": ""} if host.state.get("honest") is None else host.oci.exec(params["name"])

    def delete(self, host, params):
        if host.state.get("honest"):
            host.oci.delete(params["name"])
        host.state.put("honest", True)
"""
TELLS = """
        if name == "web":
            return host.oci.list([name])
"""


@pytest.mark.requires("conmon", "skopeo", "umoci", "busybox")
def test_a_plugin_that_says_it_did_what_it_did_not(site: Site) -> None:
    from ansible_collections.nexcage.backends.tests.support.host import make_image

    source = provoking.SOURCE.replace("\n        if name in LIES:", TELLS + "        if name in LIES:")
    assert DOES_NOTHING in source
    task = {"name": "web", "backend": "probe", "image": make_image(site.folder / "images", "one"), "state": "present"}
    install(site, source, "1.0.1")
    result = modules.fails("nexcage_container", **task)
    assert (result["error"]["code"], result["error"]["value"]) == ("E_PROTOCOL", "web") and "says that it has done create" in result["msg"]
    operations = ["start", "stop", "exec", "delete"]
    capabilities = [*GRANT, *(f"container_{operation}" for operation in operations)]
    more = source.replace(DOES_NOTHING, CREATES)
    install(site, more, "1.0.2", capabilities=capabilities, operations=[*provoking.OPERATIONS, *operations])
    assert modules.works("nexcage_container", **task)["container"]["status"] == "created"
    assert modules.works("nexcage_container", **{**task, "state": "started"})["container"]["status"] == "running"
    lied = modules.fails("nexcage_container_exec", name="web", argv=["/bin/busybox", "true"])
    assert lied["error"]["code"] == "E_PROTOCOL" and "says that it has done exec, and no command was run" in lied["msg"]
    gone = {"name": "web", "backend": "probe", "state": "absent"}
    assert "says that it has done delete, and the container is stopped" in modules.fails("nexcage_container", **gone)["msg"]
    modules.works("nexcage_container", **{**task, "state": "started"})
    assert modules.works("nexcage_container_exec", name="web", argv=["/bin/busybox", "true"])["rc"] == 0
    assert modules.works("nexcage_container", **gone)["changed"]


CANNOT_LOAD = {
    "1 / 0": ("E_PLUGIN", "ZeroDivisionError"),
    "def backend(:": ("E_PLUGIN", "SyntaxError"),
    "x = 1": ("E_PLUGIN", "backend"),
    "import socket": ("E_PLUGIN", "socket"),
    "import os; os._exit(3)": ("E_CRASH", "ended with code 3"),
    "while True: pass": ("E_LIMIT", "processor time"),
}


def test_a_plugin_that_cannot_be_loaded(site: Site) -> None:
    for number, (source, (code, said)) in enumerate(CANNOT_LOAD.items(), 1):
        install(site, source, f"1.0.{number}")
        before = kept(site)
        result = play("well-behaved")
        error = result["error"]
        assert (error["code"], error["option"], error["value"]) == (code, "backend", "probe") and said in result["msg"], result
        assert kept(site) == before
    install(site, version="1.1.0")
    assert not play("well-behaved").get("failed")


def test_one_bad_plugin_is_quarantined_and_the_other_is_not(site: Site) -> None:
    for _turn in range(breaker.FAULTS):
        assert play("crash")["error"]["code"] == "E_CRASH"
    assert play("well-behaved")["error"]["code"] == "E_QUARANTINED"
    assert site.told(NAME)["health"]["problems"] == []


def test_the_source_is_as_the_tests_expect() -> None:
    names = {*TRICKS, *LIES, "print", "noise"}
    text = provoking.SOURCE
    assert all(f'"{name.rpartition("-")[2]}"' in text for name in names) and releases.SOURCE


STUB = """
import json
from ..sdk.backend import BackendExtension


class Stub(BackendExtension):
    name = "stub-backend"

    def create(self, host, params):
        host.state.put("mark", params["mark"])
        return {"id": "1", "ansible_facts": {"x": 1}, "_ansible_no_log": True}

    def list(self, host, params):
        mark = host.state.get("mark")
        right = {"name": "web", "status": "created", "mark": mark}
        lie = json.loads(self.config.get("lie", "{}"))
        return ([{**right, **lie}] if isinstance(lie, dict) else lie) if mark else []

    def delete(self, host, params):
        host.state.put("mark", None)


def backend():
    return Stub()
"""
FACTS = {"ansible_facts": {"x": 1}, "_ansible_no_log": True, "changed": True, "failed": True}


@pytest.mark.case(69, 71)
def test_case_69_a_backend_without_runtime_that_lies(site: Site) -> None:
    """Unknown fields are passed over, what is said of a known one is checked; nothing of either gets to the top level."""
    operations = ["create", "list", "delete"]
    capabilities = [f"container_{operation}" for operation in operations]
    document = packages.manifest("stub-backend", provides_backend=True, operations=operations, capabilities=capabilities, options=["image"])
    document["configuration"] = {"lie": {"type": "string"}}
    source = site.write(packing.pack({**packages.files(document), "plugin.py": STUB.encode()}), name="stub-backend")
    assert site.ask(name="stub-backend", src=source, trust="unsigned", grant=capabilities)["changed"]

    def told(lie: t.Any) -> modules.Result:
        assert not site.ask(name="stub-backend", trust="unsigned", config={"lie": json.dumps(lie)}).get("failed")
        result = modules.run("nexcage_container", name="web", backend="stub", image="docker://example.org/web:1", state="present")
        assert set(result) <= KEYS and "ansible_facts" not in json.dumps({**result, "invocation": 0}), result
        return result

    assert told({})["changed"] and not told(FACTS)["changed"]
    for lie, field in (
        ({"status": "on fire"}, "status"),
        ({"status": ["created"]}, "status"),
        ({"pid": "7"}, "pid"),
        ({"id": "red \x1b[31m"}, "id"),
        ({"details": {"note": {}}}, "details"),
        ({"details": {"note": "a\nb"}}, "details.note"),
        ({"observed": {"secret_env": {"A": "b"}}}, "observed"),
        ({"observed": ["memory"]}, "observed"),
        ([{"status": "created"}], "name"),
        ([7], "name"),
        ("web", "list"),
    ):
        error = told(lie).get("error") or {"code": None, "option": None}
        assert (error["code"], error["option"]) == ("E_PROTOCOL", field) and "stub-backend" in error["message"], (lie, error)
    assert told({"mark": "0" * 32})["error"]["code"] == "E_OWNER"
    assert not told({"details": {"note": "fine"}})["changed"]
    gone = modules.works("nexcage_container", name="web", backend="stub", state="absent")
    assert gone["changed"] and gone["container"]["status"] == "absent"
