# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The functions behind the gate: from a broker call to the engine, the image store, the state.

Reads and writes are two tables. Who holds only the first cannot change anything.
What a container shall be comes from the operator's task (``Order``), never from the plugin.
"""

from __future__ import annotations

import typing as t

from ..model.container import ContainerSpec
from ..model.errors import NexcageError

if t.TYPE_CHECKING:
    from ..model.config import Layout
    from .image import ImageStore
    from .oci.engine import OciEngine

    Arguments = t.Mapping[str, t.Any]
    Handlers = dict[str, t.Callable[[Arguments], t.Any]]


OUTPUT_FOR_PLUGIN = 256 << 10  # bytes of base64


class Order(t.NamedTuple):
    """What the operator's task says about one container.

    Args:
        spec: The complete spec, secrets masked as they are in records.
        secrets: The clear values of ``secret_env`` that the task gave.
        changes: Canonical values to change live.
        ending: How a container that is replaced shall be stopped: ``signal``, ``timeout``, ``force``.
        process: The process of an exec.
        validate_certs: Whether a registry must show a valid certificate.
        timeout: Seconds for each step that fetches an image.
        pull: When an image is fetched; ``never`` binds the plugin too.
        take_over: Whether the container may be taken from the backend that holds it.
    """

    spec: ContainerSpec = ContainerSpec({})
    secrets: t.Mapping[str, str] = {}
    changes: t.Mapping[str, t.Any] = {}
    ending: t.Mapping[str, t.Any] = {}
    process: t.Mapping[str, t.Any] = {}
    validate_certs: bool = True
    timeout: float = 120.0
    pull: str = "missing"
    take_over: bool = False


class Workbench:
    """What the handlers of one plugin work with during one module run.

    Args:
        layout: The folders of this host.
        plugin: The plugin's full name; it sees only the containers that it holds.
        runtime: The OCI runtime's program name; an absolute path where the operator set one.
        orders: By container name; a call for any other container finds no spec.
        options: The runtime's global options; the operator's words, never the plugin's.
    """

    def __init__(self, layout: Layout, plugin: str, runtime: str, orders: dict[str, Order], options: t.Sequence[str] = ()) -> None:
        self.layout = layout
        self.plugin = plugin
        self.runtime = runtime
        self.options = options
        self.orders = orders
        # what an exec printed, by container: it is the operator's, and may be more than a frame to a plugin holds
        self.outcomes: dict[str, dict[str, t.Any]] = {}
        self.digests: dict[str, set[str]] = {}  # what the references in the task turned out to stand for
        self._engine: OciEngine | None = None
        self._images: ImageStore | None = None

    @property
    def engine(self) -> OciEngine:
        """The engine of this plugin's runtime, made at first use."""
        if self._engine is None:
            from .oci.engine import OciEngine

            self._engine = OciEngine(self.layout, self.plugin, self.runtime, self.options)
        return self._engine

    def prepare(self) -> OciEngine:
        """Import and make what the first call needs, while the worker is still busy."""
        return self.engine

    @property
    def images(self) -> ImageStore:
        """The image store, made at first use."""
        if self._images is None:
            from .image import ImageStore

            self._images = ImageStore(self.layout)
        return self._images

    def order(self, name: str) -> Order:
        """What the task says about ``name``.

        Raises:
            NexcageError: ``E_CAPABILITY`` where the task is not about that container.
        """
        order = self.orders.get(name)
        if order is None:
            raise NexcageError("E_CAPABILITY", f"the task says nothing of a container {name}", option="name", value=name)
        return order


def read_handlers(bench: Workbench) -> Handlers:
    """The calls that change nothing."""
    return {
        "oci.list": lambda a: bench.engine.listing(None if a["names"] is None else list(a["names"])),
        "oci.info": lambda a: _info(bench, a["name"]),
        "oci.logs": lambda a: bench.engine.logs(a["name"], a["tail"]),
        "oci.features": lambda a: bench.engine.features(),
        "oci.check": lambda a: _check(bench, a),
        "oci.exists": lambda a: bench.engine.exists(a["name"], a["path"]),
        "image.resolve": lambda a: _resolve(bench, a),
        "image.configuration": lambda a: _configuration(bench, a["digest"]),
        "state.get": lambda a: _state(bench).get(a),
        "log": lambda a: None,
    }


