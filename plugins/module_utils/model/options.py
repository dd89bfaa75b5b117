# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The option table: the one place that knows the options of a container.

``argument_spec``, parsing, comparison, masking of diffs, the support matrix of the documentation
and the generated tests all come from it.
"""

from __future__ import annotations

import typing as t

from . import values
from .container import ContainerSpec, canonical_json, check_name
from .errors import NexcageError

OCI = ("crun", "runc")
LARGEST = 128 << 10  # bytes of canonical JSON of all that a task says of one container
STATES = ("absent", "present", "created", "started", "stopped", "paused", "restarted")
STATE_ALIASES = {"created": "present"}

Parser = t.Callable[[str, object], t.Any]


class Option(t.NamedTuple):
    """One option of the vocabulary.

    Args:
        name: As the user types it.
        kind: Ansible's type.
        parse: From the user's value to the canonical one; ``None`` where the option says how the
            task behaves and not what the container is.
        path: Where the value stands in a plan and a diff.
        effective: The canonical value a container has that was made without this option;
            ``None`` where that depends on the image or the host.
        live: Whether the value changes without making the container again.
        sensitive: Whether the values must never be shown.
        show: From the canonical value to text for a reader.
    """

    name: str
    kind: str
    parse: Parser | None = None
    path: str = ""
    aliases: tuple[str, ...] = ()
    elements: str | None = None
    choices: tuple[str, ...] | None = None
    default: t.Any = None
    suboptions: dict[str, t.Any] | None = None
    effective: t.Any = None
    live: bool = False
    sensitive: bool = False
    no_log: bool | None = None
    show: t.Callable[[t.Any], object] | None = None
    backends: tuple[str, ...] = OCI


def _option(name: str, kind: str, parse: Parser, group: str = "", **more: t.Any) -> Option:
    return Option(name, kind, parse, f"{group}.{name}" if group else name, **more)


def _list(name: str, parse: Parser, group: str = "", **more: t.Any) -> Option:
    return _option(name, "list", parse, group, elements=more.pop("elements", "str"), **more)


def _flag(name: str, group: str, **more: t.Any) -> Option:
    return _option(name, "bool", values.flag, group, effective=False, **more)


MOUNT_SUBOPTIONS: dict[str, t.Any] = {
    "type": {"type": "str", "choices": ["bind", "tmpfs"], "default": "bind"},
    "source": {"type": "str"},
    "target": {"type": "str", "required": True, "aliases": ["destination"]},
    "read_only": {"type": "bool", "default": False},
    "options": {"type": "list", "elements": "str"},
}

SIZE: dict[str, t.Any] = {"live": True, "show": values.show_size}
LIVE: dict[str, t.Any] = {"live": True}

OPTIONS: tuple[Option, ...] = (
    # what the container is
    _option("image", "str", values.reference),
    _option("bundle", "str", values.absolute_path),
    _option("command", "raw", values.argument_vector, "process"),
    _option("entrypoint", "raw", values.argument_vector, "process"),
    _option("env", "dict", values.environment, "process", aliases=("environment",), effective={}),
    _option("secret_env", "dict", values.secret_mapping, "process", effective={}, sensitive=True, no_log=True),
    _option("working_dir", "str", values.absolute_path, "process", aliases=("workdir",)),
    _option("user", "str", values.user, "process"),
    _list("groups", values.name_set, "process", aliases=("group_add",), effective=[]),
    _option("hostname", "str", values.hostname),
    _option("mounts", "list", values.text, "", elements="dict", suboptions=MOUNT_SUBOPTIONS, effective=[]),
    _option("memory", "str", values.memory, "resources", **SIZE),
    _option("memory_swap", "str", values.memory, "resources", **SIZE),
    _option("cpus", "str", values.cpus, "resources", live=True, show=values.show_cpus),
    _option("cpu_shares", "int", values.whole(2, 262144), "resources", **LIVE),
    _option("cpuset_cpus", "str", values.cpu_set, "resources", **LIVE),
    _option("cpuset_mems", "str", values.cpu_set, "resources", **LIVE),
    _option("pids_limit", "int", values.pids_limit, "resources", live=True, show=values.show_count),
    _list("ulimits", values.ulimits, "resources", aliases=("ulimit",), effective={}),
    _list("cap_add", values.capability_set, "security", aliases=("capabilities",), effective=[]),
    _list("cap_drop", values.capability_set, "security", effective=[]),
    _flag("privileged", "security"),
    _flag("no_new_privileges", "security"),
    _flag("read_only", "", aliases=("read_only_rootfs",)),
    _flag("init", "process"),
    _option("seccomp_profile", "str", values.seccomp_profile, "security", effective="default"),
    _option("labels", "dict", values.mapping, "", aliases=("label",), effective={}, live=True),
    _option("annotations", "dict", values.mapping, "", aliases=("annotation",), effective={}),
    _option("stop_signal", "str", values.signal_number, "", live=True, show=values.show_signal),
    _option("stop_timeout", "int", values.whole(0, 3600), "", effective=10, live=True),
    _option("network_mode", "str", values.network_mode, "", aliases=("network",), choices=("none", "host"), effective="none"),
    # folded into the above before anything is compared
    Option("env_file", "list", elements="path"),
    Option("volumes", "list", elements="str", aliases=("volume",)),
    Option("tmpfs", "list", elements="str"),
    # how the task behaves
    Option("backend", "str", default="auto"),
    Option("state", "str", choices=STATES, default="started"),
    Option("pull", "str", choices=("missing", "always", "never"), default="missing"),
    Option("validate_certs", "bool", default=True),
    Option("kill_signal", "str"),
    Option("force_kill", "bool", default=False, aliases=("forcekill",)),
    Option("recreate", "bool", default=False),
    Option("replace_backend", "bool", default=False),
    Option("wait", "str"),
    Option("timeout", "int", default=120),
)

BY_NAME = {option.name: option for option in OPTIONS}
SPEC_OPTIONS = tuple(option for option in OPTIONS if option.parse is not None)


def argument_spec() -> dict[str, t.Any]:
    """Ansible's argument spec of ``nexcage_container``, without ``name``'s companions elsewhere."""
    spec: dict[str, t.Any] = {"name": {"type": "str", "required": True}}
    for option in OPTIONS:
        entry: dict[str, t.Any] = {"type": option.kind}
        for key, value in (
            ("aliases", list(option.aliases) or None),
            ("elements", option.elements),
            ("choices", list(option.choices) if option.choices else None),
            ("default", option.default),
            ("options", option.suboptions),
            ("no_log", option.no_log),
        ):
            if value is not None:
                entry[key] = value
        spec[option.name] = entry
    return spec


def container_spec(parameters: t.Mapping[str, t.Any], environment_files: t.Mapping[str, str] | None = None) -> ContainerSpec:
    """The canonical spec of a task.

    Args:
        parameters: The task's parameters by option name, ``None`` where not given.
        environment_files: What the files of ``env_file`` hold, already merged.

    Raises:
        NexcageError: ``E_INVALID`` naming option, value and remedy; nothing was changed.
    """
    given = dict(parameters)
    check_name(given["name"])
    if environment_files is not None:
        given["env"] = {**environment_files, **(given.get("env") or {})}
    canonical: dict[str, t.Any] = {}
    for option in SPEC_OPTIONS:
        value = given.get(option.name)
        if value is not None and option.name != "mounts":
            canonical[option.name] = t.cast(Parser, option.parse)(option.name, value)
    if any(given.get(form) is not None for form in ("mounts", "volumes", "tmpfs")):
        canonical["mounts"] = values.mounts(*(given.get(form) or [] for form in ("mounts", "volumes", "tmpfs")))
    _check_together(canonical)
    if "memory" in canonical:  # else it is for complete() to say, as the container may have one
        _check_memory(canonical, canonical, given)
    _check_size(canonical)
    return ContainerSpec(canonical)


def _check_size(canonical: t.Mapping[str, t.Any]) -> None:
    """All containers of a backend are listed in one answer, which has a limit."""
    sizes = {name: len(canonical_json(value)) for name, value in canonical.items()}
    if sum(sizes.values()) > LARGEST:
        most = max(sizes, key=lambda name: sizes[name])
        message = f"the options of a container may have {LARGEST >> 10} KiB together, and this one alone has {sizes[most] >> 10}"
        raise NexcageError("E_INVALID", message, option=most, remedy="put what is large into a file, and mount that")


def short_form(volumes: t.Iterable[str], value: object) -> str | None:
    """The one of a task's ``volumes`` that has this source, target or option; ``None`` where none has."""
    for form in volumes:
        mount = values.volume("volumes", form)
        if value in (mount["source"], mount["target"], *mount["options"]):
            return form
    return None


