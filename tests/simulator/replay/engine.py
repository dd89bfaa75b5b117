# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sends the requests of a recording to a simulator, in their order, and holds what comes against what came."""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import pathlib
import re
import threading
import typing as t
import urllib.parse

from .. import __main__ as program
from ..service import Service
from . import compare, hidden, setting

UPID = re.compile(r"UPID(?::|%3A)[^/\s\"]*?(?::|%3A)(?=$|/|\")")
Entry = dict[str, t.Any]


class Outcome(t.NamedTuple):
    """What became of one case; ``difference`` is empty where the answers are alike."""

    number: int
    case: str
    request: str
    difference: str


class Recording:
    """One file of recordings, on a simulator of its own."""

    def __init__(self, path: pathlib.Path, version: str) -> None:
        self.entries: list[Entry] = json.loads(path.read_text())["entries"]
        chosen = program.options(["--plain", "--version", version, "--speed", "0"])
        self.front = program.serve(chosen, setting.world(version))
        self.cluster = self.front.service.cluster
        self.identities = setting.Identities(self._login)
        self.upids: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.outcomes = self._outcomes()
        self.results: list[Outcome] = []
        self.corrections = 0  # how often something had to be made true first
        self._connection: http.client.HTTPConnection | None = None

    def _outcomes(self) -> dict[str, str]:
        """How each task of the recording ended, by its UPID."""
        found: dict[str, str] = {}
        for entry in self.entries:
            body = entry.get("response", {}).get("body") if isinstance(entry.get("response"), dict) else None
            data = body.get("data") if isinstance(body, dict) else None
            if isinstance(data, dict) and "exitstatus" in data and "upid" in data:
                found[data["upid"]] = data["exitstatus"]
            if entry.get("exitstatus") and isinstance(data, str):
                found[data] = entry["exitstatus"]
        return found

    # ---- the wire

    def _login(self, user: str) -> dict[str, str]:
        with self.cluster.lock:
            access = self.cluster.access
            return {"ticket": access.ticket(user), "CSRFPreventionToken": access.csrf(user)}

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> tuple[int, str, t.Any]:
        """Status, reason and body of an answer."""
        for _attempt in range(2):
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.front.server_address[1], timeout=20)
            try:
                self._connection.request(method, path, body=body, headers=headers)
                response = self._connection.getresponse()
                text = response.read()
            except (http.client.HTTPException, OSError):
                self._connection.close()
                self._connection = None
                continue
            if response.will_close:
                self._connection.close()
                self._connection = None
            return response.status, response.reason, _decoded(text)
        return 0, "no answer", None

    @contextlib.contextmanager
    def running(self) -> t.Iterator[Service]:
        thread = threading.Thread(target=self.front.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self.front.service
        finally:
            self.front.shutdown()
            self.front.server_close()
            if self._connection is not None:
                self._connection.close()
            thread.join(5)

    # ---- one entry

    def replay(self) -> list[Outcome]:
        """What became of every case."""
        with self.running():
            for number, entry in enumerate(self.entries):
                if "table" in entry:
                    self._table(number, entry)
                elif "path" in entry.get("request", {}) and isinstance(entry.get("response"), dict):
                    self._one(number, entry)
        return self.results

    def _one(self, number: int, entry: Entry) -> None:
        request, recorded = entry["request"], entry["response"]
        data = recorded["body"].get("data") if isinstance(recorded.get("body"), dict) else None
        outcome = self.outcomes.get(data, "") if isinstance(data, str) else ""
        with self.cluster.lock:
            before = hidden.state(self.cluster)
            hidden.prepare(self.cluster, entry, outcome)
            self.corrections += before != hidden.state(self.cluster)
        self._until(request, data)
        with self.cluster.lock:
            if self._reads(entry):
                self.cluster.clock.advance(0.03)
        method, path, headers, body = self._wire(entry)
        status, reason, answer = self.send(method, path, headers, body)
        difference = compare.answers(request["path"].partition("?")[0], recorded, status, reason, answer, "auth" not in entry)
        self._learn(data, answer.get("data") if isinstance(answer, dict) else None)
        if not difference and entry.get("exitstatus") and isinstance(data, str):
            difference = self._ended(self.upids.get(data, ""), entry["exitstatus"])
        self.results.append(Outcome(number, str(entry.get("case")), f"{method} {path}", difference))

    def _reads(self, entry: Entry) -> bool:
        """Between a write and what is read next, some time passes."""
        return bool(entry["request"]["method"] == "GET")

    def _until(self, request: Entry, data: t.Any) -> None:
        """Lets time pass until a task that had ended when it was asked for has ended here too."""
        if not isinstance(data, dict) or "upid" not in data or "exitstatus" not in data:
            return
        ours = self.upids.get(data["upid"], "")
        with self.cluster.lock:
            task = self.cluster.tasks.find(ours)
            if task is None:
                return
            if data["exitstatus"] in ("unexpected status", "unable to read tail (got 0 bytes)"):
                self.cluster.tasks.abort(task, killed=data["exitstatus"] != "unexpected status")
            self.cluster.clock.wait(600, lambda: not task.running)
        del request

    def _ended(self, upid: str, wanted: str) -> str:
        with self.cluster.lock:
            task = self.cluster.tasks.find(upid)
            if task is None:
                return "no task"
            self.cluster.clock.wait(600, lambda: not task.running)
            return "" if compare.settle(task.status) == compare.settle(wanted) else f"exitstatus {task.status!r}, recorded {wanted!r}"

    def _learn(self, recorded: t.Any, found: t.Any) -> None:
        """Remembers what stands for what: UPIDs, digests, names of backups."""
        if isinstance(recorded, str) and recorded.startswith("UPID:") and isinstance(found, str):
            self.upids[recorded] = found
            if recorded not in self.outcomes:  # nobody looked at it again, so nobody knows that it still runs
                with self.cluster.lock:
                    task = self.cluster.tasks.find(found)
                    self.cluster.clock.wait(600, lambda: task is None or not task.running)
        if isinstance(recorded, dict) and isinstance(found, dict) and isinstance(recorded.get("digest"), str):
            self.digests[recorded["digest"]] = str(found.get("digest"))
        if isinstance(recorded, list) and isinstance(found, list):
            for one, two in zip(_backups(recorded), _backups(found), strict=False):
                self.names[one] = two

    def _translated(self, text: str) -> str:
        for one, two in self.names.items():
            text = text.replace(one, two).replace(urllib.parse.quote(one, safe=""), urllib.parse.quote(two, safe=""))

        def ours(match: re.Match[str]) -> str:
            plain = urllib.parse.unquote(match[0])
            return urllib.parse.quote(self.upids.get(plain, plain), safe="")

        return UPID.sub(ours, text)

    def _wire(self, entry: Entry) -> tuple[str, str, dict[str, str], bytes | None]:
        request, case = entry["request"], str(entry.get("case"))
        headers = self.identities.headers(entry.get("auth"))
        if request.get("csrf") == "omitted":
            headers.pop("CSRFPreventionToken", None)
        path = "/api2/json" + urllib.parse.quote(self._translated(request["path"]), safe="/%?=&:@!~+,;'()*$-._")
        method = request["method"]
        if "raw_body" in request:
            return method, path, *_raw(request, case, headers)
        if "json" in request:
            text = json.dumps(request["json"]).replace("<PASSWORD>", setting.PASSWORD)
            return method, path, {**headers, "Content-Type": "application/json"}, text.encode()
        text = urllib.parse.urlencode(self._params(request.get("params") or {}), doseq=True)
        if method in ("POST", "PUT"):
            return method, path, {**headers, "Content-Type": "application/x-www-form-urlencoded"}, text.encode()
        return method, path + ("?" + text if text else ""), headers, None

    def _params(self, params: t.Any) -> list[tuple[str, t.Any]]:
        pairs = [(str(key), value) for key, value in (params.items() if isinstance(params, dict) else params)]
        special = {"<PASSWORD>": setting.PASSWORD, "<PW>": setting.PASSWORD, "<SECRET root@pam!full>": setting.GOOD}
        found = []
        for key, value in pairs:
            if value == "<TICKET admin@pve>":
                value = self.identities.ticket("admin@pve")["ticket"]
            if key == "digest":
                value = self.digests.get(value, value)
            found.append((key, self._translated(special.get(value, value)) if isinstance(value, str) else value))
        return found

    # ---- tables

    def _table(self, number: int, entry: Entry) -> None:
        kind = "qemu" if "vm" in str(entry.get("case", "")).lower().split() or any("name" in row.get("sent", "") for row in entry["table"][:2]) else "lxc"
        vmid = "200" if kind == "qemu" or entry["table"][0].get("key") == "name" else "100"
        path = f"/nodes/pve1/{'qemu' if vmid == '200' else 'lxc'}/{vmid}/config"
        label = str(entry["case"]).partition("auth ")[2]
        if "running" in str(entry["case"]).lower() and int(vmid) in self.cluster.guests:
            self.cluster.guests[int(vmid)].running = True
            self.cluster.guests[int(vmid)].config.update({"agent": "1"} if vmid == "200" else {})
        for row in entry["table"]:
            sent = row["sent"] if isinstance(row["sent"], dict) else {row["key"]: row["sent"]}
            who = row.get("auth") or label or "token:root@pam!full"
            self._row(number, path, who, sent, row)

    def _row(self, number: int, path: str, who: str, sent: dict[str, t.Any], row: Entry) -> None:
        headers = {**self.identities.headers(who), "Content-Type": "application/x-www-form-urlencoded"}
        if "hookscript" in sent:
            hidden.script(self.cluster, sent["hookscript"], f"{row['reason']} {row.get('error')}")
        text = urllib.parse.urlencode(self._params(sent), doseq=True).encode()
        status, reason, answer = self.send("PUT", "/api2/json" + path, headers, text)
        recorded = {"status": row["status"], "reason": row["reason"], "body": row.get("error") or {"data": None}}
        difference = compare.answers(path, recorded, status, reason, answer)
        _status, _reason, config = self.send("GET", "/api2/json" + path, self.identities.headers("token:root@pam!full"), None)
        _status, _reason, now = self.send("GET", "/api2/json" + path + "?current=1", self.identities.headers("token:root@pam!full"), None)
        key = row.get("key") or next(iter(sent))
        key = sent[key] if key in ("delete", "revert") and "key" not in row else key
        for name, data in (("returned", config["data"]), ("config", config["data"]), ("config_current", now["data"])):
            if name in row and not difference and compare.settle(row[name]) != compare.settle(data.get(key)):
                difference = f"{key} {name}: {data.get(key)!r}, recorded {row[name]!r}"
        self.results.append(Outcome(number, f"table {path} {who}", f"PUT {sent}"[:200], difference))


def _decoded(text: bytes) -> t.Any:
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def _backups(rows: list[t.Any]) -> list[str]:
    return [row["volid"] for row in rows if isinstance(row, dict) and "volid" in row and row.get("content") == "backup"]


def _raw(request: Entry, case: str, headers: dict[str, str]) -> tuple[dict[str, str], bytes]:
    if request["raw_body"] == "<bytes>":
        kind, body = hidden.upload(case)
        return {**headers, "Content-Type": kind}, body
    text = request["raw_body"]
    kind = hidden.CONTENT_TYPES.get(case, "application/json" if text[:1] in ("{", "[") else "application/x-www-form-urlencoded")
    return {**headers, **({"Content-Type": kind} if kind else {}), "Content-Length": str(len(text))}, text.encode()


def summary(results: dict[str, list[Outcome]], left_out: t.Callable[[str, Outcome], str]) -> list[str]:
    """One line for each file: cases alike, cases that differ, cases that do not count."""
    lines = []
    total: collections.Counter[str] = collections.Counter()
    for name, found in results.items():
        counted = collections.Counter("left out" if left_out(name, one) else "differ" if one.difference else "alike" for one in found)
        total.update(counted)
        lines.append(f"{name:28} {counted['alike']:4} of {counted['alike'] + counted['differ']:4} alike, {counted['left out']} left out")
    lines.append(f"{'all':28} {total['alike']:4} of {total['alike'] + total['differ']:4} alike, {total['left out']} left out")
    return lines