def write_handlers(bench: Workbench) -> Handlers:
    """The calls that change something; not even made in check mode."""
    return {
        "image.ensure": lambda a: _ensure(bench, a),
        "oci.create": lambda a: _create(bench, a),
        "oci.replace": lambda a: _replace(bench, a),
        "oci.start": lambda a: bench.engine.start(a["name"]),
        "oci.stop": lambda a: bench.engine.stop(a["name"], a["signal"], a["timeout"], a["force"]),
        "oci.kill": lambda a: bench.engine.kill(a["name"], a["signal"]),
        "oci.delete": lambda a: bench.engine.delete(a["name"]),
        "oci.pause": lambda a: bench.engine.pause(a["name"]),
        "oci.resume": lambda a: bench.engine.resume(a["name"]),
        "oci.update": lambda a: bench.engine.update(a["name"], dict(bench.order(a["name"]).changes)),
        "oci.heal": lambda a: bench.engine.heal(a["name"]),
        "oci.exec": lambda a: _exec(bench, a["name"]),
        "state.put": lambda a: _state(bench).put(a),
    }


def _info(bench: Workbench, name: str) -> dict[str, t.Any]:
    found = bench.engine.listing([name])
    if not found:
        raise NexcageError("E_NOT_FOUND", "there is no such container", option="name", value=name)
    return found[0]


def _state(bench: Workbench) -> t.Any:
    from .state import State

    return State(bench.layout, bench.plugin)


def _certificates(order: Order) -> bool | None:
    """``None`` leaves it to the host's registries.conf; only an explicit no switches checks off."""
    return None if order.validate_certs else False


def _ordering(bench: Workbench, reference: str) -> Order:
    """Provenance: only an image that the operator wrote in this task is looked for, or brought to the host.

    Raises:
        NexcageError: ``E_CAPABILITY``.
    """
    for order in bench.orders.values():
        if order.spec.get("image") == reference:
            return order
    raise NexcageError("E_CAPABILITY", "the task names no such image", option="image", value=reference)


def _resolve(bench: Workbench, arguments: Arguments) -> t.Any:
    reference = arguments["reference"]
    order = _ordering(bench, reference)
    found = bench.images.resolve(reference, _pull(order, arguments), tls_verify=_certificates(order))
    bench.digests.setdefault(reference, set()).add(found["digest"])
    return found


def _ensure(bench: Workbench, arguments: Arguments) -> dict[str, t.Any]:
    reference = arguments["reference"]
    order = _ordering(bench, reference)
    found = bench.images.ensure(reference, _pull(order, arguments), tls_verify=_certificates(order), timeout=order.timeout)
    bench.digests.setdefault(reference, set()).add(found["digest"])
    return {"digest": found["digest"], "changed": found["changed"]}


def _configuration(bench: Workbench, digest: str) -> dict[str, t.Any]:
    if not any(digest in known for known in bench.digests.values()):
        raise NexcageError("E_CAPABILITY", "not an image that the task names", option="digest", value=digest)
    return bench.images.configuration(digest)


def _pull(order: Order, arguments: Arguments) -> str:
    return "never" if order.pull == "never" else str(arguments["pull"])


def _image(bench: Workbench, order: Order, digest: str | None) -> dict[str, t.Any] | None:
    """The image that a container is made from.

    Raises:
        NexcageError: ``E_CAPABILITY`` for any other than the one that the task names.
    """
    if digest is None:
        return None
    if digest not in bench.digests.get(str(order.spec.get("image")), ()):
        raise NexcageError("E_CAPABILITY", "not the image that the task names", option="image", value=digest)
    return {"digest": digest, "path": bench.images.path(digest) + "/rootfs", "config": bench.images.configuration(digest)}


def _check(bench: Workbench, arguments: Arguments) -> None:
    order = bench.order(arguments["name"])
    if not order.take_over:
        bench.engine.refuse_taking(arguments["name"])
    bench.engine.check(order.spec, _image(bench, order, arguments["image"]))


def _create(bench: Workbench, arguments: Arguments) -> t.Any:
    order = bench.order(arguments["name"])
    image = _image(bench, order, arguments["image"])
    return bench.engine.create(arguments["name"], order.spec, dict(order.secrets), image, take_over=order.take_over)


def _exec(bench: Workbench, name: str) -> dict[str, t.Any]:
    outcome = bench.engine.exec(name, dict(bench.order(name).process))
    bench.outcomes[name] = outcome
    if len(outcome["stdout"]) + len(outcome["stderr"]) <= OUTPUT_FOR_PLUGIN:
        return outcome
    return {**outcome, "stdout": "", "stderr": "", "truncated": True}


def _replace(bench: Workbench, arguments: Arguments) -> t.Any:
    order = bench.order(arguments["name"])
    image = _image(bench, order, arguments["image"])
    return bench.engine.replace(arguments["name"], order.spec, dict(order.secrets), image, take_over=order.take_over, **order.ending)
