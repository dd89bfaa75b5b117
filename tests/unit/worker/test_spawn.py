# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module's side of the protocol; the worker plays a script where the real one would not misbehave."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker.launch import Process
from ansible_collections.nexcage.backends.plugins.module_utils.worker.sandbox import PRELOADABLE, Limits
from ansible_collections.nexcage.backends.plugins.module_utils.worker.spawn import Worker
from ansible_collections.nexcage.backends.tests.support.worker import LOADED, READY, ScriptedWorker

PLUGIN = """
import math
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import BackendExtension
print("hello")


class Backend(BackendExtension):
    def list(self, host, params):
        host.log("info", "a\\nb")
        return [math.pi, host.state.get("key"), self.config]


def backend():
    return Backend()
"""


def play(*answers: t.Any, limits: Limits | None = None) -> tuple[Worker, ScriptedWorker]:
    """A loaded worker that will give these answers to requests."""
    script = ScriptedWorker(READY, LOADED, *answers)
    worker = Worker(limits, process=t.cast(Process, script))
    assert worker.load("test", {"plugin.py": ""}) == ("list",)
    return worker, script


def call(number: int = 1, request: int = 1) -> dict[str, t.Any]:
    return {"t": "call", "id": request, "n": number, "cap": "oci.list", "params": {}}


def result(value: t.Any = None, request: int = 1) -> dict[str, t.Any]:
    return {"t": "res", "id": request, "ok": True, "value": value}


def failed(**error: t.Any) -> dict[str, t.Any]:
    return {"t": "res", "id": 1, "ok": False, "error": error}


def never(name: str, params: dict[str, t.Any]) -> t.Any:
    raise AssertionError(name)


def test_a_plugin_in_a_real_worker() -> None:
    seen = []

    def handler(name: str, params: dict[str, t.Any]) -> t.Any:
        seen.append((name, params))
        return "kept"

    with Worker(Limits(memory=128 << 20)) as worker:
        sandbox = worker.start(preload=["math", "antigravity"])
        assert sandbox.tier == "standard"
        assert worker.load("test", {"plugin.py": PLUGIN}, {"a": 1}) == ("list",)
        assert worker.pid > 0
        assert worker.request("list", {}, handler) == [pytest.approx(3.14159, abs=1e-5), "kept", {"a": 1}]
    assert seen == [("log", {"level": "info", "message": "a\\nb"}), ("state.get", {"key": "key"})]
    assert worker.stderr == "hello"
    with pytest.raises(NexcageError, match="gone: it was closed"):
        worker.request("list", {}, handler)
    worker.close()


LIBRARY = """
import datetime, decimal, hashlib, importlib, json, random, time, uuid
from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import BackendExtension


class Backend(BackendExtension):
    def list(self, host, params):
        for name in params["names"]:
            importlib.import_module(name)
        time.sleep(0.001)
        uuid.uuid4(), random.random()
        texts = [text.encode(codec).decode(codec) for codec in ("ascii", "latin-1", "utf-8") for text in ("a",)]
        year = datetime.datetime.strptime("2026", "%Y").year
        return [texts, year, hashlib.sha256(b"").hexdigest()[:4], json.loads(json.dumps(str(decimal.Decimal("1.5"))))]


def backend():
    return Backend()
"""


def test_the_standard_library_that_a_plugin_may_have_works_behind_the_filter() -> None:
    with Worker() as worker:  # with the least memory there is
        worker.start(preload=PRELOADABLE)
        worker.load("test", {"plugin.py": LIBRARY})
        assert worker.request("list", {"names": PRELOADABLE}, never) == [["a", "a", "a"], 2026, "e3b0", "1.5"]


def test_a_plugin_that_cannot_be_imported() -> None:
    worker = Worker()
    with pytest.raises(NexcageError, match=r"the plugin test cannot be loaded: SyntaxError.*plugin\.py") as caught:
        worker.load("test", {"plugin.py": "print('before')\n1 +"})
    assert caught.value.code == "E_PLUGIN"


def test_init_carries_the_limits_and_the_parent() -> None:
    worker, script = play(limits=Limits(memory=1 << 28, cpu=7, descriptors=99, frame=1234))
    init = script.received[0]
    assert init["limits"] == {"memory": 1 << 28, "cpu": 7, "descriptors": 99, "frame": 1234}
    assert init["preload"] == []
    assert script.received[1] == {"t": "load", "entry": "plugin.py", "files": {"plugin.py": ""}, "config": {}}
    worker.close()
    worker.close()
    assert script.ended == 1


def test_the_required_tier_is_not_reached() -> None:
    weak = {**READY, "layers": ["rlimits"], "missing": {"seccomp": "no filter for this platform"}, "selftest": {}}
    for required, ready in (("standard", weak), ("strong", READY)):
        script = ScriptedWorker(ready)
        worker = Worker(required=required, process=t.cast(Process, script))
        with pytest.raises(NexcageError, match=f"{required} is required") as caught:
            worker.load("test", {"plugin.py": "secret bytes"})
        assert caught.value.code == "E_SANDBOX"
        assert script.ended == 1
        assert [frame["t"] for frame in script.received] == ["init"]
    script = ScriptedWorker(weak, LOADED)
    worker = Worker(required="process", process=t.cast(Process, script))
    worker.load("test", {})
    assert worker.sandbox.tier == "process"
    worker.close()


