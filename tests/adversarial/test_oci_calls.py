# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adversaries 50, 54 to 64, 76 and 97: what a plugin tries through the calls for containers.

A locked worker, the gate, its handlers, the engine and crun are the real ones; only images come from a folder. Beside
each refusal stands the same thing without the flaw, or written by the operator, and that works.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import handlers
from ansible_collections.nexcage.backends.plugins.module_utils.broker.audit import Audit
from ansible_collections.nexcage.backends.plugins.module_utils.broker.gate import Gate
from ansible_collections.nexcage.backends.plugins.module_utils.manager import dispatch, registry
from ansible_collections.nexcage.backends.plugins.module_utils.model import options
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES
from ansible_collections.nexcage.backends.plugins.module_utils.model.container import ContainerSpec
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import EFFECTS, READ
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.support.containers import Yard
from ansible_collections.nexcage.backends.tests.support.host import lives

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "busybox")

IMAGE = "docker-archive:busybox.tar"
NAMED = sorted(call for call, row in EFFECTS.items() if "name" in row.parameters)
CHANGING = sorted(call for call in NAMED if EFFECTS[call].kind != READ)
Config = dict[str, t.Any]


class Images:
    """The image store's answers for the one image there is; another one is there as well."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard

    def resolve(self, reference: str, pull: str = "missing", **_rest: object) -> dict[str, t.Any]:
        return {"reference": reference, "digest": self.yard.image["digest"], "present": True}

    def ensure(self, reference: str, pull: str = "missing", **_rest: object) -> dict[str, t.Any]:
        return {**self.resolve(reference), "changed": False}

    def path(self, digest: str) -> str:
        return os.path.dirname(self.yard.image["path"])

    def configuration(self, digest: str) -> t.Any:
        return self.yard.image["config"]


class Attack:
    """A hostile plugin in the place of crun-backend, and a task about the container ``web``."""

    def __init__(self, yard: Yard, worker: Worker, patch: pytest.MonkeyPatch) -> None:
        self.yard, self.worker = yard, worker
        patch.setattr(handlers.Workbench, "images", property(lambda _bench: Images(yard)))
        self.orders: dict[str, handlers.Order] = {}
        self.order()
        self.capabilities: list[str] = list(CAPABILITIES)
        self.audit = Audit(yard.layout.audit)

    def order(self, more: handlers.Order | None = None, **parameters: t.Any) -> None:
        """What the operator's task says."""
        spec = options.container_spec({"name": "web", "image": IMAGE, **parameters})
        self.orders["web"] = (more or handlers.Order())._replace(spec=spec)

    def call(self, call: str, **given: t.Any) -> t.Any:
        """Let the plugin make one call."""
        bench = handlers.Workbench(self.yard.layout, self.yard.engine.places.backend, self.yard.runtime, self.orders)
        bench.digests[IMAGE] = {self.yard.image["digest"]}
        manifest = {"name": "crun-backend", "capabilities": self.capabilities}
        gate = Gate(manifest, handlers.read_handlers(bench), handlers.write_handlers(bench), self.audit, context={"op": "start"}, targets=["web"])
        try:
            return self.worker.request("exec", {"probe": 50, "call": call, "given": given}, gate.call)
        finally:
            self.yard.note()

    def refused(self, call: str, code: str, **given: t.Any) -> NexcageError:
        with pytest.raises(NexcageError) as caught:
            self.call(call, **given)
        assert caught.value.code == code, caught.value
        return caught.value

    def create(self) -> Config:
        """Create the container as the task says; what the runtime was given."""
        self.call("oci.create", name="web", image=self.yard.image["digest"])
        config: Config = json.loads(pathlib.Path(self.yard.one()["backend_details"]["bundle"], "config.json").read_text())
        return config


@pytest.fixture
def yard() -> t.Iterator[Yard]:
    place = Yard("crun")
    yield place
    assert place.clear() == []


@pytest.fixture
def attack(yard: Yard, locked: Worker, monkeypatch: pytest.MonkeyPatch) -> Attack:
    return Attack(yard, locked, monkeypatch)


