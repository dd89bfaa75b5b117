# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated cluster: everything that the calls look at and change."""

from __future__ import annotations

import copy
import random
import threading
import typing as t
import uuid

from . import facts
from .access import Access, Grant, Token, User, Who
from .clock import Clock
from .errors import ApiError, bad, failed
from .tasks import Tasks
from .verify import Verifier
from .world import Guest, Node, Pool, Storage, Volume, config_file

FULL_VERSION = {"8.4": "8.4.21", "9.1": "9.1.9", "9.2": "9.2.11"}
WORKERS = 3  # processes of pveproxy, each with a cache of its own
LAG = 10.0  # seconds between two broadcasts of statistics, and that a worker keeps them


class Cluster:
    """A cluster of one version.

    Args:
        version: ``8.4``, ``9.1`` or ``9.2``.
        world: What there is at the start; see ``docs/simulator.md``.
        speed: Simulated seconds in a real one; 0 for a clock that is moved by hand.
        lag: Seconds that statistics are late; 0 for none.
    """

    def __init__(self, version: str, world: dict[str, t.Any], speed: float, lag: float = LAG) -> None:
        self.version, self.lag = version, lag
        self.lock = threading.RLock()
        self.clock = Clock(speed, self.lock)
        self.facts = facts.read(version)
        self.verifier = Verifier(self.facts)
        self.access = Access(version, self.clock)
        self.access.pool_of = self.pool_of
        self.tasks = Tasks(self.clock)
        self.tasks.old = not self.nine
        self.nodes: dict[str, Node] = {}
        self.storages: dict[str, Storage] = {}
        self.volumes: list[Volume] = []
        self.guests: dict[int, Guest] = {}
        self.pools: dict[str, Pool] = {}
        self.options: dict[str, str] = {"keyboard": "en-us", "mac_prefix": "BC:24:11"}
        self.ha_rules: dict[str, dict[str, t.Any]] = {}
        self.registry: dict[str, dict[str, t.Any]] = {}
        self.urls: dict[str, dict[str, t.Any]] = {}
        self.aplinfo: list[dict[str, t.Any]] = []
        self.quorate = True
        self.faults: list[dict[str, t.Any]] = []
        self.seen: list[dict[str, t.Any]] = []
        self.random = random.Random(1)
        self._broadcast: dict[str, dict[str, t.Any]] = {}
        self._caches: list[tuple[float, dict[str, dict[str, t.Any]]]] = [(0.0, {})] * WORKERS
        self._turn = 0
        self.snapshot: t.Callable[[], dict[str, dict[str, t.Any]]] = dict
        self.load(world)
        self.clock.later(LAG, self._notice)
        if lag:
            self.clock.later(lag, self._tick)

    @property
    def nine(self) -> bool:
        return self.version != "8.4"

    # ---- what there is at the start

    def load(self, world: dict[str, t.Any]) -> None:
        """Adds what a description of a world names."""
        for number, one in enumerate(world.get("nodes", []), len(self.nodes) + 1):
            self.nodes[one["name"]] = Node(**{"number": number, **one, "bridges": tuple(one.get("bridges", ["vmbr0"]))})
        for one in world.get("storages", []):
            self.storages[one["id"]] = Storage(**{**one, "nodes": tuple(one.get("nodes", []))})
        for one in world.get("volumes", []):
            storage = self.storages[one["volid"].partition(":")[0]]
            home = "" if storage.shared else one.get("node", next(iter(self.nodes)))
            self.volumes.append(Volume(**{"ctime": int(self.clock.now()), **one, "node": home}))
        self.access.roles.update({name: set(held) for name, held in world.get("roles", {}).items()})
        for one in world.get("users", []):
            tokens = {each["tokenid"]: Token(**each) for each in one.get("tokens", [])}
            self.access.users[one["userid"]] = User(**{**one, "tokens": tokens})
        self.access.grants += [Grant(**one) for one in world.get("acl", [])]
        for one in world.get("pools", []):
            self.pools[one] = Pool(one)
        self.registry.update(world.get("registry", {}))
        self.urls.update(world.get("urls", {}))
        self.aplinfo += world.get("aplinfo", [])
        self.options.update(world.get("options", {}))

    # ---- statistics, which are late

    def _notice(self) -> None:
        self.tasks.notice()
        self.clock.later(LAG, self._notice)

    def _tick(self) -> None:
        self._broadcast = self.snapshot()
        self.clock.later(self.lag, self._tick)

    def statistics(self) -> dict[str, dict[str, t.Any]]:
        """What the next worker in turn believes; each keeps what it saw for as long as the lag."""
        if not self.lag:
            return self.snapshot()
        self._turn = (self._turn + 1) % WORKERS
        kept, known = self._caches[self._turn]
        period = (self.clock.now() + self._turn * self.lag / WORKERS) // self.lag  # no two workers refresh at the same time
        if period != kept:
            known = copy.deepcopy(self._broadcast)
            self._caches[self._turn] = (period, known)
        return known

    # ---- finding

    def pool_of(self, vmid: object) -> str | None:
        return next((pool.poolid for pool in self.pools.values() if str(vmid) in map(str, pool.vms)), None)

    def guest(self, kind: str, node: str, vmid: object) -> Guest:
        """A guest that there must be, on that node."""
        found = self.guests.get(int(str(vmid)))
        if found is None or found.kind != kind or found.node != node or (found.reserved and not found.config):
            raise failed(f"Configuration file '{config_file(kind, node, vmid)}' does not exist")
        return found

    def storage(self, name: str) -> Storage:
        if name not in self.storages:
            raise failed(f"storage '{name}' does not exist")
        return self.storages[name]

    def volume(self, volid: str, node: str) -> Volume | None:
        return next((one for one in self.volumes if one.volid == volid and one.node in ("", node)), None)

    def check_free(self, vmid: int) -> None:
        """Raises ApiError with what a second creation of an id is told."""
        found = self.guests.get(vmid)
        if found is not None:
            raise failed(f"{found.label} {vmid} already exists on node '{found.node}'")

    def next_id(self) -> int:
        bounds = self.verifier.parse("cluster-next-id", self.options.get("next-id", ""))
        low, high = int(bounds.get("lower", "100")), int(bounds.get("upper", "1000000"))
        for vmid in range(low, high):
            if vmid not in self.guests:
                return vmid
        raise failed(f"unable to get any free VMID in range [{low}, {high}]")

    def write(self) -> None:
        """Refuses a change where the cluster has lost its quorum."""
        if not self.quorate:
            raise ApiError(500, "cluster not ready - no quorum?")

    def mac(self) -> str:
        prefix = self.options.get("mac_prefix", "BC:24:11")
        return prefix + "".join(f":{self.random.randrange(256):02X}" for _octet in range(3))

    def uuid(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def need_pool(self, poolid: str, who: Who) -> None:
        if poolid not in self.pools:
            raise ApiError(403, f"Permission check failed (pool '{poolid}' does not exist)")
        self.access.check(who, f"/pool/{poolid}", "Pool.Allocate")

    def version_info(self) -> dict[str, str]:
        return {"version": FULL_VERSION[self.version], "release": self.version, "repoid": "0123456789abcdef"}


def no_storage() -> ApiError:
    return bad(storage="No such storage.")
