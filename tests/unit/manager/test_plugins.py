# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of an installed plugin, through the module: check mode, run, again, and every refusal before anything changed."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import installed, package, records, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import modules, releases

pytestmark = pytest.mark.requires("root")
NAME = "demo-backend"
OPEN = {"capabilities": ["container_list", "container_info", "logging"]}


@pytest.fixture(autouse=True)
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty host."""
    monkeypatch.setenv("NEXCAGE_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


class Author:
    """Makes packages."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __call__(self, version: str = "1.0.0", name: str = NAME, **fields: t.Any) -> str:
        path = self.folder / f"{name}-{version}.nexcage-plugin"
        path.write_bytes(releases.data(name, version, **fields))
        return str(path)

    def digest(self, path: str) -> str:
        return package.from_bytes(pathlib.Path(path).read_bytes(), path).digest


@pytest.fixture
def author(tmp_path: pathlib.Path) -> Author:
    (tmp_path / "made").mkdir()
    return Author(tmp_path / "made")


def ask(check: bool = False, **parameters: t.Any) -> modules.Result:
    return modules.run("nexcage_plugin", check=check, **{"name": NAME, **parameters})


def snapshot(root: pathlib.Path) -> dict[str, t.Any]:
    """All but the folder of locks, which come and go."""
    return {path: what for path, what in modules.snapshot(root).items() if not path.startswith(f"{root}/run") and path != str(root)}


def predicted(root: pathlib.Path, **parameters: t.Any) -> dict[str, t.Any]:
    """Check mode, run, check mode again, run again: predicted exactly, and done once."""
    before = snapshot(root)
    first = ask(check=True, **parameters)
    assert not first.get("failed"), first.get("msg")
    assert snapshot(root) == before
    second = ask(**parameters)
    assert (second["changed"], second["plan"], second["diff"], second["plugin"]) == (first["changed"], first["plan"], first["diff"], first["plugin"])
    middle = snapshot(root)
    assert ask(check=True, **parameters)["changed"] is False and ask(**parameters)["changed"] is False
    assert snapshot(root) == middle
    return second


def refused(root: pathlib.Path, code: str, said: str, **parameters: t.Any) -> dict[str, t.Any]:
    """The same refusal in check mode and without, and nothing changed."""
    before = snapshot(root)
    found = [ask(check=check, **parameters) for check in (True, False)]
    assert all(result.get("failed") and result["error"]["code"] == code and said in result["msg"] for result in found), found
    assert found[0]["msg"] == found[1]["msg"] and found[1]["error"]["remedy"]
    after = snapshot(root)
    assert after == before
    return found[1]


