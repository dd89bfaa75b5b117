# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""From what a user types to canonical values: pure functions, one per kind of value.

Every function takes the option's name and the value, and returns the canonical value of
``model/container.py`` or raises ``E_INVALID`` naming the option, the value and the remedy.
"""

from __future__ import annotations

import re
import shlex
import typing as t

from .errors import NexcageError

CPU_PERIOD = 100_000  # microseconds, the kernel's default CFS period
UNLIMITED = -1
MINIMUM_MEMORY = 4 << 20  # less than this no runtime gets its own init process through
SIZE_PATTERN = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp]?)(i?b)?", re.IGNORECASE)
SIZE_STEPS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
# setrlimit(2); the names without RLIMIT_ as podman and docker type them
ULIMITS = frozenset("as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split())
# capabilities(7) up to Linux 6.x, by their bit number
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN "
    "SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE "
    "MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()
# signal(7), the numbers of x86 and ARM; real-time signals as glibc counts them
SIGNALS = {
    name: number
    for number, name in enumerate(
        "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP TSTP TTIN TTOU URG "
        "XCPU XFSZ VTALRM PROF WINCH IO PWR SYS".split(),
        1,
    )
}
REAL_TIME = {"RTMIN": 34, "RTMAX": 64}
BIND_OPTIONS = frozenset("ro rw rbind bind rprivate private rshared shared rslave slave nosuid nodev noexec suid dev exec".split())
TMPFS_OPTION = re.compile(r"ro|rw|(no)?(suid|dev|exec|atime)|strictatime|size=\d+[kmg%]?|mode=[0-7]{3,4}|uid=\d+|gid=\d+|nr_inodes=\d+[km]?")


def invalid(option: str, value: object, message: str, remedy: str) -> NexcageError:
    """The error of every function here."""
    return NexcageError("E_INVALID", message, option=option, value=value, remedy=remedy)


def size(option: str, value: object) -> int:
    """Bytes from ``64m``, ``1.5g``, ``1GiB`` or a number; units are powers of 1024; ``-1`` is unlimited."""
    text = str(value).strip()
    if text in ("-1", "unlimited"):
        return UNLIMITED
    match = SIZE_PATTERN.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise invalid(option, value, "not a size", "write a number with an optional unit k, m, g or t, such as 512m, or -1 for no limit")
    number, unit = float(match.group(1)), match.group(2).lower()
    return int(number * (1 << SIZE_STEPS[unit])) if unit or "." in match.group(1) else int(match.group(1))


def memory(option: str, value: object) -> int:
    """A memory limit in bytes, at least 4 MiB, or unlimited."""
    number = size(option, value)
    if number != UNLIMITED and number < MINIMUM_MEMORY:
        raise invalid(option, value, "too little memory for any container", "give at least 4m, or -1 for no limit")
    return number


def cpus(option: str, value: object) -> int:
    """The CFS quota in microseconds per 100 ms from a number of CPUs such as ``1.5``; 0 and -1 are unlimited, as in podman."""
    if str(value).strip() in ("0", "-1", "unlimited"):
        return UNLIMITED
    try:
        quota = round(float(str(value)) * CPU_PERIOD)
    except (ValueError, OverflowError):
        quota = 0
    if not 1000 <= quota <= 1024 * CPU_PERIOD:  # the kernel refuses a quota below 1 ms
        raise invalid(option, value, "not a number of CPUs", "write a number from 0.01 to 1024, such as 1.5, or -1 for no limit")
    return quota


def cpu_set(option: str, value: object) -> str:
    """The list format of cpuset(7), ascending and with ranges joined: ``3,0-1`` becomes ``0-1,3``."""
    numbers: set[int] = set()
    for part in str(value).replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if match is None or (match.group(2) and int(match.group(2)) < int(match.group(1))):
            raise invalid(option, value, "not a list of CPU or memory node numbers", "write numbers and ranges, such as 0-1,3")
        numbers.update(range(int(match.group(1)), int(match.group(2) or match.group(1)) + 1))
    return format_ranges(sorted(numbers))


def format_ranges(numbers: t.Sequence[int]) -> str:
    """Ascending numbers in the list format of cpuset(7)."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def whole(minimum: int, maximum: int) -> t.Callable[[str, object], int]:
    """A checker for whole numbers in a closed range."""

    def check(option: str, value: object) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = minimum - 1
        if not minimum <= number <= maximum or isinstance(value, bool):
            raise invalid(option, value, "out of range", f"write a whole number from {minimum} to {maximum}")
        return number

    return check


