# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a request to the call that answers it: who asks, who may, what is allowed as a parameter, which node."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .access import Who
from .cluster import Cluster
from .errors import ApiError, Dropped, failed
from .facts import Endpoint
from .may import Decision
from .world import Guest

DELAY = 3.0  # seconds before a 401
SLOW = 30.0  # seconds before a 596


@dataclasses.dataclass
class Call:
    """One request, after all that is the same for every request."""

    cluster: Cluster
    who: Who
    params: dict[str, t.Any]
    endpoint: Endpoint

    def __getitem__(self, name: str) -> t.Any:
        return self.params[name]

    def get(self, name: str, default: t.Any = None) -> t.Any:
        return self.params.get(name, default)

    def flag(self, name: str) -> bool:
        return self.params.get(name) == "1"

    @property
    def node(self) -> str:
        return str(self.params["node"])

    @property
    def vmid(self) -> int:
        return int(self.params["vmid"])

    @property
    def kind(self) -> str:
        return "lxc" if "/lxc" in self.endpoint.path else "qemu"

    def guest(self) -> Guest:
        return self.cluster.guest(self.kind, self.node, self.params["vmid"])

    def check(self, path: str, *wanted: str, any_of: bool = False) -> None:
        self.cluster.access.check(self.who, path, *wanted, any_of=any_of)

    def sent(self) -> dict[str, str]:
        """The parameters that are not in the path."""
        return {name: value for name, value in self.params.items() if name not in self.endpoint.names}


class Reply(t.NamedTuple):
    """An answer with more than its data."""

    data: t.Any
    extra: dict[str, t.Any]


Handler = t.Callable[[Call], t.Any]
HANDLERS: dict[str, Handler] = {}


def answers(*names: str) -> t.Callable[[Handler], Handler]:
    """Registers what answers ``METHOD /path``; ``{kind}`` in a path is for lxc and qemu."""

    def register(handler: Handler) -> Handler:
        for name in names:
            for kind in ("lxc", "qemu") if "{kind}" in name else ("",):
                HANDLERS[name.replace("{kind}", kind)] = handler
        return handler

    return register


class Service:
    """Answers requests on one cluster; one at a time, but for what waits."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def call(self, method: str, path: str, given: dict[str, t.Any], headers: t.Mapping[str, str]) -> Reply:
        """The answer to a request.

        Raises:
            ApiError: Any answer that is no success.
            Dropped: There is to be no answer.
        """
        cluster = self.cluster
        path = re.sub(r"/+", "/", path).rstrip("/") or "/"
        with cluster.lock:
            cluster.clock.run_due()
            found = cluster.facts.find(method, path)
            try:
                who = self._who(found, method, headers)
                after = self._fault(method, path)
                answer = self._answer(found, who, method, path, given)
            except ApiError as error:
                if error.status == 401:
                    cluster.clock.wait(DELAY)
                raise
            cluster.clock.run_due()
        if after:
            raise Dropped()
        return answer if isinstance(answer, Reply) else Reply(answer, {})

    def _who(self, found: tuple[Endpoint, dict[str, str]] | None, method: str, headers: t.Mapping[str, str]) -> Who:
        if found and found[0].may == "world":
            return Who("")
        return self.cluster.access.authenticate(method, headers)

    def _fault(self, method: str, path: str) -> bool:
        """Does what a test wants to go wrong here; whether the answer is to be lost after the work."""
        for fault in list(self.cluster.faults):
            if not re.fullmatch(fault.get("method", ".*"), method) or not re.search(fault.get("path", ""), path):
                continue
            fault["count"] = fault.get("count", 1) - 1
            if fault["count"] <= 0:
                self.cluster.faults.remove(fault)
            kind = fault["kind"]
            if kind == "drop":
                raise Dropped()
            if kind == "status":
                raise ApiError(fault["status"], fault.get("message", "injected"), plain=fault.get("plain", False))
            if kind == "delay":
                self.cluster.clock.pause(fault["seconds"])
            return bool(kind == "drop-after")
        return False

    def _answer(self, found: tuple[Endpoint, dict[str, str]] | None, who: Who, method: str, path: str, given: dict[str, t.Any]) -> t.Any:
        cluster = self.cluster
        if found is None or f"{method} {found[0].path}" not in HANDLERS:
            raise ApiError(501, f"Method '{method} {path}' not implemented", bare=True)
        endpoint, inside = found
        Decision(cluster.access, who, {**given, **inside}, endpoint).hold()
        if "node" in inside:
            self._reach(inside["node"])
        params = cluster.verifier.request(endpoint, given, inside)
        if params.get("skiplock") == "1" and not who.is_root:
            raise ApiError(400, "Parameter verification failed.", {"skiplock": "Only root may use this option."})
        if method != "GET" and who.user:
            cluster.write()
        answer = HANDLERS[f"{method} {endpoint.path}"](Call(cluster, who, params, endpoint))
        if "node" in inside and cluster.nodes[inside["node"]].state == "slow":
            cluster.clock.wait(SLOW)
            raise ApiError(596, "Connection timed out", plain=None)
        return answer

    def _reach(self, name: str) -> None:
        node = self.cluster.nodes.get(name)
        if node is None and name != "localhost":
            raise failed(f"hostname lookup '{name}' failed - failed to get address info for: {name}: Name or service not known")
        if node is not None and node.state == "offline":
            raise ApiError(595, "No route to host", plain=None)