def check_supported(parameters: t.Mapping[str, t.Any], backend: str) -> None:
    """Refuse the options that a backend does not support.

    Raises:
        NexcageError: ``E_UNSUPPORTED`` naming option, value and the backends that support it.
    """
    for option in OPTIONS:
        value = parameters.get(option.name)
        if backend not in option.backends and value is not None and value != option.default:
            raise NexcageError(
                "E_UNSUPPORTED",
                f"the backend {backend} does not support it",
                option=option.name,
                value=None if option.sensitive else value,
                remedy=f"remove it, or use one of {', '.join(option.backends)}",
            )


def _check_together(canonical: t.Mapping[str, t.Any]) -> None:
    """Refuse values that contradict each other."""
    if "image" in canonical and "bundle" in canonical:
        raise NexcageError(
            "E_INVALID",
            "an image and a bundle cannot both be the root of one container",
            option="bundle",
            value=canonical["bundle"],
            remedy="give image or bundle, not both",
        )
    for name in canonical.get("env", {}):
        if name in canonical.get("secret_env", {}):
            raise NexcageError("E_INVALID", "given both open and secret", option="secret_env", value=name, remedy="give the variable once")


def _check_memory(desired: t.Mapping[str, t.Any], merged: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any]) -> None:
    """Refuse a total of memory and swap that has no memory, or a larger one; one of the two may be recorded."""
    swap, memory = merged.get("memory_swap"), merged.get("memory")
    memory = None if memory == values.UNLIMITED else memory
    if swap is None or swap == values.UNLIMITED or (memory is not None and memory <= swap):
        return
    option = "memory_swap" if "memory_swap" in desired else "memory"
    message, remedy = (_more_than_total if memory is not None else _total_alone)(desired, memory or 0, swap)
    raise NexcageError("E_INVALID", message, option=option, value=given.get(option, values.show_size(merged[option])), remedy=remedy)


