# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error code, provoked through a module, as docs/errors.md says it; without what provoked it, the same task passes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import re
import socket
import subprocess
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.broker.oci.engine import OciEngine
from ansible_collections.nexcage.backends.plugins.module_utils.manager import breaker
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import REMEDIES
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.tests.support import ansible_cli, listening, modules, packages, signing
from ansible_collections.nexcage.backends.tests.support.host import Host, run_as_nobody
from ansible_collections.nexcage.backends.tests.support.provoking import NAME, Scene

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox", "ssh-keygen")

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
DOCUMENTED = yaml.safe_load((DOCS / "data/errors.yml").read_text())
Parameters = dict[str, t.Any]


class Task(t.NamedTuple):
    """A task that fails while something is wrong.

    Args:
        module: Its name.
        parameters: Of the task.
        mended: Of the same task as it should be written; ``None`` where it is right already, and the host is not.
    """

    module: str
    parameters: Parameters
    mended: Parameters | None = None


Provocation = t.Callable[[Scene], t.Iterator[Task]]
PROVOCATIONS: dict[str, Provocation] = {}


def provokes(code: str) -> t.Callable[[Provocation], Provocation]:
    """Of a function that makes something wrong, tells the task that fails, and mends what is wrong with the host."""

    def register(function: Provocation) -> Provocation:
        assert code not in PROVOCATIONS
        PROVOCATIONS[code] = function
        return function

    return register


def trick(code: str, name: str, **parameters: t.Any) -> None:
    """Register something that a plugin does."""

    @provokes(code)
    def play(scene: Scene) -> t.Iterator[Task]:
        scene.install()
        yield Task("nexcage_container", scene.trick(name, **parameters), scene.trick("well-behaved"))


def manifest(code: str, **fields: t.Any) -> None:
    """Register something in a manifest with which a package is not installed."""

    @provokes(code)
    def install(scene: Scene) -> t.Iterator[Task]:
        yield Task("nexcage_plugin", scene.source(**fields))
        scene.source()  # in its place


trick("E_CRASH", "crash")
trick("E_PROTOCOL", "garbage")
trick("E_PLUGIN", "raise")
trick("E_TIMEOUT", "sleep", timeout=1)
trick("E_LIMIT", "calls")
trick("E_CAPABILITY", "executes")
trick("E_READ_ONLY", "starts")
trick("E_FS", "folder")
manifest("E_MANIFEST", resource_requirements={"max_memory_mb": "much"})
manifest("E_VERSION", api_version=99)
manifest("E_DEPENDENCY", dependencies=["base-tools"])
manifest("E_BINARY", binary_dependencies=[{"name": "no-such-program", "version": ">=2"}])
manifest("E_SYSTEM", system_requirements={"os": ["plan9"]})


@provokes("E_INVALID")
def _value(scene: Scene) -> t.Iterator[Task]:
    yield Task("nexcage_container", scene.task(memory="12potatoes"), scene.task(memory="12m"))


@provokes("E_NOT_FOUND")
def _nobody(scene: Scene) -> t.Iterator[Task]:
    yield Task("nexcage_plugin", {"name": "acme-backend", "state": "enabled"}, {"name": "crun-backend", "state": "enabled"})


@provokes("E_EXISTS")
def _two_packages(scene: Scene) -> t.Iterator[Task]:
    scene.install()
    twin = scene.etc / f"plugins/{NAME}-1.0.1.nexcage-plugin"
    twin.write_bytes(scene.package(version="1.0.1").read_bytes())
    yield Task("nexcage_plugin", {"name": NAME, "state": "reloaded", "trust": "unsigned"})
    twin.unlink()


@provokes("E_OWNER")
def _of_another(scene: Scene) -> t.Iterator[Task]:
    scene.host.start("probed", "runc", state="present")
    yield Task("nexcage_container", scene.task(), scene.task(backend="runc"))


@provokes("E_PRIVILEGE")
def _no_root(scene: Scene) -> t.Iterator[Task]:
    yield Task("nobody", scene.task())


@provokes("E_SIGNATURE")
def _unsigned(scene: Scene) -> t.Iterator[Task]:
    source = scene.source()
    yield Task("nexcage_plugin", {**source, "trust": "signature"}, source)


