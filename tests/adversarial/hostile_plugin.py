# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin that means harm. It is never imported here, only sent to a worker as ``plugin.py``.

Each probe returns something true where its attack got through, or raises what stopped it. Signals are
sent as number 0 and system calls get arguments that do nothing, so that the control run, in which they
do get through, harms nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import posix
import sys
import time
from typing import Any, Callable

from ansible_collections.nexcage.backends.plugins.module_utils.sdk.backend import BackendExtension

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = "nexcage-machine".startswith("aarch64")  # the test writes the machine in: uname(2) is refused here
EPERM, EBADF = 1, 9
PIPE: list[int] = []  # the descriptor of the protocol, dug out of the bootstrap
Params = dict[str, Any]

print("printed while it was imported")


def reached(result: int) -> str:
    """Whether a call got past the filter: any answer but EPERM comes from the kernel proper."""
    number = ctypes.get_errno()
    return "" if result < 0 and number == EPERM else f"answered {result}, errno {number}"


def system_call(x86_64: int, aarch64: int, *arguments: int) -> str:
    ctypes.set_errno(0)
    words = [ctypes.c_long(argument) for argument in arguments]
    return reached(LIBC.syscall(ctypes.c_long(aarch64 if ARM else x86_64), *words))


def socket(family: int, kind: int = 1) -> str:
    ctypes.set_errno(0)
    return reached(LIBC.socket(family, kind, 0))


def read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    os.close(descriptor)
    return "opened " + path


def write(path: str) -> str:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(descriptor)
    os.unlink(path)
    return "wrote " + path


def enumerate_descriptors(_params: Params) -> str:
    found = []
    for descriptor in range(3, 200):
        try:
            os.lseek(descriptor, 0, 1)
            found.append(descriptor)
        except OSError as error:
            if error.errno != EBADF:
                found.append(descriptor)
    return f"found {found}" if len(found) > 2 else ""  # the protocol has two


def own_environment(params: Params) -> str:
    return "found the token" if params["token"] in os.environ.values() else ""


def run_program(_params: Params) -> str:
    child = posix.posix_spawn("/bin/true", ["/bin/true"], {})
    return f"ran {os.waitpid(child, 0)}"


def fork(_params: Params) -> str:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def execute(_params: Params) -> str:
    try:
        os.execve("/nexcage-does-not-exist", ["x"], {})
    except FileNotFoundError:
        return "got as far as looking for the file"


def thread(_params: Params) -> str:
    import _thread

    lock = _thread.allocate_lock()
    lock.acquire()
    _thread.start_new_thread(lock.release, ())
    lock.acquire()
    return "started"


def abstract_socket(_params: Params) -> str:
    ctypes.set_errno(0)
    descriptor = LIBC.socket(1, 1, 0)
    if descriptor < 0:
        return ""
    name = b"\x01\x00\x00nexcage-probe"
    return reached(LIBC.bind(descriptor, name, len(name)))


def mount(_params: Params) -> str:
    ctypes.set_errno(0)
    return reached(LIBC.mount(b"none", b"/nexcage-does-not-exist", b"tmpfs", 0, None))


def connect(family: int, address: bytes) -> str:
    """Reach a server of the host's; the answer that counts is a connection."""
    descriptor = LIBC.socket(family, 1, 0)
    return "connected" if descriptor >= 0 and LIBC.connect(descriptor, address, len(address)) == 0 else ""


def find_the_module(params: Params) -> str:
    """Also where it may not be signalled, it is there."""
    with contextlib.suppress(PermissionError):
        os.kill(params["parent"], 0)
    return "found the module"


def allocate(_params: Params) -> str:
    block = bytes(2 << 30)  # not touched, so that the control run takes no memory
    return f"got {len(block)} bytes"


def allocate_in_a_loop(_params: Params) -> str:
    blocks = [bytes(8 << 20) for _turn in range(64)]
    return f"got {len(blocks)} blocks"


def spin(params: Params) -> str:
    while time.process_time() < params["seconds"]:
        pass
    return "had the processor for long"


def sleep(_params: Params) -> str:
    while True:
        time.sleep(60)


def ignore_signals_and_spin(_params: Params) -> str:
    import _signal

    _signal.signal(15, _signal.SIG_IGN)
    while True:
        pass


def descriptor_bomb(_params: Params) -> str:
    return f"opened {len([os.dup(0) for _turn in range(300)])}"


def garbage(_params: Params) -> str:
    os.write(PIPE[0], b"garbage" * 100)
    return "wrote garbage"


def huge_header(_params: Params) -> str:
    os.write(PIPE[0], b"\x80\x00\x00\x00")
    return "announced 2 GiB"


def deep_json(_params: Params) -> str:
    data = b'{"t":"log","level":"info","message":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(PIPE[0], data) :]
    return "sent a deep frame"


