# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's policy over real containers, through the modules."""

from __future__ import annotations

import json
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.tests.runtime.test_third_party import GRANT, NAME, SOURCE, package
from ansible_collections.nexcage.backends.tests.support import modules
from ansible_collections.nexcage.backends.tests.support.host import Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "policy.md"


def documented() -> dict[str, t.Any]:
    """The example of docs/policy.md, as it stands there."""
    (text,) = re.findall(r"<!-- example: policy\.json -->\n```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    content: dict[str, t.Any] = json.loads(text)
    return content


@pytest.fixture
def policy(host: Host) -> t.Iterator[t.Callable[[t.Any], None]]:
    """Lets a policy hold until the end of the test."""
    path = pathlib.Path(host.layout.configuration, "policy.json")

    def write(content: t.Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o600)

    yield write
    path.unlink(missing_ok=True)


def refused(name: str, **parameters: t.Any) -> modules.Result:
    """The same refusal in check mode and without."""
    predicted = modules.fails("nexcage_container", check=True, name=name, **parameters)
    result = modules.fails("nexcage_container", name=name, **parameters)
    assert result["error"] == predicted["error"]
    return result


def lines(host: Host) -> list[dict[str, t.Any]]:
    return [json.loads(line) for line in pathlib.Path(host.layout.audit).read_text().splitlines()]


def test_nobody_deletes_what_is_in_production(host: Host, backend: str, policy: t.Callable[[t.Any], None]) -> None:
    policy(documented())
    for name in ("prod-db", "test-db"):
        host.start(name, backend)
    before = host.one("prod-db")
    result = refused("prod-db", state="absent")
    assert result["error"]["code"] == "E_POLICY" and result["error"]["details"]["rule"] == "no-delete-prod"
    assert "rule no-delete-prod: use the decommission play" in result["msg"]
    assert before is not None and before["status"] == "running" and host.one("prod-db") == before
    assert host.converge("test-db", state="absent")["changed"]
    assert host.converge("prod-db", state="stopped")["changed"], "the rule is about deleting"
    refusal = [line for line in lines(host) if line["phase"] == "refusal"][-1]
    assert (refusal["rule"], refusal["container"], refusal["call"]) == ("no-delete-prod", "prod-db", "delete")
    policy({"version": 1})
    assert host.converge("prod-db", state="absent")["changed"]


def test_only_images_of_one_place(host: Host, backend: str, policy: t.Callable[[t.Any], None]) -> None:
    here = host.image.rpartition(":")[0]
    policy({"version": 1, "rules": [{"id": "registry", "effect": "deny", "when": {"op": ["create"], "params.image": {"not_glob": here + ":one"}}}]})
    assert refused("web", backend=backend, image=host.other_image)["error"]["details"]["rule"] == "registry"
    assert host.one("web") is None
    host.start("web", backend)
    assert refused("web", image=host.other_image)["error"]["details"]["rule"] == "registry"


def test_audit_mode_lets_pass_and_says_so(host: Host, backend: str, policy: t.Callable[[t.Any], None]) -> None:
    host.start("prod-db", backend)
    policy({**documented(), "mode": "audit"})
    assert host.converge("prod-db", state="absent")["changed"] and host.one("prod-db") is None
    watched = [line for line in lines(host) if line["phase"] == "would_refuse"]
    assert {(line["rule"], line["container"]) for line in watched[-2:]} == {("no-delete-prod", "prod-db")}


def test_a_slip_of_the_pen_stops_everything(host: Host, backend: str, policy: t.Callable[[t.Any], None]) -> None:
    host.start("web", backend)
    content = documented()
    content["rules"][0]["when"]["op"] = ["detele"]
    policy(content)
    for parameters in ({"state": "absent"}, {"state": "stopped"}, {"state": "started"}):
        error = refused("web", **parameters)["error"]
        assert error["code"] == "E_POLICY" and "policy.json: rule no-delete-prod: when.op.in: there is no 'detele'" in error["message"]
    assert modules.fails("nexcage_container_info")["error"]["code"] == "E_POLICY"
    policy(documented())
    assert host.converge("web", state="stopped")["changed"]


def test_exec(host: Host, backend: str, policy: t.Callable[[t.Any], None]) -> None:
    host.start("web", backend)
    policy({"version": 1, "default": "deny", "rules": [{"id": "look", "effect": "allow", "when": {"op": ["list", "info", "stop", "delete"]}}]})
    result = modules.fails("nexcage_container_exec", name="web", argv=["touch", "/x"])
    assert result["error"]["details"]["rule"] == "default"
    policy({"version": 1})
    assert modules.works("nexcage_container_exec", name="web", argv=["sh", "-c", "test ! -e /x"])["rc"] == 0


@pytest.fixture
def install(host: Host, tmp_path: pathlib.Path) -> t.Iterator[t.Callable[..., modules.Result]]:
    """Installs versions of a third-party plugin, and leaves nothing of it."""

    def run(version: str = "1.0.0", source: str = SOURCE, fails: bool = False, check: bool = False, grant: t.Any = None, **fields: t.Any) -> modules.Result:
        src = package(tmp_path, version, source, **fields)
        parameters = {"name": NAME, "src": src, "trust": "unsigned", "allow_downgrade": True, **({} if grant is None else {"grant": grant})}
        return (modules.fails if fails else modules.works)("nexcage_plugin", check=check, **parameters)

    yield run
    pathlib.Path(host.layout.configuration, "policy.json").unlink(missing_ok=True)
    for found in modules.works("nexcage_container_info")["containers"]:
        if found["backend"] == "tiny":
            modules.works("nexcage_container", name=found["name"], state="absent", force_kill=True)
    modules.works("nexcage_plugin", name=NAME, state="absent")


def test_a_plugin_that_deletes_when_it_is_asked_to_start(host: Host, policy: t.Callable[[t.Any], None], install: t.Callable[..., modules.Result]) -> None:
    install(source=SOURCE.replace('host.oci.start(params["name"])', 'host.oci.delete(params["name"])'), grant=GRANT)
    for name in ("prod-db", "test-db"):
        host.start(name, "tiny", state="present")
    policy({**documented(), "trust": {"require": ["unsigned", "builtin"]}})
    result = modules.fails("nexcage_container", name="prod-db", state="started")
    assert result["error"]["code"] == "E_POLICY" and "oci.delete is denied: rule no-delete-prod" in result["msg"]
    found = host.one("prod-db")
    assert found is not None and found["status"] == "created"
    modules.run("nexcage_container", name="test-db", state="started")
    assert host.one("test-db") is None, "without the rule nothing would have stopped it"


def test_strangers_that_nobody_signed(host: Host, policy: t.Callable[[t.Any], None], install: t.Callable[..., modules.Result]) -> None:
    install(grant=GRANT)
    policy(documented())
    result = refused("web", backend="tiny", image=host.image)
    assert result["error"]["details"]["rule"] == "trust.require" and "unsigned" in result["msg"]
    host.start("web", "crun")


def test_case_88_an_update_that_widens_the_scope(host: Host, install: t.Callable[..., modules.Result]) -> None:
    """E_GRANT until it is granted again; the installed version goes on."""
    first = install(fails=True)
    assert first["error"]["code"] == "E_GRANT" and "nothing was granted" in first["msg"]
    install(grant=GRANT)
    host.start("web", "tiny", stop_signal="KILL")
    wider = {"version": "1.1.0", "capabilities": [*GRANT, "logging"]}
    for check in (True, False):
        error = install(fails=True, check=check, **wider)["error"]
        assert error["code"] == "E_GRANT" and error["details"]["difference"] == ["+ logging: opens log [contained]"]
    assert modules.works("nexcage_plugin_info", name=[NAME])["plugins"][0]["version"] == "1.0.0"
    assert host.converge("web", state="stopped")["changed"]
    pasted = yaml.safe_load(error["details"]["grant"])["grant"]
    assert install(grant=pasted, **wider)["changed"]
    assert host.converge("web", state="started")["changed"]
    install(version="1.2.0", capabilities=[*GRANT[::-1], "logging"])  # the same in another order needs no word