def pids_limit(option: str, value: object) -> int:
    """The largest number of processes; 0 and -1 both mean unlimited, as in podman and docker."""
    return whole(-1, 1 << 22)(option, value) or UNLIMITED


def signal_number(option: str, value: object) -> int:
    """A signal number from ``15``, ``TERM``, ``SIGTERM`` or ``SIGRTMIN+3``."""
    text = str(value).strip().upper()
    if text.startswith("SIG"):
        text = text[3:]
    number = int(text) if text.isascii() and text.isdigit() else SIGNALS.get(text, 0)
    match = re.fullmatch(r"(RTMIN|RTMAX)(?:([+-])(\d{1,2}))?", text)
    if match is not None:
        number = REAL_TIME[match.group(1)] + int((match.group(2) or "+") + (match.group(3) or "0"))
    if not 1 <= number <= 64 or number in (32, 33):  # glibc keeps 32 and 33 for itself
        raise invalid(option, value, "not a signal", "write a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64")
    return number


def text(option: str, value: object) -> str:
    """A string without NUL; numbers count as their text, booleans do not."""
    if isinstance(value, (bool, float)) or not isinstance(value, (str, int)):
        if value is None:
            raise invalid(option, value, "nothing is given where text is needed", "give a value, in quotes")
        kind = {"bool": "boolean", "float": "fraction", "dict": "mapping"}.get(type(value).__name__, type(value).__name__)
        remedy = "give a value, in quotes" if isinstance(value, (dict, list)) else "put the value in quotes"
        raise invalid(option, value, f"a {kind} where text is needed", remedy)
    if "\0" in str(value):
        raise invalid(option, value, "contains a NUL byte", "remove the NUL byte")
    if not str(value).isascii() and any("\ud800" <= character <= "\udfff" for character in str(value)):
        raise invalid(option, ascii(value), "is not valid Unicode text", "encode the bytes, such as with the filter b64encode")
    return str(value)


def reference(option: str, value: object) -> str:
    """Text that is more than white space."""
    if isinstance(value, str) and not value.strip():
        raise invalid(option, value, "is empty", "name an image, or leave the option out")
    return text(option, value)


def user(option: str, value: object) -> str:
    """Who a process runs as: text that is more than white space."""
    if isinstance(value, str) and not value.strip():
        raise invalid(option, value, "is empty", "name a user, or leave the option out")
    return text(option, value)


def absolute_path(option: str, value: object) -> str:
    """An absolute path without ``..``; doubled and trailing slashes are folded."""
    path = text(option, value)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or ".." in parts:
        raise invalid(option, value, "not an absolute path", "write a path that starts with / and has no '..'")
    return "/" + "/".join(parts)


def argument_vector(option: str, value: object) -> list[str]:
    """A list of arguments; a string is split as a shell would split it, without running one."""
    if isinstance(value, (list, tuple)):
        return [text(option, item) for item in value]
    try:
        return shlex.split(text(option, value))
    except ValueError as error:
        raise invalid(option, value, f"cannot be split into arguments ({error})", "close the quotation, or give a list") from None


def mapping(option: str, value: object) -> dict[str, str]:
    """Text by name, sorted; a boolean is refused, because nobody knows whether it means true, True or yes."""
    if not isinstance(value, dict):
        raise invalid(option, value, "not a mapping", "write key: value pairs")
    result = {}
    for name in sorted(value, key=str):
        key = text(option, name)
        if not key or "=" in key:
            raise invalid(option, key, "not a name", "use a name that is not empty and has no '='")
        try:
            result[key] = text(f"{option}.{key}", value[name])
        except NexcageError as error:
            if isinstance(value[name], bool):
                error.remedy = 'put the value in quotes, such as "true"'
            raise
    return result


