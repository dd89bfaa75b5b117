# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance suite for plugins, for whoever writes one.

    pytest COLLECTION/tests/conformance --nexcage-plugin DIR [--nexcage-plugin DIR ...]

Each plugin is packaged in memory and runs in the real locked worker; the host behind it is ``sdk.testing.FakeHost``. A
plugin that is not about an OCI runtime says in ``conformance_world.py`` beside it what its commands and requests
answer: ``def prepare(host)``, called with each fresh FakeHost; and one that listens to events, where the usual payload will
not do, what it is told: ``def payload(event, usual)``, which returns it.
"""

from __future__ import annotations

import functools
import pathlib
import runpy
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing, workers
from ansible_collections.nexcage.backends.plugins.module_utils.model import template
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects import EFFECTS, READ
from ansible_collections.nexcage.backends.plugins.module_utils.model.effects_extra import EXTRA
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk import versions
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.errors import HostError
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.testing import FakeHost
from ansible_collections.nexcage.backends.plugins.module_utils.worker import bundle
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import limits_of
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker

CALLS = {**EFFECTS, **EXTRA}
IMAGE = "localhost/conformance:1"
MARK = "0123456789abcdef0123456789abcdef"
SPEC = {"image": "docker://" + IMAGE, "command": ["sleep", "9"]}
# What a backend without an OCI runtime is given beside the rest.
FOREIGN: dict[str, dict[str, t.Any]] = {
    "create": {"mark": MARK, "spec": SPEC},
    "replace": {"mark": MARK, "spec": SPEC},
    "check": {"spec": SPEC},
    "update": {"changes": {"labels": {"a": "b"}}, "spec": {**SPEC, "labels": {"a": "b"}}},
    "exec": {"argv": ["true"], "env": {}, "user": None, "working_dir": None, "timeout": 5, "secret_env": [], "stdin": False},
}
WORLD = "conformance_world.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which plugins, and whether their calls are right as they are."""
    parser.addoption("--nexcage-plugin", action="append", default=[], metavar="DIR", help="the folder of a plugin to test; may be given several times")
    parser.addoption("--nexcage-write-calls", action="store_true", help="write down which calls each plugin makes, in conformance_calls.json beside it")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test once for each plugin."""
    if "folder" in metafunc.fixturenames:
        folders = [pathlib.Path(path) for path in metafunc.config.getoption("--nexcage-plugin")]
        metafunc.parametrize("folder", folders, ids=[path.name for path in folders])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a plugin is not; one that cannot be read is everything, and fails everywhere."""
    left_out = [item for item in items if not _concerns(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _concerns(item: pytest.Item) -> bool:
    about = getattr(getattr(item, "module", None), "ABOUT", None)
    if about is None:
        return True
    return about in _kinds(str(item.callspec.params["folder"]))  # type: ignore[attr-defined]


@functools.cache
def _kinds(folder: str) -> frozenset[str]:
    """What a plugin is, as its manifest's fields."""
    try:
        manifest = packing.collect(folder).manifest
        return frozenset(about for about in ("provides_backend", "hooks") if manifest[about])
    except NexcageError:
        return frozenset(("provides_backend", "hooks"))


class Bench:
    """One plugin in a worker, with a host that exists only in memory.

    Args:
        content: The plugin's files and manifest.
        world: What its author says of the world, see above.
    """

    def __init__(self, content: packing.Content, world: t.Mapping[str, t.Any]) -> None:
        self.manifest = content.manifest
        self.foreign = not content.manifest["oci"].get("runtime")
        self.host = FakeHost([IMAGE, SPEC["image"]], runtime=str((content.manifest["oci"] or {}).get("runtime", "fake")), manifest=content.manifest)
        world.get("prepare", lambda _host: None)(self.host)
        self.payload: t.Callable[[str, dict[str, t.Any]], dict[str, t.Any]] = world.get("payload", lambda _event, usual: usual)
        self.may: t.Callable[[str, bool], None] = lambda _call, _writes: None  # raises where the request may not make such a call
        self.denials: list[str] = []  # calls of the request that runs which it may not make
        self.denied: tuple[int, str] | None = None  # which call of a request, and the code
        self.calls: list[str] = []  # of the request that runs
        self.writing: list[str] = []  # those of them that change something
        self.worker = Worker()
        api = versions.of(content.manifest)
        self._ask = api.asking(self.worker.request)
        try:
            sources = {name: data.decode() for name, data in content.files.items() if name.endswith(".py")}
            self.worker.start(limits_of(content.manifest["resource_requirements"]), workers.preload(sources))
            program = {**api.program(bundle.BASE), **(bundle.extra() if _beyond(content.manifest) else {})}
            self.operations = self.worker.load(content.manifest["name"], sources, _defaults(content.manifest), program=program)
        except BaseException:
            self.worker.close()
            raise

    def do(self, operation: str, patience: float = 10.0, **params: t.Any) -> t.Any:
        """Run one operation, or ``hook``.

        Args:
            operation: Which.
            patience: Seconds that it may take.
            **params: Its parameters.

        Raises:
            NexcageError: What the plugin or the host refuses.
        """
        self.calls, self.writing, self.denials = [], [], []
        return self._ask(operation, {**(FOREIGN.get(operation, {}) if self.foreign else {}), **params}, self._handle, patience)

    def _handle(self, call: str, params: dict[str, t.Any]) -> t.Any:
        if call == "log":
            return None
        self.calls.append(call)
        if self._writes(call, params):
            self.writing.append(call)
        try:
            self.may(call, call in self.writing)
        except NexcageError:
            self.denials.append(call)
            raise
        if self.denied is not None and len(self.calls) == self.denied[0]:
            raise NexcageError(self.denied[1], f"{call} is denied by the suite")
        try:
            return self.host._answer(call, params)
        except HostError as error:
            raise NexcageError(error.code, error.message, remedy=error.remedy or None) from None

    def _writes(self, call: str, params: dict[str, t.Any]) -> bool:
        """Whether a call changes something; of commands and requests the template says it."""
        if call == "http.request":
            return template.request_kind(str(params.get("method"))) != READ
        if call == "command.run":
            return bool(self.manifest["commands"].get(params.get("command"), {}).get("kind") != READ)
        return call in CALLS and CALLS[call].kind != READ

    def has(self, operation: str) -> bool:
        """Whether the plugin declares an operation."""
        return operation in self.manifest["operations"]


def _beyond(manifest: t.Mapping[str, t.Any]) -> bool:
    """Whether the plugin may do more than containers, and so has more of the SDK."""
    return bool(manifest["commands"] or manifest["network"] or any(manifest["filesystem"].values()))


def _defaults(manifest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: setting["default"] for name, setting in manifest["configuration"].items() if "default" in setting}


@pytest.fixture
def content(folder: pathlib.Path) -> packing.Content:
    """What of the plugin's folder goes into its package."""
    return packing.collect(str(folder))


@pytest.fixture
def make(content: packing.Content, folder: pathlib.Path) -> t.Iterator[t.Callable[[], Bench]]:
    """Makes benches, each with a world of its own."""
    world = folder / WORLD
    said = runpy.run_path(str(world)) if world.exists() else {}
    made: list[Bench] = []

    def bench() -> Bench:
        made.append(Bench(content, said))
        return made[-1]

    yield bench
    for one in made:
        one.worker.close()


@pytest.fixture
def bench(make: t.Callable[[], Bench]) -> Bench:
    """One bench."""
    return make()
