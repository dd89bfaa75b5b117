# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What LXC's programs answer to the conformance suite: as much of it as the plugin uses, kept in memory."""

from __future__ import annotations

ROOT = "containers"


def prepare(host):
    """Give a fake host LXC's answers, and its folder of containers."""
    states = {}

    def known(act):
        return lambda given: act(given) if given["name"] in states else {"rc": 1, "stderr": f"{given['name']} doesn't exist"}

    def create(given):
        name = given["name"]
        if name in states:
            return {"rc": 1, "stderr": "Container already exists"}
        host.files[ROOT, f"{name}/config"] = host.files[ROOT, f"{name}.conf"]
        states[name] = "STOPPED"
        return {}

    def become(before, after):
        def act(given):
            if states[given["name"]] != before:
                return {"rc": 2, "stderr": f"{given['name']} is {states[given['name']]}"}
            states[given["name"]] = after
            return {}

        return known(act)

    def delete(given):
        del states[given["name"]], host.files[ROOT, f"{given['name']}/config"]
        return {}

    def info(given):
        state = states[given["name"]]
        return {"stdout": f"State:          {state}\n" + ("" if state == "STOPPED" else "PID:            1\n")}

    host.files[ROOT, ".keep"] = b""
    host.outcomes.update(
        {
            "list": lambda given: {"stdout": "".join(f"{name}\n" for name in states)},
            "info": known(info),
            "version": {"stdout": "5.0.2\n"},
            "read_limit": {"stdout": "67108864\n"},
            "create": create,
            "start": become("STOPPED", "RUNNING"),
            "stop": become("RUNNING", "STOPPED"),
            "kill": become("RUNNING", "STOPPED"),
            "delete": known(delete),
            "pause": become("RUNNING", "FROZEN"),
            "resume": become("FROZEN", "RUNNING"),
        }
    )