def test_case_50_undeclared_capability(attack: Attack) -> None:
    attack.capabilities = ["container_start"]
    assert "container_create" in attack.refused("oci.create", "E_CAPABILITY", name="web", image=attack.yard.image["digest"]).message
    assert attack.yard.engine.listing() == []
    attack.capabilities = ["container_create"]
    attack.create()
    assert attack.yard.status() == "created"


def test_case_54_name_that_is_an_option(attack: Attack, tmp_path: pathlib.Path) -> None:
    for call in NAMED:
        for name in (f"--log={tmp_path}/x", "-f", "--", "--root=/"):
            assert attack.refused(call, "E_INVALID", name=name).option == "name"
    assert list(tmp_path.iterdir()) == []
    attack.create()


def test_case_55_name_that_is_a_path_or_two_lines(attack: Attack) -> None:
    for call in NAMED:
        for name in ("a\0b", "a\nb", "../web", "web/../../x", "/web", ".", "..", "a b", "w\u0435b", "", "n" * 129, None, ["web"]):
            assert attack.refused(call, "E_INVALID", name=name).option == "name"
    attack.create()


def _rows(case: int) -> tuple[Config, t.Callable[[Config], object], t.Any, Config]:
    """What the plugin invents; what to look at; what is there without the operator's word; the operator's word."""
    hidden = {"type": "bind", "source": "/", "destination": "/host", "options": ["rbind", "rw"]}
    return {
        56: ({"hooks": {"createRuntime": [{"path": "/bin/sh"}]}}, lambda c: c.get("hooks"), None, {}),
        57: ({"mounts": [hidden]}, lambda c: [m["source"] for m in c["mounts"] if m.get("source") == "/"], [], {"volumes": ["/:/host:ro"]}),
        58: ({"mounts": [{**hidden, "source": "/srv"}], "volumes": ["/srv:/x"]}, _sources, [], {"volumes": ["/srv:/x"]}),
        59: ({"namespaces": [{"type": "mount", "path": "/proc/1/ns/mnt"}]}, _namespaces, (True, []), {"network_mode": "host"}),
        60: ({"capabilities": ["CAP_SYS_ADMIN"], "cap_add": ["SYS_ADMIN"], "privileged": True}, _powerful, False, {"cap_add": ["SYS_ADMIN"]}),
        61: ({"cwd": "/proc/self/fd/7", "working_dir": "/proc/self/fd/7"}, lambda c: c["process"]["cwd"], "/", {"working_dir": "/tmp"}),
        62: ({"annotations": {"run.oci.handler": "x"}, "unknown": 1}, _foreign, [], {"annotations": {"com.example.a": "b"}}),
        63: ({"rootfs": "/", "root": {"path": "/"}, "bundle": "/"}, lambda c: c["root"]["path"] == "/", False, {}),
    }[case]


def _sources(config: Config) -> list[str]:
    return [mount["source"] for mount in config["mounts"] if mount.get("source") == "/srv"]


def _namespaces(config: Config) -> tuple[bool, list[str]]:
    """Whether the network is its own, and the namespaces that are somebody's already."""
    found = {entry["type"]: entry.get("path") for entry in config["linux"]["namespaces"]}
    assert {"pid", "ipc", "uts", "mount"} <= set(found)
    return "network" in found, [kind for kind, path in found.items() if path]


def _powerful(config: Config) -> bool:
    return "CAP_SYS_ADMIN" in config["process"]["capabilities"]["bounding"]


def _foreign(config: Config) -> list[str]:
    return [name for name in config.get("annotations", {}) if not name.startswith("org.nexcage.")]


CASES = {
    56: "hook of the runtime",
    57: "bind mount of the root",
    58: "mount source nobody wrote",
    59: "namespace of the host",
    60: "capability",
    61: "working folder behind a descriptor",
    62: "annotation or unknown key",
    63: "root of the host as root file system",
}


