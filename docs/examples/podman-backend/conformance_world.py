# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What podman answers to the conformance suite: as much of it as the plugin uses, kept in memory."""

from __future__ import annotations

import json

GONE = {"rc": 125, "stderr": "Error: no such container"}
NEVER = "0001-01-01T00:00:00Z"


class Podman:
    """Containers by name."""

    def __init__(self):
        self.containers = {}

    def create(self, given):
        if given["name"] in self.containers:
            return {"rc": 125, "stderr": "Error: the container name is already in use"}
        entry = {"name": given["name"], "id": f"{len(self.containers):064x}", "state": "created", "labels": {"org.nexcage.mark": given["mark"]}}
        self.containers[given["name"]] = entry
        return {"stdout": entry["id"] + "\n"}

    def become(self, *states):
        """A command from any of some states to the last one."""

        def act(given):
            entry = self.containers.get(given["name"])
            if entry is None:
                return GONE
            if entry["state"] not in states[:-1]:
                return {"rc": 125, "stderr": "Error: container state improper"}
            entry["state"] = states[-1]
            return {}

        return act

    def stop(self, given):
        return self.become("created", "running", "exited", "exited")(given) if given["name"] in self.containers else {}

    def delete(self, given):
        if self.containers.get(given["name"], {}).get("state") in ("running", "paused"):
            return {"rc": 2, "stderr": "Error: it is running"}
        self.containers.pop(given["name"], None)
        return {}

    def inspect(self, given):
        entry = self.containers.get(given["name"])
        if entry is None:
            return GONE
        state = {"Status": entry["state"], "Pid": 1, "ExitCode": 0, "StartedAt": NEVER, "FinishedAt": NEVER}
        facts = {"Name": entry["name"], "Id": entry["id"], "State": state, "Config": {"Labels": entry["labels"]}, "Created": "2026-01-01T00:00:00Z"}
        return {"stdout": json.dumps([{**facts, "HostConfig": {"LogConfig": {}}, "OCIRuntime": "crun"}])}

    def list(self, given):
        facts = {"IsInfra": False, "Pid": 1, "ExitCode": 0, "Created": 1767225600, "StartedAt": -62135596800, "ExitedAt": -62135596800}
        found = [{**facts, "Names": [c["name"]], "Id": c["id"], "State": c["state"], "Labels": c["labels"]} for c in self.containers.values()]
        return {"stdout": json.dumps(found)}


def prepare(host):
    """Give a fake host podman's answers."""
    podman = Podman()
    host.outcomes.update(
        {
            "list": podman.list,
            "inspect": podman.inspect,
            "exists": lambda given: {"rc": 0 if given["name"] in podman.containers else 1},
            "version": {"stdout": json.dumps({"Client": {"Version": "4.3.1"}})},
            "create": podman.create,
            "start": podman.become("created", "exited", "running"),
            "stop": podman.stop,
            "stop_within": podman.stop,
            "delete": podman.delete,
            "pause": podman.become("running", "paused"),
            "resume": podman.become("paused", "running"),
        }
    )