def environment(option: str, value: object) -> dict[str, str]:
    """As :func:`mapping`; a name has no white space, which no shell could name again."""
    result = mapping(option, value)
    for name in result:
        if name.split() != [name]:
            raise invalid(option, name, *variable_fault(name))
    return result


def variable_fault(name: str) -> tuple[str, str]:
    """Message and remedy for the name of a variable with white space in it."""
    exported = name.split()[:1] == ["export"]
    return "the name of a variable has white space in it", "remove export" if exported else "use a name without white space"


def secret_mapping(option: str, value: object) -> dict[str, str]:
    """As :func:`environment`, with no value in an error: as Python writes it, Ansible would not know a secret again."""
    try:
        return environment(option, value)
    except NexcageError as error:
        error.value = None
        raise


def capability_set(option: str, value: object) -> list[str]:
    """Sorted capability names without ``CAP_``; ``ALL`` stands for every one."""
    names = set()
    for item in t.cast("list[object]", value):
        name = str(item).upper()
        name = name[4:] if name.startswith("CAP_") else name
        if name != "ALL" and name not in CAPABILITIES:
            raise invalid(option, item, "not a Linux capability", "write a name of capabilities(7), such as NET_ADMIN, or ALL")
        names.add(name)
    return ["ALL"] if "ALL" in names else sorted(names)


def name_set(option: str, value: object) -> list[str]:
    """Sorted, without doubles."""
    return sorted({text(option, item) for item in t.cast("list[object]", value)})


def ulimits(option: str, value: object) -> dict[str, list[int]]:
    """``[soft, hard]`` by name from ``nofile=1024:2048`` or ``nofile:1024:2048``; -1 is unlimited."""
    result: dict[str, list[int]] = {}
    for item in t.cast("list[object]", value):
        match = re.fullmatch(r"(\w+)[=:](-1|\d+)(?::(-1|\d+))?", str(item))
        if match is None or match.group(1).lower() not in ULIMITS:
            raise invalid(option, item, "not a resource limit", "write NAME=SOFT[:HARD], such as nofile=1024:2048; names: setrlimit(2)")
        soft, hard = int(match.group(2)), int(match.group(3) or match.group(2))
        if hard != UNLIMITED and (soft == UNLIMITED or soft > hard):
            raise invalid(option, item, "the soft limit is above the hard limit", "raise the hard limit or lower the soft one")
        if match.group(1).lower() in result:
            raise invalid(option, item, "given twice", "give each limit once")
        result[match.group(1).lower()] = [soft, hard]
    return result


