# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates that open more under the same names: what stops, and what is only seen."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import package
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


def commands(*names: str) -> dict[str, t.Any]:
    """A manifest that runs a command for each name."""
    made = {name: {"binary": "true", "argv": [name], "parameters": {}, "timeout_seconds": 5} for name in names}
    return {"capabilities": ["container_list", "host_command"], "commands": made, "binary_dependencies": [{"name": "true"}]}


def test_a_grant_that_stays_in_the_task_stands_for_no_new_command(root: pathlib.Path, author: Author) -> None:
    task = {"grant": ["container_list", "host_command"], "accept_root_equivalent": True}

    def source(version: str, *names: str) -> dict[str, t.Any]:
        path = author(version, **commands(*names))
        return {"src": path, "digest": author.digest(path), **task}

    predicted(root, **source("1.0.0", "status"))
    assert [action["action"] for action in predicted(root, **source("1.0.1", "status"))["plan"]] == ["update"]
    wider = source("1.1.0", "status", "evil")
    error = refused(root, "E_GRANT", 'command evil: ["true", "evil"]', **wider)["error"]
    assert error["option"] == "scope_digest" and error["details"]["difference"][0].startswith("+ host_command: command evil")
    named = error["details"]["scope_digest"]
    assert f"scope_digest: {named}" in error["details"]["grant"]
    asked = refused(root, "E_GRANT", "command evil", **{**wider, "grant": None})["error"]  # the block is the one to paste here too
    assert asked["details"]["grant"] == error["details"]["grant"]
    refused(root, "E_GRANT", "not the one that the task names", **wider, scope_digest="sha256:" + "0" * 64)
    result = predicted(root, **wider, scope_digest=named)
    (step,) = [action for action in result["plan"] if action["action"] == "grant"]
    assert (
        step["changes"] == ['+ host_command: command evil: ["true", "evil"], at most 5 s, kind: "write" [root-equivalent]']
        and step["changes"][0] in step["reason"]
    )
    assert [f"+ {line}" for line in result["diff"]["after"]["scope"]] == step["changes"] and result["diff"]["before"]["scope"] == []
    refused(root, "E_GRANT", "- host_command: command evil", **source("1.2.0", "status"), scope_digest=named)  # exactly that one
    result = predicted(root, **source("1.2.0", "status"))  # less needs no new word, and is seen too
    assert "- host_command: command evil" in str(result["plan"]) and not result["diff"]["after"]["scope"]


def test_a_capability_named_for_the_first_time_is_the_task_saying_so(root: pathlib.Path, author: Author) -> None:
    path = author(**OPEN)
    predicted(root, src=path, digest=author.digest(path), grant=["container_list"])
    wider = author("1.1.0", **commands("status"))
    task = {"src": wider, "digest": author.digest(wider), "grant": ["container_list", "host_command"]}
    refused(root, "E_GRANT", "can become root", **task)
    result = predicted(root, **task, accept_root_equivalent=True)
    assert [action["action"] for action in result["plan"]] == ["update", "grant"]


def test_what_is_not_root_equivalent_is_granted_by_the_same_names_and_seen(root: pathlib.Path, author: Author) -> None:
    capabilities = ["container_list", "filesystem_read"]
    task = {"trust": "unsigned", "grant": capabilities}
    predicted(root, src=author(capabilities=capabilities, filesystem={"read": ["logs"], "write": []}), **task)
    wider = author("1.1.0", capabilities=capabilities, filesystem={"read": ["logs", "images"], "write": []})
    first = ask(check=True, src=wider, **task)
    assert "read below the root images [scoped]" in str(first["warnings"])
    result = predicted(root, src=wider, **task)
    assert "+ filesystem_read: read below the root images [scoped]" in result["plan"][1]["reason"]
    assert result["diff"]["after"]["scope"] == ["filesystem_read: read below the root images [scoped]"]
    assert "images" not in str(ask(src=wider, **task)["warnings"])