@pytest.mark.parametrize(
    "case", [pytest.param(number, id=f"case_{number}_{what.replace(' ', '_')}", marks=pytest.mark.case(number)) for number, what in CASES.items()]
)
def test_what_the_plugin_invents_never_reaches_the_runtime(case: int, attack: Attack) -> None:
    invented, look, usual, operator = _rows(case)
    for call in (*CHANGING, "oci.check"):
        for key, value in invented.items():
            assert f"no parameter {key!r}" in attack.refused(call, "E_INVALID", name="web", **{key: value}).message
        assert attack.refused(call, "E_INVALID", name="web", spec=invented, config=invented)
    assert attack.yard.engine.listing() == []
    found = look(attack.create())
    assert found == usual
    if operator:
        attack.call("oci.delete", name="web")
        attack.order(**operator)
        assert look(attack.create()) not in (usual, found), "the operator may"


def test_case_58_paths_inside_calls_are_paths_in_the_container(attack: Attack, tmp_path: pathlib.Path) -> None:
    """The one call that takes a path looks with the container's own root; its links lead nowhere else."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    attack.create()
    attack.call("oci.start", name="web")
    script = f"busybox ln -s {secret} /tmp/link; busybox ln -s /proc/1/root{secret} /tmp/deep; echo x > /tmp/own; busybox ln -s /tmp/own /tmp/good"
    assert attack.yard.shell(script)[0] == 0
    for path in (str(secret), "/tmp/link", "/tmp/deep", f"/../../..{secret}", f"/proc/self/cwd{secret}"):
        assert attack.call("oci.exists", name="web", path=path) is False, path
    for path in ("/tmp/own", "/tmp/good"):
        assert attack.call("oci.exists", name="web", path=path) is True, path


def test_an_image_nobody_wrote(attack: Attack) -> None:
    """A reference may be a path of the host or any registry, a digest any image that lies there."""
    for call in ("image.resolve", "image.ensure"):
        for reference in ("oci:/etc", "docker-archive:/etc/shadow", "docker://169.254.169.254/x"):
            attack.refused(call, "E_CAPABILITY", reference=reference, pull="always")
        assert attack.call(call, reference=IMAGE)["digest"] == attack.yard.image["digest"]
    attack.refused("oci.create", "E_CAPABILITY", name="web", image="sha256:" + "6" * 64)
    attack.create()


def test_limits_and_processes_are_those_of_the_task(attack: Attack) -> None:
    attack.create()
    attack.call("oci.start", name="web")
    attack.refused("oci.update", "E_INVALID", name="web", memory=1 << 40)
    attack.refused("oci.exec", "E_INVALID", name="web", argv=["sh"])
    attack.orders["web"] = handlers.Order(changes={"pids_limit": 77}, process={"argv": ["echo", "the task's"]})
    attack.call("oci.update", name="web")
    assert attack.yard.one()["observed"]["pids_limit"] == 77
    assert attack.call("oci.exec", name="web")["rc"] == 0


@pytest.mark.parametrize("call", CHANGING)
def test_case_64_container_of_another_plugin(call: str, attack: Attack) -> None:
    """Neither one that the task is not about, nor the task's own name where another backend holds it."""
    other = attack.yard.engine_for("runc")
    other.create("web", ContainerSpec({"image": "x"}), {}, attack.yard.image)
    other.create("victim", ContainerSpec({"image": "x"}), {}, attack.yard.image)
    other.start("web")
    before = other.listing()
    given: Config = {"signal": 9} if call == "oci.kill" else {"image": attack.yard.image["digest"]} if "image" in EFFECTS[call].parameters else {}
    assert "not about that container" in attack.refused(call, "E_CAPABILITY", name="victim", **given).message
    attack.refused(call, "E_EXISTS" if call == "oci.create" else "E_OWNER", name="web", **given)
    assert other.listing() == before
    other.delete("web")
    if call != "oci.create":
        attack.create()
        if call in ("oci.exec", "oci.pause", "oci.resume", "oci.kill"):
            attack.call("oci.start", name="web")
        attack.orders["web"] = attack.orders["web"]._replace(process={"argv": ["true"]})
        if call == "oci.resume":
            attack.call("oci.pause", name="web")
    attack.call(call, name="web", **given)