def mount(option: str, value: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One canonical mount from the typed form of ``mounts``."""
    kind, source = value.get("type") or "bind", value.get("source")
    target = absolute_path(f"{option}.target", value.get("target"))
    if target == "/":
        raise invalid(f"{option}.target", "/", "would hide the whole container", "choose a path below /")
    if kind == "tmpfs" and source:
        raise invalid(f"{option}.source", source, "a tmpfs has no source", "remove source, or use type: bind")
    if kind == "bind" and not source:
        raise invalid(f"{option}.source", source, "missing", "name the folder or file of the host")
    options = sorted({text(f"{option}.options", item) for item in value.get("options") or []})
    for item in options:
        if not (item in BIND_OPTIONS if kind == "bind" else TMPFS_OPTION.fullmatch(item)):
            raise invalid(f"{option}.options", item, f"not an option of a {kind} mount", "see mount(8), or remove it")
    return {
        "type": kind,
        "source": absolute_path(f"{option}.source", source) if source else None,
        "target": target,
        "read_only": bool(value.get("read_only")) or "ro" in options,
        "options": [item for item in options if item not in ("ro", "rw")],
    }


def volume(option: str, value: object) -> dict[str, t.Any]:
    """A bind mount from podman's and docker's short form ``source:target[:options]``."""
    parts = text(option, value).split(":")
    if not 2 <= len(parts) <= 3 or not parts[0].startswith("/"):
        raise invalid(option, value, "not a bind mount", "write /source:/target, with :ro for read-only; named volumes do not exist here")
    options = [item for item in parts[2].split(",") if item] if len(parts) == 3 else []
    relabel = sorted({"z", "Z", "U"} & set(options))
    if relabel:
        raise invalid(option, value, f"the option {relabel[0]} is not supported", "label the folder on the host, and remove the option")
    return mount(option, {"type": "bind", "source": parts[0], "target": parts[1], "options": options})


def tmpfs(option: str, value: object) -> dict[str, t.Any]:
    """A tmpfs from docker's short form ``target[:options]``."""
    target, _separator, options = text(option, value).partition(":")
    return mount(option, {"type": "tmpfs", "target": target, "options": [item for item in options.split(",") if item]})


def mounts(typed: t.Iterable[t.Mapping[str, t.Any]], volumes: t.Iterable[object], tmpfs_list: t.Iterable[object]) -> list[dict[str, t.Any]]:
    """All mounts of a container, sorted by target; two on one target are refused."""
    result: dict[str, dict[str, t.Any]] = {}
    forms: list[tuple[str, t.Callable[[str, t.Any], dict[str, t.Any]], t.Iterable[t.Any]]] = [
        ("mounts", mount, typed),
        ("volumes", volume, volumes),
        ("tmpfs", tmpfs, tmpfs_list),
    ]
    for option, parse, items in forms:
        for item in items:
            one = parse(option, item)
            if one["target"] in result:
                raise invalid(option, one["target"], "two mounts on one target", "give each target once")
            result[one["target"]] = one
    return [result[target] for target in sorted(result)]


def network_mode(option: str, value: object) -> str:
    """``none`` or ``host``."""
    if value not in ("none", "host"):
        raise invalid(option, value, "not a network mode", "write none or host")
    return str(value)


def seccomp_profile(option: str, value: object) -> str:
    """``default``, ``unconfined`` or the absolute path of a profile."""
    if value in ("default", "unconfined"):
        return str(value)
    try:
        return absolute_path(option, value)
    except NexcageError as error:
        error.remedy = f"write default, unconfined, or the path of a profile: {error.remedy}"
        raise


def hostname(option: str, value: object) -> str:
    """A host name of RFC 1123, at most 64 characters as the kernel's limit is (sethostname(2))."""
    name = text(option, value)
    labels = name.split(".")
    if len(name) > 64 or not all(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", label) for label in labels):
        raise invalid(option, value, "not a host name", "use up to 64 letters, digits, '-' and '.', or leave the option out")
    return name


def flag(option: str, value: object) -> bool:
    """A boolean that Ansible has parsed already."""
    return bool(value)


def show_size(number: int) -> str:
    """Bytes for a reader: ``67108864`` is ``64 MiB``."""
    if number == UNLIMITED:
        return "unlimited"
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << exponent and number % (1 << exponent) == 0:
            return f"{number >> exponent} {unit}"
    return f"{number} B"


def show_count(number: int) -> object:
    """A number for a reader."""
    return "unlimited" if number == UNLIMITED else number


def show_signal(number: int) -> str:
    """A signal number for a reader: ``15`` is ``SIGTERM``."""
    for name, known in SIGNALS.items():
        if known == number:
            return f"SIG{name}"
    first, last = REAL_TIME.values()
    base, offset = ("RTMIN", number - first) if number - first <= last - number else ("RTMAX", number - last)
    return f"SIG{base}{offset:+d}" if offset else f"SIG{base}"


def show_cpus(quota: int) -> str:
    """A CFS quota for a reader: ``150000`` is ``1.5``."""
    if quota == UNLIMITED:
        return "unlimited"
    return f"{quota / CPU_PERIOD:g}"
