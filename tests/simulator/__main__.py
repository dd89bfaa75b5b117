# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the simulator: ``python -m tests.simulator --version 9.2 --port 0``.

Prints one line of JSON with ``url``, ``fingerprint`` and ``secret`` (of ``POST /_sim``), and serves until its standard
input ends or it gets SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import secrets
import signal
import ssl
import sys
import tempfile
import threading
import typing as t

from . import (
    calls_access,
    calls_cluster,
    calls_node,
    calls_pools,
    calls_storage,
    certificate,
    clones,
    control,
    disks,
    facts,
    guests,
    lxc_actions,
    lxc_config,
    lxc_create,
    qemu_actions,
    qemu_config,
    snapshots,
)
from .cluster import LAG, Cluster
from .front import Front
from .service import Service
from .worlds import DEFAULT

# What answers calls; importing them registered it.
PARTS: tuple[t.Any, ...] = (calls_access, calls_cluster, calls_node, calls_pools, calls_storage, clones, disks, guests, snapshots)
PARTS += (lxc_actions, lxc_config, lxc_create, qemu_actions, qemu_config)


def options(arguments: t.Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description="A Proxmox VE API for tests.")
    parser.add_argument("--version", choices=facts.VERSIONS, default="9.2")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="HTTP instead of HTTPS")
    parser.add_argument("--world", type=pathlib.Path, help="a file of JSON with what there is at the start")
    parser.add_argument("--speed", type=float, default=20.0, help="simulated seconds in a real one; 0: the clock is moved by hand")
    parser.add_argument("--lag", type=float, default=LAG, help="simulated seconds that statistics are late")
    return parser.parse_args(arguments)


def serve(chosen: argparse.Namespace, world: dict[str, t.Any] | None = None) -> Front:
    """A server that is ready, and not yet running."""
    world = world or (json.loads(chosen.world.read_text()) if chosen.world else DEFAULT)
    cluster = Cluster(chosen.version, world, chosen.speed, chosen.lag)
    calls_cluster.install(cluster)
    context = None
    fingerprint = ""
    if not chosen.plain:
        with tempfile.TemporaryDirectory() as folder:
            made = certificate.make(pathlib.Path(folder), [chosen.host, *cluster.nodes])
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(made.certificate, made.key)
            fingerprint = made.fingerprint
    for node in cluster.nodes.values():
        node.fingerprint = node.fingerprint or fingerprint or ":".join(["00"] * 32)
    return Front(Service(cluster), (chosen.host, chosen.port), context)


def main() -> None:
    chosen = options()
    front = serve(chosen)
    control.SECRET["value"] = secrets.token_hex(16)
    scheme = "http" if chosen.plain else "https"
    first = next(iter(front.service.cluster.nodes.values()))
    url = f"{scheme}://{chosen.host}:{front.server_address[1]}"
    print(json.dumps({"url": url, "fingerprint": first.fingerprint, "secret": control.SECRET["value"]}), flush=True)
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(0))
    threading.Thread(target=front.serve_forever, daemon=True).start()
    while sys.stdin.buffer.read(4096):
        pass


if __name__ == "__main__":
    main()
