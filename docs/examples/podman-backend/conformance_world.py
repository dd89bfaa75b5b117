# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What podman answers to the conformance suite: as much of it as the plugin uses, kept in memory."""

from __future__ import annotations

import json

GONE = {"rc": 125, "stderr": "Error: no such container"}


def prepare(host):
    """Give a fake host podman's answers."""
    containers = {}

    def about(act):
        return lambda given: act(containers[given["name"]], given) if given["name"] in containers else GONE

    def create(given):
        if given["name"] in containers:
            return {"rc": 125, "stderr": "Error: the container name is already in use"}
        containers[given["name"]] = {"name": given["name"], "id": f"{len(containers):064x}", "state": "created", "mark": given["mark"]}
        return {"stdout": containers[given["name"]]["id"] + "\n"}

    def become(*states):
        def act(entry, given):
            if entry["state"] not in states[:-1]:
                return {"rc": 125, "stderr": "Error: container state improper"}
            entry["state"] = states[-1]
            return {}

        return about(act)

    def inspect(entry, given):
        state = {"Status": entry["state"], "Pid": 1, "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"}
        labels = {"org.nexcage.mark": entry["mark"]}
        facts = {"Name": entry["name"], "Id": entry["id"], "State": state, "Config": {"Labels": labels}, "Created": "2026-01-01T00:00:00Z"}
        return {"stdout": json.dumps([{**facts, "HostConfig": {"LogConfig": {}}, "OCIRuntime": "crun"}])}

    def listed(given):
        facts = {"IsInfra": False, "Pid": 1, "ExitCode": 0}
        return {
            "stdout": json.dumps(
                [{**facts, "Names": [c["name"]], "Id": c["id"], "State": c["state"], "Labels": {"org.nexcage.mark": c["mark"]}} for c in containers.values()]
            )
        }

    def delete(given):
        if containers.get(given["name"], {}).get("state") in ("running", "paused"):
            return {"rc": 2, "stderr": "Error: it is running"}
        containers.pop(given["name"], None)
        return {}

    stop = become("created", "running", "exited", "exited")
    host.outcomes.update(
        {
            "list": listed,
            "inspect": about(inspect),
            "exists": lambda given: {"rc": 0 if given["name"] in containers else 1},
            "version": {"stdout": json.dumps({"Client": {"Version": "4.3.1"}})},
            "create": create,
            "start": become("created", "exited", "running"),
            "stop": lambda given: stop(given) if given["name"] in containers else {},
            "delete": delete,
            "pause": become("running", "paused"),
            "resume": become("paused", "running"),
        }
    )
    host.outcomes["stop_within"] = host.outcomes["stop"]