def test_installed_by_its_digest(root: pathlib.Path, author: Author) -> None:
    source = author()
    result = predicted(root, src=source, digest=author.digest(source))
    assert result["changed"] and [action["action"] for action in result["plan"]] == ["install"]
    assert result["plugin"]["trust"] == "pin" and result["plugin"]["version"] == "1.0.0" and result["plugin"]["state"] == "loaded"
    assert (root / "etc/nexcage/plugins/demo-backend-1.0.0.nexcage-plugin").exists()
    (found,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
    assert (found["version"], found["trust"], found["health"]["status"]) == ("1.0.0", "pin", "healthy"), found
    assert found["sandbox"]["tier"] in ("standard", "strong")


def test_unsigned_only_where_the_task_says_so(root: pathlib.Path, author: Author) -> None:
    source = author()
    refused(root, "E_SIGNATURE", "not signed", src=source)
    result = predicted(root, src=source, trust="unsigned")
    assert result["plugin"]["trust"] == "unsigned" and "not signed" in str(ask(src=source, trust="unsigned")["warnings"])


def test_what_it_asks_for_is_granted_by_name(root: pathlib.Path, author: Author) -> None:
    source = author(**OPEN)
    error = refused(root, "E_GRANT", "container_list", src=source, trust="unsigned")
    assert "- container_list" in error["error"]["details"]["grant"]
    refused(root, "E_GRANT", "host_command", src=source, trust="unsigned", grant=["host_command"])
    result = predicted(root, src=source, trust="unsigned", grant=["logging", "container_list"])
    assert result["plugin"]["grant"] == ["container_list", "logging"]
    result = predicted(root, src=source, trust="unsigned", grant=["container_list"])
    assert [action["action"] for action in result["plan"]] == ["grant"] and result["diff"]["after"] == {"grant": ["container_list"]}
    assert ask(src=source, trust="unsigned")["changed"] is False  # what is not given stays


def test_case_88_an_update_that_asks_for_more(root: pathlib.Path, author: Author) -> None:
    predicted(root, src=author(**OPEN), trust="unsigned", grant=OPEN["capabilities"])
    wider = author("1.1.0", capabilities=[*OPEN["capabilities"], "container_stop"])
    refused(root, "E_GRANT", "container_stop", src=wider, trust="unsigned")
    assert ask(src=author("1.0.1", **OPEN), trust="unsigned")["changed"]  # asks for no more, and needs no new grant
    result = predicted(root, src=wider, trust="unsigned", grant=[*OPEN["capabilities"], "container_stop"])
    assert [action["action"] for action in result["plan"]] == ["update", "grant"] and result["plugin"]["version"] == "1.1.0"


def test_the_plan_tells_no_grant_from_an_empty_one(root: pathlib.Path, author: Author) -> None:
    def reason(**parameters: t.Any) -> str:
        (found,) = [action["reason"] for action in predicted(root, **parameters)["plan"] if action["action"] == "grant"]
        return str(found)

    assert reason(src=author(), trust="unsigned", grant=[]) == "not granted -> no capability"
    wider = author("1.1.0", **OPEN)
    assert reason(src=wider, trust="unsigned", grant=["logging"]).startswith("no capability -> logging; + container_info: ")
    assert reason(grant=[]) == "logging -> no capability"


def test_case_87_downgrade(root: pathlib.Path, author: Author) -> None:
    old, new = author(), author("1.2.0")
    predicted(root, src=new, trust="unsigned")
    refused(root, "E_TRUST", "1.0.0 is older", src=old, trust="unsigned")
    predicted(root, src=old, trust="unsigned", allow_downgrade=True)
    predicted(root, state="absent")
    refused(root, "E_TRUST", "1.0.0 is older", src=old, trust="unsigned")  # also after a removal
    predicted(root, src=new, trust="unsigned")


def test_rolled_back(root: pathlib.Path, author: Author) -> None:
    predicted(root, src=author(), trust="unsigned")
    refused(root, "E_NOT_FOUND", "no earlier version", state="rolled_back")
    predicted(root, src=author("2.0.0"), trust="unsigned")
    result = ask(state="rolled_back")
    assert result["changed"] and result["plugin"]["version"] == "1.0.0"
    assert ask(state="rolled_back")["plugin"]["version"] == "2.0.0"  # and back again


@pytest.mark.parametrize("version", ["1.0.0", "<2"])
def test_rolled_back_to_a_version(root: pathlib.Path, author: Author, version: str) -> None:
    refused(root, "E_NOT_FOUND", "no earlier version", state="rolled_back", version=version)
    predicted(root, src=author(), trust="unsigned")
    assert predicted(root, state="rolled_back", version=version)["changed"] is False  # it never was another one
    refused(root, "E_NOT_FOUND", "no earlier version", state="rolled_back", version="2.0.0")
    predicted(root, src=author("2.0.0"), trust="unsigned")
    refused(root, "E_VERSION", "2.0.0 here, and the version before is 1.0.0", state="rolled_back", version="1.5.0")
    result = predicted(root, state="rolled_back", version=version)
    assert result["changed"] and result["plugin"]["version"] == "1.0.0" and [action["action"] for action in result["plan"]] == ["update"]
    assert predicted(root, state="rolled_back", version="2.0.0")["plugin"]["version"] == "2.0.0"


def test_reloaded(root: pathlib.Path, author: Author) -> None:
    predicted(root, src=author(), trust="unsigned")
    folder = root / "etc/nexcage/plugins"
    assert ask(state="reloaded", trust="unsigned")["changed"] is False
    newer = pathlib.Path(author("1.1.0"))
    (folder / newer.name).write_bytes(newer.read_bytes())
    refused(root, "E_EXISTS", "demo-backend-1.0.0.nexcage-plugin and demo-backend-1.1.0.nexcage-plugin", state="reloaded", trust="unsigned")
    (folder / "demo-backend-1.0.0.nexcage-plugin").unlink()
    refused(root, "E_INTEGRITY", "is gone", state="enabled")
    result = predicted(root, state="reloaded", trust="unsigned")
    assert result["changed"] and result["plugin"]["version"] == "1.1.0"
    (folder / newer.name).unlink()
    refused(root, "E_NOT_FOUND", "no package of demo-backend", state="reloaded", trust="unsigned")


def test_enabled_disabled_priority_config(root: pathlib.Path, author: Author) -> None:
    source = author(configuration={"level": {"type": "integer", "default": 1}})
    predicted(root, src=source, trust="unsigned", priority=7, config={"level": 3})
    assert predicted(root, state="disabled")["plugin"]["state"] == "disabled"
    assert modules.run("nexcage_plugin_info", name=[NAME])["plugins"][0]["enabled"] is False
    assert predicted(root, state="enabled")["diff"]["after"] == {"enabled": True}
    refused(root, "E_INVALID", "config.level", state="present", config={"level": "x"})
    refused(root, "E_INVALID", "config.other", config={"other": 1})
    assert predicted(root, config={})["plugin"]["config"] == {}


SECRET = {"type": "string", "sensitive": True}


def test_secret_settings_are_kept_and_not_shown(root: pathlib.Path, author: Author) -> None:
    source = author(configuration={"token": SECRET, "pin": SECRET, "level": {"type": "integer"}})
    file = root / "etc/nexcage/config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    file.chmod(0o644)
    first = predicted(root, src=source, trust="unsigned", config={"token": "s3cret-token", "level": 3})
    assert first["plugin"]["config"] == {"token": "********", "level": 3}
    assert json.loads(file.read_text())["plugins"][NAME]["config"] == {"token": "s3cret-token", "level": 3}
    assert file.stat().st_mode & 0o777 == 0o600
    second = predicted(root, config={"token": "another-token", "pin": "s3cret-pin", "level": 3})
    assert (second["changed"], second["plan"][0]["action"]) == (True, "configure")
    assert second["diff"]["after"] == {"config": {"token": "********", "pin": "********", "level": 3}}
    third = predicted(root, config={"token": "s3cret-token", "pin": "s3cret-pin", "level": 3})
    assert (third["changed"], third["diff"]["after"]) == (True, second["diff"]["after"]), "it looks as before"
    predicted(root, config={"token": "another-token", "pin": "s3cret-pin", "level": 3})
    assert json.loads(file.read_text())["plugins"][NAME]["config"]["token"] == "another-token"
    (told,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
    wrong = [
        refused(root, "E_INVALID", said, config=config) for said, config in (("config.token", {"token": 987654321}), ("config.tokn", {"tokn": "s3cret-token"}))
    ]
    shown = json.dumps([first, second, told, [entry["error"] for entry in wrong], [entry["msg"] for entry in wrong]])
    assert "s3cret" not in shown and "another-token" not in shown and "987654321" not in shown
    (root / "etc/nexcage/plugins/demo-backend-1.0.0.nexcage-plugin").unlink()
    (told,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
    assert told["config"] == {"token": "********", "pin": "********", "level": "********"}, "nobody can tell which is a secret"
    assert predicted(root, state="absent")["changed"]


TELLTALE = """
from ..sdk.backend import BackendExtension


class Backend(BackendExtension):
    name = "demo-backend"

    def health(self, host, params):
        return {"status": "degraded", "problems": [f"{name} is {value[::-1]}" for name, value in sorted(self.config.items())], "version": ""}


def backend():
    return Backend()
"""


def test_a_secret_reaches_no_worker(root: pathlib.Path, author: Author) -> None:
    """Also not where the plugin asks for nothing that a secret is good for, nor that of a version that had such a setting."""
    text = {"type": "string"}
    predicted(
        root,
        src=author(source=TELLTALE, configuration={"token": SECRET, "place": text}),
        trust="unsigned",
        config={"token": "s3cret-token", "place": "here"},
    )
    problems = []
    for version in ("1.0.0", "1.1.0"):
        (told,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
        assert told["config"] == {"token": "********", "place": "here"}
        problems.append(told["health"]["problems"])
        if version == "1.0.0":
            later = predicted(root, src=author("1.1.0", source=TELLTALE, configuration={"place": text}), trust="unsigned")
            assert later["plugin"]["config"] == told["config"]
    assert problems == [["place is ereh"]] * 2


def test_a_file_without_a_secret_stays_readable(root: pathlib.Path, author: Author) -> None:
    predicted(
        root, src=author(configuration={"token": {"type": "string", "sensitive": True}, "level": {"type": "integer"}}), trust="unsigned", config={"level": 3}
    )
    assert (root / "etc/nexcage/config.json").stat().st_mode & 0o777 == 0o644


def test_in_quarantine(root: pathlib.Path, author: Author) -> None:
    predicted(root, src=author(), trust="unsigned")
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})
    record = records.read(layout, NAME)
    assert record is not None
    records.write(layout, record._replace(quarantined="it crashed 5 times"))
    (found,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
    assert found["health"]["status"] == "unhealthy" and "crashed 5 times" in found["health"]["problems"][0]
    assert predicted(root, state="enabled")["plugin"]["state"] == "loaded"


def test_another_package_is_not_in_quarantine_for_what_this_one_did(root: pathlib.Path, author: Author) -> None:
    source = author()
    predicted(root, src=source, trust="unsigned")
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})
    for parameters in ({"src": author("1.0.1"), "trust": "unsigned"}, {"state": "rolled_back"}):
        record = records.read(layout, NAME)
        assert record is not None
        records.write(layout, record._replace(quarantined="it crashed 5 times"))
        assert ask(state="present")["plugin"]["state"] == "error_state"
        first, second = ask(check=True, **parameters), ask(**parameters)
        assert (first["plan"], first["plugin"]) == (second["plan"], second["plugin"])
        assert second["plugin"]["state"] == "loaded" and ask(state="present")["changed"] is False


@pytest.mark.parametrize(
    ("code", "said", "fields", "parameters"),
    [
        ("E_DEPENDENCY", "needs the plugin other-backend", {"dependencies": ["other-backend"]}, {}),
        ("E_SYSTEM", "architecture is mips", {"system_requirements": {"architecture": ["mips"]}}, {}),
        ("E_BINARY", "nexcage-no-such is not installed", {"binary_dependencies": [{"name": "nexcage-no-such", "version": ">=1"}]}, {}),
        ("E_VERSION", "the package is demo-backend 1.0.0", {}, {"version": ">=2"}),
        ("E_VERSION", "the package is demo-backend 1.0.0", {}, {"version": "1.0.1"}),
        ("E_INVALID", "is the plugin demo-backend", {}, {"name": "another-backend"}),
        ("E_INTEGRITY", "has the digest", {}, {"trust": "signature", "digest": "sha256:" + "0" * 64}),
    ],
)
def test_refused(root: pathlib.Path, author: Author, code: str, said: str, fields: dict[str, t.Any], parameters: dict[str, t.Any]) -> None:
    refused(root, code, said, **{"src": author(**fields), "trust": "unsigned", **parameters})
    source = author("1.0.0")  # without the flaw
    assert ask(src=source, trust="unsigned", version="~=1.0")["changed"]


def test_a_plugin_that_another_needs(root: pathlib.Path, author: Author) -> None:
    predicted(root, src=author(), trust="unsigned")
    ask(name="other-backend", src=author(name="other-backend", dependencies=[{"name": NAME, "version": ">=1"}]), trust="unsigned")
    refused(root, "E_DEPENDENCY", "other-backend needs it", state="absent")
    assert ask(name="other-backend", state="absent")["changed"] and ask(state="absent")["changed"]
    assert ask(state="absent")["changed"] is False


def test_case_90_a_reserved_name(root: pathlib.Path, author: Author) -> None:
    result = ask(name="nexcage.core", src=author(name="nexcage.core"), trust="unsigned")
    assert result["error"]["code"] == "E_TRUST", result
    for parameters in ({"src": author()}, {"state": "absent"}, {"grant": []}, {"state": "rolled_back"}):
        result = ask(name="crun", **parameters)
        assert result["error"]["code"] == "E_UNSUPPORTED" and "built in" in result["msg"]


def test_what_is_not_installed(root: pathlib.Path) -> None:
    for parameters in ({"state": "enabled"}, {"state": "disabled"}, {"state": "present"}, {"priority": 3}):
        refused(root, "E_NOT_FOUND", "not installed", **parameters)
    assert ask(state="absent")["changed"] is False
    refused(root, "E_NOT_FOUND", "no such file", src="/nexcage/none.nexcage-plugin")


def test_a_package_that_was_tampered_with_is_put_right(root: pathlib.Path, author: Author) -> None:
    source = author()
    predicted(root, src=source, trust="unsigned")
    path = root / "etc/nexcage/plugins" / pathlib.Path(source).name
    good = path.read_bytes()
    for harm in (lambda: path.write_bytes(releases.data(description="Another one")), path.unlink, lambda: path.chmod(0o666)):
        harm()
        (found,) = modules.run("nexcage_plugin_info", name=[NAME])["plugins"]
        assert (found["state"], found["health"]["status"]) == ("error_state", "unhealthy")
        result = predicted(root, src=source, trust="unsigned")
        assert [action["action"] for action in result["plan"]] == ["repair"] and path.read_bytes() == good and path.stat().st_mode & 0o777 == 0o644


def test_every_change_is_in_the_audit_log(root: pathlib.Path, author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    source = author()
    ask(src=source, trust="unsigned", check=True)
    log = root / "var/log/nexcage/audit.jsonl"
    assert not log.exists()
    for parameters in ({"src": source, "trust": "unsigned"}, {"priority": 3}, {"priority": 3}, {"state": "absent"}):
        assert not ask(**parameters).get("failed")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["phase"], line.get("call")) for line in lines if line["phase"] != "run"] == [
        (phase, call) for call in ("plugin.install", "plugin.configure", "plugin.remove") for phase in ("intent", "outcome")
    ]
    assert lines[0]["plugin"] == NAME and lines[0]["trust"] == "unsigned" and lines[0]["digest"].startswith("sha256:")

    def full(*_arguments: object) -> t.NoReturn:
        raise NexcageError("E_SPACE", "no space")

    monkeypatch.setattr(records, "write", full)
    assert ask(src=source, trust="unsigned", allow_downgrade=True)["error"]["code"] == "E_SPACE"
    assert json.loads(log.read_text().splitlines()[-2])["error"] == "E_SPACE"


def test_case_97_without_a_line_of_intent_nothing_is_installed(root: pathlib.Path, author: Author) -> None:
    source = author()
    (root / "var/log").mkdir(parents=True)
    (root / "var/log/nexcage").write_text("no folder")
    before = snapshot(root)
    result = ask(src=source, trust="unsigned")
    assert result["error"]["code"] == "E_AUDIT" and snapshot(root) == before
    (root / "var/log/nexcage").unlink()
    assert ask(src=source, trust="unsigned")["changed"]


def test_many_plugins_cost_nothing_before_their_turn(root: pathlib.Path, author: Author, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        name = f"demo{number}-backend"
        assert ask(name=name, src=author(name=name), trust="unsigned", priority=30 - number)["changed"]
    layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(root)})
    opened: list[str] = []
    fetch = installed.fetch
    monkeypatch.setattr(installed, "fetch", lambda place, name, release: [opened.append(name), fetch(place, name, release)][1])
    turns = registry.in_order(layout)
    assert [next(turns).name for _number in range(2)] == ["crun-backend", "runc-backend"] and opened == []
    assert [plugin.name for plugin in turns] == opened == ["demo2-backend", "demo1-backend", "demo0-backend"]