def _more_than_total(desired: t.Mapping[str, t.Any], memory: int, swap: int) -> tuple[str, str]:
    """Message and remedy for a memory that is larger than the total with swap."""
    if "memory_swap" not in desired:
        return f"memory {values.show_size(memory)} is larger than the memory_swap of {values.show_size(swap)} that this container has", "give memory_swap too"
    least = f"give at least {values.show_size(memory)}, as it is the total of memory and swap"
    if "memory" in desired:
        return f"memory_swap {values.show_size(swap)} is smaller than the memory of {values.show_size(memory)}", least
    return (
        f"memory_swap {values.show_size(swap)} is smaller than the memory of {values.show_size(memory)} that this container has",
        f"{least}, or give memory too",
    )


def _total_alone(desired: t.Mapping[str, t.Any], _memory: int, swap: int) -> tuple[str, str]:
    """Message and remedy for a total without a limit of memory."""
    if "memory_swap" not in desired:
        return f"memory has to be limited beside the memory_swap of {values.show_size(swap)} that this container has", "give memory_swap: -1 too"
    message = "memory_swap is the total of memory and swap, and needs a memory that is limited"
    if "memory" in desired:
        return message, "give memory a limit, or memory_swap: -1"
    return message, "give memory too, which this task and the container do not limit"


def show(option: Option, value: t.Any) -> t.Any:
    """A canonical value for a reader; a sensitive one only says whether it is there."""
    if value is None:
        return None
    if option.sensitive:
        return dict.fromkeys(value, "(secret)") if isinstance(value, dict) else "(secret)"
    return option.show(value) if option.show else value


def public(spec: ContainerSpec) -> dict[str, t.Any]:
    """The spec for a result: sensitive values masked by structure."""
    return {name: show(BY_NAME[name], value) if BY_NAME[name].sensitive else value for name, value in spec.values.items()}


def misshapen(spec: t.Mapping[str, t.Any]) -> str:
    """What is wrong with the types in a recorded spec, which somebody else may have written; empty where nothing is."""
    for name, value in spec.items():
        option = BY_NAME.get(name)
        if option is None or option.parse is None:
            return f"spec.{name} is no option that is recorded"
        if value is not None and not _shape(option)(value):
            return f"spec.{name} has a value of a wrong type"
    return ""


def _shape(option: Option) -> t.Callable[[t.Any], bool]:
    """What tells whether a canonical value of the option has the right type."""
    if option.name in _SHAPES:
        return _SHAPES[option.name]
    if option.kind == "int" or option.parse in (values.memory, values.cpus, values.signal_number):
        return _is_number
    return {"dict": _are_words, "list": _are_texts, "raw": _are_texts, "bool": lambda value: isinstance(value, bool)}.get(option.kind, _is_text)


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str)


def _is_number(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: t.Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_words(value: t.Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_limits(value: t.Any) -> bool:
    return isinstance(value, dict) and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) for pair in value.values())


def _are_mounts(value: t.Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) and _is_mount(entry) for entry in value)


def _is_mount(entry: t.Mapping[str, t.Any]) -> bool:
    texts = all(_is_text(entry.get(key)) for key in ("type", "target")) and isinstance(entry.get("source"), (str, type(None)))
    return texts and isinstance(entry.get("read_only"), bool) and _are_texts(entry.get("options"))


_SHAPES: dict[str, t.Callable[[t.Any], bool]] = {"ulimits": _are_limits, "mounts": _are_mounts}


def complete(desired: ContainerSpec, recorded: ContainerSpec, given: t.Mapping[str, t.Any] | None = None) -> ContainerSpec:
    """The spec to make a container again with: what the task says, and for the rest what was recorded.

    Args:
        desired: What the task says.
        recorded: What the container has.
        given: The task's parameters as the user wrote them, for an error.

    Raises:
        NexcageError: ``E_INVALID`` where a recorded value contradicts what the task says.
    """
    kept = dict(recorded.values)
    if desired.get("bundle") is not None:
        kept.pop("image", None)
    if desired.get("image") is not None:
        kept.pop("bundle", None)
    for said, other in (("env", "secret_env"), ("secret_env", "env")):
        if said in desired.values and other not in desired.values and other in kept:
            kept[other] = {name: value for name, value in kept[other].items() if name not in desired.values[said]}
    merged = desired.over(ContainerSpec(kept))
    _check_memory(desired.values, merged.values, given or {})
    return merged