@provokes("E_INTEGRITY")
def _flipped(scene: Scene) -> t.Iterator[Task]:
    source = scene.source()
    path = pathlib.Path(source["src"])
    right = path.read_bytes()
    path.write_bytes(right.replace(b"class Probe", b"class probe"))
    yield Task("nexcage_plugin", source)
    path.write_bytes(right)


@provokes("E_TRUST")
def _foreign_key(scene: Scene) -> t.Iterator[Task]:
    ours, theirs = signing.Key(scene.folder, "ours"), signing.Key(scene.folder, "theirs")
    scene.trust(ours.line())
    source = {**scene.source(), "trust": "signature"}
    scene.package(theirs)
    yield Task("nexcage_plugin", source)
    scene.package(ours)


@provokes("E_HTTP")
def _no_server(scene: Scene) -> t.Iterator[Task]:
    source = scene.source()
    yield Task("nexcage_plugin", {**source, "src": f"https://127.0.0.1:{unused_port()}/{NAME}-1.0.0.nexcage-plugin"}, source)


@provokes("E_GRANT")
def _not_granted(scene: Scene) -> t.Iterator[Task]:
    source = scene.source()
    yield Task("nexcage_plugin", {**source, "grant": None}, source)


@provokes("E_POLICY")
def _denied(scene: Scene) -> t.Iterator[Task]:
    rule = {"id": "no-make", "effect": "deny", "when": {"op": ["create"], "container": {"glob": "prob*"}}, "message": "ask the platform team"}
    path = scene.write("policy.json", {"version": 1, "rules": [rule]})
    yield Task("nexcage_container", scene.task())
    path.unlink()


@provokes("E_SANDBOX")
def _no_namespaces(scene: Scene) -> t.Iterator[Task]:
    policy = scene.write("policy.json", {"version": 1, "sandbox": {"minimum": {"third_party": "strong"}}})
    scene.install()
    with scene.patch.context() as patch:
        patch.setattr(strong, "FOLDERS", ())  # where bubblewrap is looked for
        yield Task("nexcage_container", scene.trick("well-behaved"))
    policy.unlink()  # so that it passes on a machine without


@provokes("E_VETO")
def _vetoed(scene: Scene) -> t.Iterator[Task]:
    rows = listening.hooks("container.pre_create", strategy="abort")
    (scene.folder / "hooks").mkdir()
    listening.install(
        scene.folder / "hooks", listening.Journal(scene.folder / "journal"), "alpha-hooks", rows, {"at": "container.pre_create", "todo": "refuse"}
    )
    yield Task("nexcage_container", scene.task())
    modules.works("nexcage_plugin", name="alpha-hooks", state="absent")


@provokes("E_UNSUPPORTED")
def _no_pause(scene: Scene) -> t.Iterator[Task]:
    task = {"name": "crun-backend", "state": "absent"}
    yield Task("nexcage_plugin", task, {**task, "state": "enabled"})


@provokes("E_QUARANTINED")
def _five_crashes(scene: Scene) -> t.Iterator[Task]:
    scene.install()
    for _turn in range(breaker.FAULTS):
        modules.fails("nexcage_container", **scene.trick("crash"))
    yield Task("nexcage_container", scene.trick("well-behaved"))
    modules.works("nexcage_plugin", name=NAME, state="enabled")


@provokes("E_DISABLED")
def _disabled(scene: Scene) -> t.Iterator[Task]:
    modules.works("nexcage_plugin", name="crun-backend", state="disabled")
    yield Task("nexcage_container", scene.task())
    modules.works("nexcage_plugin", name="crun-backend", state="enabled")


@provokes("E_RUNTIME")
def _not_mountable(scene: Scene) -> t.Iterator[Task]:
    yield Task("nexcage_container", scene.task(volumes=["/etc/passwd:/bin"]), scene.task(volumes=["/etc/passwd:/srv/passwd"]))


@provokes("E_IMAGE")
def _no_image(scene: Scene) -> t.Iterator[Task]:
    yield Task("nexcage_container", scene.task(image=f"oci:{scene.folder}/missing:1"), scene.task())


@provokes("E_REGISTRY")
def _no_registry(scene: Scene) -> t.Iterator[Task]:
    yield Task("nexcage_container", scene.task(image=f"docker://127.0.0.1:{unused_port()}/web:1"), scene.task())


