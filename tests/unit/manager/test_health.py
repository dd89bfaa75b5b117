# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of an installed plugin: its health, its figures, and whether it is on disk what was installed."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker, index, metrics, records
from ansible_collections.nexcage.backends.plugins.module_utils.manager.breaker import Outcome
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.tests.support import exposition, modules, releases, signing

pytestmark = pytest.mark.requires("root", "linux")
NAME = "demo-backend"
ANSWERING = """
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    name = "demo-backend"

    def health(self, host, params):
        %s


def backend():
    return Backend()
"""


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty host."""
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def layout(root: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})


def install(root: pathlib.Path, health: str = "", version: str = "1.0.0", **fields: t.Any) -> None:
    """The plugin; ``health`` is the body of its operation."""
    path = root / f"{NAME}-{version}.nexcage-plugin"
    path.write_bytes(releases.data(NAME, version, ANSWERING % health if health else releases.SOURCE, **fields))
    modules.works("nexcage_plugin", name=NAME, src=str(path), trust="unsigned", grant=fields.get("capabilities"))


def told(**parameters: t.Any) -> dict[str, t.Any]:
    (found,) = modules.works("nexcage_plugin_info", name=[NAME], **parameters)["plugins"]
    return t.cast("dict[str, t.Any]", found)


def note(layout: Layout, kind: str, code: str = "", operation: str = "create", at: float = 0.0) -> None:
    record = records.read(layout, NAME)
    assert record is not None and record.active is not None
    breaker.note(layout, NAME, Outcome(at or breaker.clock(), operation, kind, code, record.active.digest, 1500))


# ---- health


def test_a_policy_that_denies_the_question_says_nothing_of_the_plugin(root: pathlib.Path) -> None:
    install(root)
    path = root / "etc/nexcage/policy.json"
    path.write_text(json.dumps({"version": 1, "default": "deny"}))
    path.chmod(0o600)
    found = told()["health"]
    assert found["status"] == "unknown" and "health by demo-backend is denied" in str(found["problems"])
    rule = {"id": "health", "effect": "allow", "when": {"op": ["health"]}}
    path.write_text(json.dumps({"version": 1, "default": "deny", "rules": [rule]}))
    assert told()["health"]["status"] == "healthy"
    path.write_text("{")
    found = told()["health"]
    assert found["status"] == "unhealthy", found  # a policy that is not understood is a fault


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ('return {"status": "healthy", "problems": []}', "healthy", ""),
        ('return {"status": "healthy"}', "healthy", ""),
        ('return {"status": "degraded", "problems": ["slow\\nand old"]}', "degraded", "slow\\nand old"),
        ('return {"status": "unknown", "problems": []}', "unknown", ""),
        ('return {"status": "splendid", "problems": []}', "unhealthy", "must answer with a status, one of healthy,"),
        ('return {"status": ["healthy"], "problems": []}', "unhealthy", "must answer with a status"),
        ('return {"status": "healthy", "problems": "none"}', "unhealthy", "must answer with a status"),
        ("return None", "unhealthy", "must answer with a status"),
        ('raise RuntimeError("out of order")', "unhealthy", "out of order"),
        ("1 / 0", "unhealthy", "ZeroDivisionError"),
    ],
)
def test_what_a_plugin_answers(root: pathlib.Path, body: str, status: str, problem: str) -> None:
    install(root, body)
    health = told()["health"]
    assert health["status"] == status and problem in " ".join(health["problems"]), health
    assert bool(health["problems"]) is bool(problem)


def test_an_answer_has_its_limits(root: pathlib.Path) -> None:
    install(root, 'return {"status": "healthy", "problems": ["x" * 2000] * 99, "fine": 1, "deep": {"a": 1}, **{f"k{n}": "\\x1b" * 300 for n in range(99)}}')
    health = told()["health"]
    assert len(health["problems"]) == 20 and health["fine"] == 1 and "deep" not in health and len(health) == 22
    assert len(json.dumps(health)) < 400_000 and "\x1b" not in str(health)


def test_without_the_operation_nobody_knows(root: pathlib.Path, layout: Layout) -> None:
    install(root, operations=["list"], capabilities=["container_list"])
    assert told()["health"] == {"status": "unknown", "problems": ["the plugin has no health operation"]}
    note(layout, breaker.DEFECT, "E_PLUGIN")
    assert told()["health"]["status"] == "degraded"


def test_what_the_host_lacks_meanwhile(root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(root, binary_dependencies=[{"name": "true"}])
    assert told()["health"]["status"] == "healthy"
    monkeypatch.setattr("ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.runtime.FOLDERS", (str(tmp_path),), raising=True)
    health = told()["health"]
    assert health["status"] == "unhealthy" and "true is not installed" in health["problems"][0]


def test_the_program_that_the_operator_put_in_its_place_is_no_lack(root: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"oci": {"runtime": "crun"}, "configuration": {"binary_path": {"type": "path"}}, "binary_dependencies": [{"name": "crun"}, {"name": "true"}]}
    install(root, **fields)
    monkeypatch.setattr("ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.runtime.FOLDERS", (str(tmp_path),), raising=True)
    assert [problem[:4] for problem in told()["health"]["problems"]] == ["crun", "true"]
    (root / "etc/nexcage/config.json").write_text(json.dumps({"plugins": {NAME: {"config": {"binary_path": "/bin/true"}}}}))
    assert [problem[:4] for problem in told()["health"]["problems"]] == ["true"]


@pytest.mark.parametrize(
    ("kind", "code", "age", "status"),
    [
        (breaker.DEFECT, "E_PLUGIN", 10, "degraded"),
        (breaker.FAULT, "E_CRASH", 3590, "degraded"),
        (breaker.FAULT, "E_CRASH", 3700, "healthy"),
        (breaker.ERROR, "E_IMAGE", 10, "healthy"),
        (breaker.OK, "", 10, "healthy"),
    ],
)
def test_what_failed_of_late_degrades(root: pathlib.Path, layout: Layout, kind: str, code: str, age: float, status: str) -> None:
    install(root)
    note(layout, kind, code, at=breaker.clock() - age)
    note(layout, breaker.OK)
    health = told()["health"]
    assert health["status"] == status
    assert ("1 of its last 2 operations failed, the last one with" in str(health["problems"])) is (status == "degraded")
    install(root, 'return {"status": "healthy"}', "1.1.0")  # another package is not to blame
    assert told()["health"]["status"] == "healthy"


def test_statistics(root: pathlib.Path, layout: Layout) -> None:
    install(root)
    assert told()["statistics"] == {"executions": 0, "failures": 0, "faults": 0, "denied_calls": 0, "hooks": {}, "last_success": None, "last": None}
    note(layout, breaker.OK, at=1_800_000_000.0)
    note(layout, breaker.ERROR, "E_IMAGE", at=1_800_000_060.0)
    note(layout, breaker.FAULT, "E_CRASH", "start", at=1_800_000_120.0)
    last = {"time": "2027-01-15T08:02:00Z", "operation": "start", "outcome": "fault", "code": "E_CRASH", "milliseconds": 1500}
    figures = {"executions": 3, "failures": 2, "faults": 1, "denied_calls": 0, "hooks": {}, "last_success": "2027-01-15T08:00:00Z", "last": last}
    assert told()["statistics"] == figures and told()["quarantined"] == ""
    (crun,) = modules.works("nexcage_plugin_info", name=["crun"])["plugins"]
    assert (crun["statistics"], crun["quarantined"]) == (None, "")


def test_a_run_that_finds_all_well_writes_nothing(root: pathlib.Path) -> None:
    install(root)
    before = {path: facts for path, facts in modules.snapshot(root).items() if "/run" not in path}
    told(verify=True)
    told(check=True)
    assert {path: facts for path, facts in modules.snapshot(root).items() if "/run" not in path} == before


def test_check_mode_neither_writes_nor_tries(root: pathlib.Path, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    install(root, 'raise RuntimeError("out of order")')
    told(check=True)
    assert not os.path.exists(f"{layout.state}/plugins/{NAME}/{breaker.FILE}")
    told()
    assert os.path.exists(f"{layout.state}/plugins/{NAME}/{breaker.FILE}")


def test_a_damaged_record_is_that_plugins_trouble_alone(root: pathlib.Path, layout: Layout) -> None:
    install(root)
    path = pathlib.Path(layout.state, "plugins", NAME, records.FILE)
    good = path.read_bytes()
    path.write_bytes(b'{"schema_version": 1')
    found = {plugin["name"]: plugin for plugin in modules.works("nexcage_plugin_info", verify=True)["plugins"]}
    assert set(found) == {NAME, "crun-backend", "runc-backend"}
    assert (found[NAME]["state"], found[NAME]["health"]["status"]) == ("error_state", "unhealthy")
    assert [(problem["check"], problem["code"]) for problem in found[NAME]["verification"]["problems"]] == [("record", "E_STATE")]
    assert found["crun-backend"]["state"] == "loaded" and found["crun-backend"]["verification"] == {"ok": True, "checks": [], "problems": []}
    path.write_bytes(good)
    assert told(verify=True)["verification"]["ok"]


# ---- verify


def wrong(layout: Layout) -> list[tuple[str, str]]:
    """Check and code of each problem; the same plugin has none without the flaw."""
    found = told(verify=True)["verification"]
    assert found["ok"] is (not found["problems"]) and all(problem["message"] and problem["remedy"] for problem in found["problems"])
    return [(problem["check"], problem["code"]) for problem in found["problems"]]


def test_verify_the_package_and_who_can_change_what(root: pathlib.Path, layout: Layout) -> None:
    install(root)
    install(root, "return None", "1.1.0")
    assert wrong(layout) == [] and told(verify=True)["verification"]["checks"] == ["permissions", "record", "package", "trust", "grant", "previous"]
    path = root / f"etc/nexcage/plugins/{NAME}-1.1.0.nexcage-plugin"
    for folder in (path.parent, root / "etc/nexcage", root / f"var/lib/nexcage/plugins/{NAME}"):
        mode = folder.stat().st_mode & 0o777
        folder.chmod(0o777)
        assert ("permissions", "E_INTEGRITY") in wrong(layout), folder
        folder.chmod(mode)
    assert wrong(layout) == []
    good = path.read_bytes()
    path.write_bytes(releases.data(description="Another one"))
    assert wrong(layout) == [("package", "E_INTEGRITY")]
    path.unlink()
    assert wrong(layout) == [("package", "E_INTEGRITY")]
    path.write_bytes(good)
    (kept,) = (root / f"var/lib/nexcage/plugins/{NAME}/kept").iterdir()
    kept.write_bytes(good)
    assert wrong(layout) == [("previous", "E_INTEGRITY")]


def test_verify_the_grant(root: pathlib.Path, layout: Layout) -> None:
    path = root / f"{NAME}-1.0.0.nexcage-plugin"
    path.write_bytes(releases.data(operations=["health", "list"], capabilities=["container_list"]))
    modules.works("nexcage_plugin", name=NAME, src=str(path), trust="unsigned", grant=["container_list"])
    assert wrong(layout) == []
    stored = root / f"etc/nexcage/grants/{NAME}.json"
    good = stored.read_text()
    stored.write_text(good.replace('"container_list"', '"host_command"'))
    assert wrong(layout) == [("grant", "E_STATE")]
    stored.write_text(good)
    stored.chmod(0o666)
    assert wrong(layout) == [("grant", "E_INTEGRITY")]
    stored.unlink()
    assert wrong(layout) == [("grant", "E_GRANT")]


@pytest.mark.requires("ssh-keygen")
def test_verify_with_the_trust_files_of_today(root: pathlib.Path, layout: Layout, tmp_path: pathlib.Path) -> None:
    key = signing.Key(tmp_path)
    trusted = signing.Trust(root)
    trusted.trust(key.line())
    path = signing.write_package(tmp_path, key)
    modules.works("nexcage_plugin", name="acme-sample", src=str(path))

    def problems() -> list[tuple[str, str]]:
        (found,) = modules.works("nexcage_plugin_info", name=["acme-sample"], verify=True)["plugins"]
        return [(problem["check"], problem["code"]) for problem in found["verification"]["problems"]]

    assert problems() == []
    trusted.trust(signing.Key(tmp_path, "other").line())
    assert problems() == [("trust", "E_TRUST")]
    trusted.trust(key.line())
    assert problems() == []


# ---- figures


def figures(path: pathlib.Path) -> t.Any:
    return exposition.read(path.read_text())


def test_figures(root: pathlib.Path, layout: Layout, tmp_path: pathlib.Path) -> None:
    install(root)
    path = tmp_path / "nexcage.prom"
    path.symlink_to(tmp_path / "elsewhere")
    told(metrics_file=str(path), check=True)
    assert not path.exists()
    told(metrics_file=str(path))
    assert not path.is_symlink() and not (tmp_path / "elsewhere").exists() and path.stat().st_mode & 0o777 == 0o644
    found = figures(path)
    assert {name for name, _labels in found} == {f"nexcage_{name}" for name in ("plugin_info", "plugin_health", "plugin_quarantined", "sandbox_tier")}
    assert exposition.value(found, "nexcage_plugin_quarantined", plugin=NAME) == 0
    note(layout, breaker.OK, at=1_800_000_000.25)
    note(layout, breaker.FAULT, "E_CRASH")
    breaker.note(layout, NAME, Outcome(breaker.clock(), "list", breaker.OK, "", "d", 1), denied=[("fs.read", "E_GRANT")] * 3, counted=False)
    result = modules.works("nexcage_plugin_info", metrics_file=str(path))
    assert result["changed"] is False
    found = figures(path)
    for outcome, count in (("ok", 1), ("fault", 1), ("error", 0), ("defect", 0)):
        assert exposition.value(found, "nexcage_operations_total", plugin=NAME, op="create", outcome=outcome) == count
    assert exposition.value(found, "nexcage_operation_seconds_sum", plugin=NAME, op="create") == 3
    assert exposition.value(found, "nexcage_operation_seconds_count", plugin=NAME, op="create") == 2
    assert exposition.value(found, "nexcage_capability_denied_total", plugin=NAME, call="fs.read", reason="E_GRANT") == 3
    assert exposition.value(found, "nexcage_last_success_timestamp_seconds", plugin=NAME) == 1_800_000_000.25
    assert exposition.value(found, "nexcage_plugin_health", plugin=NAME, status="degraded") == 1
    assert exposition.value(found, "nexcage_plugin_health", plugin=NAME, status="healthy") == 0
    (demo,) = [plugin for plugin in result["plugins"] if plugin["name"] == NAME]
    facts = {"plugin": NAME, "version": "1.0.0", "digest": demo["digest"], "trust": "unsigned", "tier": demo["sandbox"]["tier"]}
    assert exposition.value(found, "nexcage_plugin_info", **facts) == 1
    assert exposition.value(found, "nexcage_plugin_quarantined", plugin="crun-backend") == 0


def test_figures_of_a_plugin_that_cannot_be_used(root: pathlib.Path, layout: Layout, tmp_path: pathlib.Path) -> None:
    install(root)
    (root / f"etc/nexcage/plugins/{NAME}-1.0.0.nexcage-plugin").unlink()
    told(metrics_file=str(tmp_path / "x.prom"))
    found = figures(tmp_path / "x.prom")
    assert exposition.value(found, "nexcage_plugin_info", plugin=NAME, version="", digest="", trust="unknown", tier="") == 1


def test_the_age_of_the_index(root: pathlib.Path, layout: Layout, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.prom"
    modules.works("nexcage_plugin_info", name=["crun"], metrics_file=str(path))
    assert "index" not in path.read_text()
    seen = pathlib.Path(layout.state, index.SEEN)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()
    os.utime(seen, (1_800_000_000, 1_800_000_000))
    for now, age in ((1_800_000_060.0, 60), (1_700_000_000.0, 0)):
        monkeypatch.setattr(breaker, "clock", lambda now=now: now)
        modules.works("nexcage_plugin_info", name=["crun"], metrics_file=str(path))
        assert exposition.value(figures(path), "nexcage_index_age_seconds") == age


def test_labels_are_quoted() -> None:
    plugin = {"name": "a", "version": 'q"\\\n', "digest": "d", "trust": "t", "sandbox": {}, "health": {"status": "unknown"}, "quarantined": ""}
    found = exposition.read(metrics.render([plugin], {}))
    assert exposition.value(found, "nexcage_plugin_info", plugin="a", version='q"\\\n', digest="d", trust="t", tier="") == 1
    assert metrics.render([], {}) == ""


@pytest.mark.parametrize("text", ["a 1", "a{b=c} 1\n", "a 1\n", "# TYPE a gauge\na 1\na 1\n", "# TYPE a gauge\nb 1\n", '# TYPE a gauge\na{b="\n"} 1\n', "\n"])
def test_the_reader_of_figures_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        exposition.read(text)


@pytest.mark.parametrize(
    ("path", "code"), [("nexcage.prom", "E_INVALID"), ("/nexcage/none/x.prom", "E_NOT_FOUND"), ("/tmp/x.txt", "E_INVALID"), ("/tmp/x.prom", "E_DISABLED")]
)
def test_a_file_for_figures_that_cannot_be_meant(root: pathlib.Path, path: str, code: str) -> None:
    (root / "etc/nexcage").mkdir(parents=True)
    (root / "etc/nexcage/config.json").write_text(json.dumps({"plugin_manager": {"enable_plugin_metrics": False}}))
    refused = modules.fails("nexcage_plugin_info", metrics_file=path)
    assert (refused["error"]["code"], refused["error"]["option"]) == (code, "metrics_file")
    assert not os.path.exists(path)