def test_case_64_what_another_plugin_holds_is_not_seen(attack: Attack) -> None:
    other = attack.yard.engine_for("runc")
    other.create("victim", ContainerSpec({"image": "x"}), {}, attack.yard.image)
    assert attack.call("oci.list", names=["victim"]) == attack.call("oci.list") == []
    attack.refused("oci.info", "E_NOT_FOUND", name="victim")
    attack.refused("oci.exists", "E_NOT_FOUND", name="victim", path="/etc/passwd")
    attack.refused("oci.logs", "E_NOT_FOUND", name="victim")
    attack.create()
    assert [entry["name"] for entry in attack.call("oci.list")] == ["web"]
    assert attack.call("oci.info", name="web")["name"] == "web"


def test_a_container_changes_hands_only_where_the_task_says_so(attack: Attack) -> None:
    """The planner would not ask for it; a plugin that calls by itself is stopped by the engine."""
    other = attack.yard.engine_for("runc")
    other.create("web", ContainerSpec({"image": "x"}), {}, attack.yard.image)
    other.start("web")
    digest = attack.yard.image["digest"]
    assert "runc-backend" in attack.refused("oci.replace", "E_OWNER", name="web", image=digest).message
    assert other.listing()[0]["status"] == "running"
    attack.order(handlers.Order(take_over=True))
    attack.call("oci.replace", name="web", image=digest)
    assert other.listing() == [] and attack.yard.one()["status"] == "created"


def test_a_damaged_container_changes_hands_only_where_the_task_says_so(attack: Attack) -> None:
    """Nobody can read whose it is, but its runtime still knows it."""
    other = attack.yard.engine_for("runc")
    other.create("web", ContainerSpec({"image": "x"}), {}, attack.yard.image)
    other.start("web")
    (held,) = other.listing()
    pathlib.Path(held["backend_details"]["bundle"], "record.json").write_text("{")
    for call in ("oci.check", "oci.create"):
        error = attack.refused(call, "E_OWNER", name="web", image=attack.yard.image["digest"])
        assert "runc-backend" in error.message
    assert lives(held["pid"])
    attack.order(handlers.Order(take_over=True))
    attack.call("oci.check", name="web", image=attack.yard.image["digest"])
    attack.create()
    assert not lives(held["pid"]) and attack.yard.status() == "created"


def test_case_76_operation_that_is_not_declared(attack: Attack) -> None:
    """The manager asks for none, whatever the plugin's code has."""
    plugin = registry.get("crun", attack.yard.layout)
    with dispatch.Session(attack.yard.layout, False) as session:
        modest = plugin._replace(manifest={**plugin.manifest, "operations": ["list"]})
        with pytest.raises(NexcageError) as caught:
            session.operate(modest, "health", {})
        assert caught.value.code == "E_UNSUPPORTED" and session.sandbox == {}, "no worker was even started"
        assert session.operate(modest, "list", {"names": None}) == []
        assert session.operate(plugin, "health", {})["runtime"] == "crun"


def test_case_97_disk_full_during_the_intent(attack: Attack, tmp_path: pathlib.Path) -> None:
    """A real full disk: what would change something is refused, what frees something goes on."""
    attack.create()
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs", str(place)], check=True)
    try:
        ballast = place / "ballast"
        ballast.write_bytes(b"x" * 8192)
        attack.audit = Audit(str(place / "first.jsonl"))
        error = attack.refused("oci.start", "E_AUDIT", name="web")
        assert "was not carried out" in error.message and attack.yard.status() == "created"
        ballast.unlink()
        attack.call("oci.start", name="web")
        assert attack.yard.status() == "running"
        attack.audit.close()
        ballast.write_bytes(b"x" * 4096)
        attack.audit = Audit(str(place / "second.jsonl"))
        attack.refused("oci.pause", "E_AUDIT", name="web")
        for call in ("oci.stop", "oci.delete"):
            attack.call(call, name="web")
        assert attack.yard.engine.listing() == [] and "cannot be written" in attack.audit.warnings[0]
        attack.audit.close()
    finally:
        subprocess.run(["umount", str(place)], check=True)