@provokes("E_SPACE")
def _full(scene: Scene) -> t.Iterator[Task]:
    author, place = scene.folder / "author", scene.folder / "small"
    author.mkdir()
    place.mkdir()
    for name, content in packages.files().items():
        (author / name).write_bytes(content)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs", str(place)], check=True)
    try:
        (place / "ballast").write_bytes(b"x" * 8192)
        yield Task("nexcage_plugin_package", {"src": str(author), "dest": str(place)})
    finally:
        subprocess.run(["umount", str(place)], check=True)


@provokes("E_AUDIT")
def _no_log(scene: Scene) -> t.Iterator[Task]:
    scene.host.start("probed", "crun", state="absent")
    log = pathlib.Path(scene.host.layout.audit)
    kept = log.rename(log.with_suffix(".kept")) if log.exists() else None
    log.mkdir(parents=True)
    yield Task("nexcage_container", scene.task())
    log.rmdir()
    if kept:
        kept.rename(log)


@provokes("E_STATE")
def _damaged(scene: Scene) -> t.Iterator[Task]:
    path = scene.write("config.json", '{"plugin_manager": ', 0o644)
    yield Task("nexcage_container", scene.task())
    path.unlink()


@provokes("E_LOCKED")
def _held(scene: Scene) -> t.Iterator[Task]:
    path = pathlib.Path(scene.host.layout.runtime, "tasks/probed")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        lock.write(f"process {os.getpid()}: start probed")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Task("nexcage_container", scene.task(timeout=1))


@provokes("E_INTERNAL")
def _defect(scene: Scene) -> t.Iterator[Task]:
    def defect(*_arguments: object, **_more: object) -> t.NoReturn:
        raise ZeroDivisionError

    with scene.patch.context() as patch:
        patch.setattr(OciEngine, "create", defect)
        yield Task("nexcage_container", scene.task())


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def scene(host: Host, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Scene]:
    tmp_path.chmod(0o755)
    yield Scene(host, tmp_path, monkeypatch)
    modules.works("nexcage_plugin", name=NAME, state="absent")


def run(task: Task, parameters: Parameters, folder: pathlib.Path) -> modules.Result:
    if task.module == "nobody":
        return run_as_nobody(folder, "nexcage_container", **parameters)
    return modules.run(task.module, **{key: value for key, value in parameters.items() if value is not None})


def pattern(example: str) -> str:
    """A regular expression for a message, in which an ellipsis stands for what differs from host to host."""
    return ".*".join(re.escape(part) for part in example.split("…"))


@pytest.mark.parametrize("code", sorted(REMEDIES))
def test_a_task_ends_with(code: str, scene: Scene) -> None:
    with contextlib.contextmanager(PROVOCATIONS[code])(scene) as task:
        result = run(task, task.parameters, scene.folder)
    error = result.get("error") or {}
    assert result.get("failed") and error.get("code") == code, json.dumps(result, indent=1)
    assert error["remedy"] and error["remedy"] in result["msg"]
    named = [str(error[key]) for key in ("option", "value") if error[key] is not None]
    assert named and all(name in result["msg"] for name in named), error
    assert re.fullmatch(pattern(DOCUMENTED[code]["example"]), result["msg"], re.DOTALL), result["msg"]
    if task.module == "nobody":
        task = Task("nexcage_container", task.parameters)
    again = run(task, task.mended or task.parameters, scene.folder)
    assert not again.get("failed"), again.get("msg")


def test_every_code_is_provoked_and_no_other() -> None:
    assert set(PROVOCATIONS) == set(REMEDIES)


def test_a_playbook_decides_by_the_code(tmp_path: pathlib.Path) -> None:
    (text,) = re.findall(r"<!-- example: rescue -->\n```yaml\n(.*?)```", (DOCS / "errors.md").read_text(), re.DOTALL)
    play = ansible_cli.write_playbook(tmp_path / "play.yml", {"tasks": yaml.safe_load(text)})
    outcome = ansible_cli.plays_well(tmp_path / "home", play, NEXCAGE_ROOT=str(tmp_path / "root"))
    assert outcome.of("Run it")["error"]["option"] == "memory"
    assert outcome.of("Say what to do")["msg"].startswith("E_INVALID: write a number with an optional unit")
