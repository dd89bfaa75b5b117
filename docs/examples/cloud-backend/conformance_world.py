# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What the cloud answers to the conformance suite: as much of its API as the plugin uses, kept in memory."""

from __future__ import annotations

INSTANCE = "/v1/instances/{name}"


def prepare(host):
    """Give a fake host the cloud's answers."""
    instances = {}

    def refusal(status, message):
        return {"status": status, "json": {"message": message}}

    def about(act):
        def answer(given):
            entry = instances.get(given["parameters"]["name"])
            return refusal(404, "no such instance") if entry is None else act(entry, given)

        return answer

    def put(given):
        name = given["parameters"]["name"]
        if name in instances:
            return refusal(409, "there is one already")
        instances[name] = {"name": name, "id": f"i-{len(instances)}", "state": "new", "image": "", **given["body"]}
        return {"status": 201, "json": instances[name]}

    def become(state):
        def act(entry, given):
            entry["state"] = state
            return {"json": entry}

        return about(act)

    def change(entry, given):
        entry.update(given["body"])
        return {"json": entry}

    host.responses.update(
        {
            ("GET", "/v1/status"): {"json": {"version": "1.0", "incidents": []}},
            ("GET", "/v1/instances"): lambda given: {"json": {"items": list(instances.values()), "next": None}},
            ("GET", INSTANCE): about(lambda entry, given: {"json": entry}),
            ("GET", INSTANCE + "/log"): about(lambda entry, given: {"json": {"lines": []}}),
            ("PUT", INSTANCE): put,
            ("PATCH", INSTANCE): about(change),
            ("DELETE", INSTANCE): about(lambda entry, given: {"status": 204} if instances.pop(entry["name"]) else {}),
            ("POST", INSTANCE + "/start"): become("running"),
            ("POST", INSTANCE + "/stop"): become("stopped"),
            ("POST", INSTANCE + "/exec"): about(lambda entry, given: {"json": {"exit_code": 0, "stdout": "", "stderr": ""}}),
        }
    )