def frames(params: Params) -> str:
    """Send bytes in the place of what the bootstrap would send."""
    os.write(PIPE[0], params["data"].encode("latin-1"))
    return "sent them"


def large_result(_params: Params) -> str:
    return "x" * (5 << 20)


def flood(_params: Params) -> str:
    for _turn in range(1024):
        os.write(2, b"\x1b[31m" + b"x" * 1018 + b"\n")
    return "flooded"


def segfault(_params: Params) -> bytes:
    return ctypes.string_at(0)


def import_from_disk(params: Params) -> str:
    from importlib.machinery import PathFinder

    sys.meta_path.append(PathFinder)
    sys.path.extend(params["path"])
    import ansible

    return f"imported {ansible.__name__}"


def patch_the_bootstrap(params: Params) -> str:
    """Take over everything in this process, then ask for what is not granted, and lie about the sandbox."""
    bootstrap = next(module for name, module in sys.modules.items() if name.endswith("worker.bootstrap"))
    bootstrap.failure = lambda error: {"code": "E_PLUGIN", "message": "nothing happened", "remedy": "", "call": 0}
    bootstrap.lockdown.filter_calls = lambda system: ""
    if params.get("lie"):
        data = b'{"t":"ready","v":1,"layers":["seccomp"],"missing":{},"selftest":{}}'
        os.write(PIPE[0], len(data).to_bytes(4, "big") + data)
    return ""


PROBES: dict[Any, Callable[[Params], Any]] = {
    1: lambda params: read(params["secret"]),
    2: lambda params: read(params["readable"]),
    3: lambda params: read("/etc/shadow"),
    4: lambda params: read("/etc/passwd"),
    5: lambda params: os.listdir("/proc"),
    6: lambda params: read(f"/proc/{params['parent']}/environ"),
    7: own_environment,
    8: lambda params: os.system("exit 0") == 0,
    9: run_program,
    10: fork,
    11: execute,
    12: thread,
    13: lambda params: socket(2),
    14: abstract_socket,
    15: lambda params: socket(40),
    16: lambda params: socket(38, 5),
    17: lambda params: socket(16, 3),
    18: lambda params: os.kill(params["parent"], 0) is None,
    19: lambda params: os.kill(-1, 0) is None,
    20: lambda params: system_call(101, 117, 1, params["parent"], 0, 0),
    21: mount,
    22: lambda params: system_call(272, 97, 0x10000000),
    23: lambda params: os.setuid(0) is None,
    24: lambda params: system_call(321, 280, -1, 0, 0),
    25: lambda params: system_call(425, 425, 0, 0),
    26: lambda params: system_call(250, 219, 0, -3, 0),
    27: lambda params: system_call(0x40000000 | 39, 0x40000000 | 172),
    28: lambda params: write("/tmp/nexcage-probe"),
    29: lambda params: write("/dev/shm/nexcage-probe"),
    30: lambda params: write("nexcage-probe"),
    31: enumerate_descriptors,
    32: lambda params: os.open("passwd", os.O_RDONLY, dir_fd=params["leaked"]),
    33: allocate,
    34: allocate_in_a_loop,
    35: spin,
    36: sleep,
    37: ignore_signals_and_spin,
    38: descriptor_bomb,
    39: lambda params: print("printed in the operation") or "unharmed",
    40: garbage,
    41: huge_header,
    42: deep_json,
    43: large_result,
    44: flood,
    45: lambda params: sys.exit(3),
    46: lambda params: os._exit(7),
    47: segfault,
    48: import_from_disk,
    49: patch_the_bootstrap,
    50: lambda params: "",
    51: lambda params: os.listdir("/sys"),
    52: lambda params: os.listdir("/dev"),
    53: ignore_signals_and_spin,
    "frames": frames,
    "aloud": lambda params: print("printed aloud", flush=True) or "unharmed",
    "loopback": lambda params: connect(2, b"\2\0" + params["port"].to_bytes(2, "big") + b"\x7f\0\0\1" + bytes(8)),
    "abstract": lambda params: connect(1, b"\1\0\0" + params["abstract"].encode()),
    "module": find_the_module,
    "interfaces": lambda params: [name for _number, name in __import__("_socket").if_nameindex() if name != "lo"],
    "name": lambda params: os.uname().nodename == params["nodename"],
    "mount": lambda params: os.access("/", os.W_OK) or os.path.exists("/etc/passwd"),
}


class Hostile(BackendExtension):
    """Runs one probe; then makes the call it is asked to make."""

    name = "hostile"

    def exec(self, host: Any, params: Params) -> Any:
        """Whether probe number ``params["probe"]`` got through."""
        server = host._log.__self__
        PIPE[:] = [server._channel._outgoing]
        value = PROBES[params["probe"]](params)
        if "call" in params:
            value = server.call(params["call"], params.get("given", {}))
        return value


def backend() -> BackendExtension:
    return Hostile()