def test_a_worker_that_does_not_start() -> None:
    worker = Worker(process=Process("/bin/false"))
    with pytest.raises(NexcageError, match="did not start: the plugin's worker ended with code 1") as caught:
        worker.start()
    assert caught.value.code == "E_SANDBOX"


def test_a_worker_that_starts_too_slowly() -> None:
    worker = Worker(process=t.cast(Process, ScriptedWorker([])))
    with pytest.raises(NexcageError, match="did not start: the plugin did not answer within"):
        worker.start(patience=0.02)


def test_the_time_of_the_broker_does_not_count() -> None:
    worker, _script = play(call(), result("done"))

    def slow(_name: str, _params: dict[str, t.Any]) -> None:
        time.sleep(0.15)

    assert worker.request("list", {}, slow, deadline_s=0.1) == "done"
    worker.close()


def test_the_time_of_the_plugin_counts() -> None:
    worker, script = play([])
    with pytest.raises(NexcageError) as caught:
        worker.request("list", {}, never, deadline_s=0.02)
    assert (caught.value.code, script.ended) == ("E_TIMEOUT", 1)


def test_a_refusal_that_the_plugin_lets_pass_is_raised_itself() -> None:
    refusal = NexcageError("E_EXISTS", "there is one", option="name", value="web")
    worker, script = play(call(), failed(code="E_PLUGIN", message="lie", remedy="", call=1))

    def handler(_name: str, _params: dict[str, t.Any]) -> t.Any:
        raise refusal

    with pytest.raises(NexcageError) as caught:
        worker.request("list", {}, handler)
    assert caught.value is refusal
    assert script.received[-1] == {
        "t": "ret",
        "n": 1,
        "ok": False,
        "error": {"code": "E_EXISTS", "message": "there is one", "remedy": refusal.remedy},
    }
    assert script.ended == 0
    worker.close()


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ({"code": "E_INVALID", "message": "no\x1b[0m", "remedy": "yes", "call": 0}, "E_INVALID", r"no\x1b[0m"),
        ({"code": "E_GRANT", "message": "", "remedy": "", "call": 9}, "E_PLUGIN", ""),  # only the host may say that
        ({"code": ["E"], "call": True}, "E_PLUGIN", ""),
        ({"message": {"a": 1}, "remedy": None}, "E_PLUGIN", "{'a': 1}"),
    ],
)
def test_the_plugins_own_error(error: dict[str, t.Any], code: str, message: str) -> None:
    worker, _script = play(failed(**error))
    with pytest.raises(NexcageError) as caught:
        worker.request("list", {}, never)
    assert (caught.value.code, caught.value.message) == (code, message)
    worker.close()


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), "x" * (9 << 20)])
def test_an_answer_that_cannot_be_sent_is_refused(value: t.Any) -> None:
    worker, _script = play(call(), failed(code="E_PLUGIN", message="", remedy="", call=1))
    with pytest.raises(NexcageError, match=r"oci\.list: the answer cannot be sent") as caught:
        worker.request("list", {}, lambda name, params: value)
    assert caught.value.code == "E_INTERNAL"
    worker.close()


def test_parameters_that_cannot_be_sent() -> None:
    worker, script = play()
    with pytest.raises(NexcageError, match="cannot send to the worker"):
        worker.request("list", {"a": object()}, never)
    assert script.ended == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interrupted_module_leaves_no_worker(interruption: type[BaseException]) -> None:
    worker, script = play(call())

    def handler(_name: str, _params: dict[str, t.Any]) -> t.Any:
        raise interruption

    with pytest.raises(interruption):
        worker.request("list", {}, handler)
    assert script.ended == 1


def test_log_lines() -> None:
    line = {"t": "log", "level": "info", "message": "x\n"}
    worker, _script = play([line, line, call()], [line, result(3)])
    seen: list[str] = []

    def handler(name: str, params: dict[str, t.Any]) -> t.Any:
        seen.append(name)
        if name == "log":
            assert params == {"level": "info", "message": r"x\n"}
            raise NexcageError("E_GRANT", "no logging")

    assert worker.request("list", {}, handler) == 3
    assert seen == ["log", "log", "oci.list", "log"]
    worker.close()


def test_log_lines_while_loading_go_nowhere() -> None:
    script = ScriptedWorker(READY, [{"t": "log", "level": "info", "message": "x"}, LOADED])
    worker = Worker(process=t.cast(Process, script))
    assert worker.load("test", {}) == ("list",)
    worker.close()


@pytest.mark.parametrize(
    ("ended", "code", "message"),
    [
        ((3, 0.0), "E_CRASH", "ended with code 3"),
        ((-11, 0.0), "E_CRASH", "was killed by SIGSEGV"),
        ((-9, 1.95), "E_LIMIT", "used up its 2 seconds"),
        ((-9, 1.8), "E_LIMIT", "used up its 2 seconds"),  # the kernel charges whole ticks, and measures less
        ((-9, 1.7), "E_CRASH", "was killed by SIGKILL"),
        ((-24, 1.0), "E_LIMIT", "used up its 2 seconds"),  # SIGXCPU has no other cause
        ((-11, 1.9), "E_CRASH", "was killed by SIGSEGV"),
    ],
)
def test_a_crash_says_how(ended: tuple[int, float], code: str, message: str) -> None:
    worker, script = play()
    script.result = ended
    script.cut()
    with pytest.raises(NexcageError, match=message) as caught:
        worker.request("list", {}, never)
    assert caught.value.code == code
