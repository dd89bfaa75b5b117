# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The manifest of a plugin (``plugin.json``): the strict parser and the value object.

The rules of single fields are data in ``manifest_fields``; what two fields say of each other is checked here.
"""

from __future__ import annotations

import json
import math
import re
import types
import typing as t
from collections.abc import Iterator, Mapping

from . import version
from .capability import CAPABILITIES, NOTHING, OPERATIONS, effective_level
from .errors import NexcageError
from .foreign_words import PROCESS
from .manifest_fields import OPEN_OPTIONS, PLACEHOLDER, RULES, SETTING, SETTINGS_LIMIT
from .manifest_rules import plain, refuse
from .template import TASK
from .version import COMPATIBILITY_LEVEL, Range, parse_version

SIZE_LIMIT = 65536  # bytes of plugin.json
DEPTH_LIMIT = 16
DIGITS_LIMIT = 20

RESERVED_HEADERS = (
    *("host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "accept-encoding", "user-agent"),
    *("upgrade", "te", "trailer", "expect"),
)
BACKEND_OPERATIONS = ("create", "start", "stop", "delete", "list", "info", "exec")  # what a backend without the field has


class Manifest(t.Mapping[str, t.Any]):
    """A manifest that was checked: all defaults filled in, and nothing in it can change.

    Args:
        values: What :func:`check_manifest` made of a document.
        notes: What the author or the operator should know and is no error.
    """

    __slots__ = ("_values", "notes")

    def __init__(self, values: dict[str, t.Any], notes: tuple[str, ...] = ()) -> None:
        self._values: t.Mapping[str, t.Any] = _frozen(values)
        self.notes = notes

    def __getitem__(self, field: str) -> t.Any:
        return self._values[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(json.dumps(self.as_dict(), sort_keys=True))

    def __repr__(self) -> str:
        return f"Manifest({self['name']} {self['version']})"

    def as_dict(self) -> dict[str, t.Any]:
        """A new, plain, JSON-able copy; checking it again gives an equal manifest."""
        return t.cast("dict[str, t.Any]", _thawed(self._values))


def parse_manifest(text: bytes | str, compare: bool = True) -> Manifest:
    """The manifest in the bytes of a ``plugin.json``.

    Args:
        text: UTF-8, at most 64 KiB, at most 16 levels, no key twice, no NaN or Infinity.
        compare: Also compare ``api_version`` and ``nexcage_version``.

    Raises:
        NexcageError: ``E_MANIFEST`` naming field, value and rule; ``E_VERSION`` where it is for
            another NexCage.
    """
    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        if len(data) > SIZE_LIMIT:
            raise NexcageError("E_MANIFEST", f"{len(data)} bytes long, and {SIZE_LIMIT} are allowed")
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise NexcageError("E_MANIFEST", f"not UTF-8 text: {error.reason}") from None
    except json.JSONDecodeError as error:
        raise NexcageError("E_MANIFEST", f"not JSON: {error}") from None
    except RecursionError:
        raise _too_deep() from None
    _check_depth(document)
    return check_manifest(document, compare)


def check_manifest(document: t.Any, compare: bool = True) -> Manifest:
    """The manifest that a JSON value is, as :func:`parse_manifest`."""
    values: dict[str, t.Any] = RULES.check("", document)
    if "operations" not in values:
        declared = set(values["capabilities"])
        usual = BACKEND_OPERATIONS if values["provides_backend"] else ()
        values["operations"] = [name for name in usual if _enabled(name, declared)]
    _meaning(values)
    if compare:
        check_compatibility(values)
    return Manifest(values, tuple(_notes(document, values)))


def check_compatibility(manifest: t.Mapping[str, t.Any], level: str = COMPATIBILITY_LEVEL) -> None:
    """Refuse a plugin that was made for another API or another NexCage.

    Raises:
        NexcageError: ``E_VERSION`` naming the field, its value and what is here.
    """
    if manifest["api_version"] not in version.API_VERSIONS:
        raise NexcageError(
            "E_VERSION",
            f"this collection speaks plugin API {', '.join(map(str, version.API_VERSIONS))}",
            option="api_version",
            value=manifest["api_version"],
            remedy="install a version of the plugin, or of the collection, that fits the other",
        )
    if parse_version(level) not in Range(manifest["nexcage_version"]):
        raise NexcageError(
            "E_VERSION",
            f"NexCage's compatibility level {level} is not in that range",
            option="nexcage_version",
            value=manifest["nexcage_version"],
            remedy="install a version of the plugin, or of the collection, that fits the other",
        )


def _meaning(values: dict[str, t.Any]) -> None:
    """What two fields say of each other."""
    _dependencies(values)
    _operations(values)
    for name, setting in values["configuration"].items():
        _setting(f"configuration.{name}", setting)
    for field, capability in _SECTIONS:
        section: t.Any = values
        for part in field.split("."):
            section = section[part]
        if section and capability not in values["capabilities"]:
            raise refuse(field, section, f"needs the capability {capability}, which is not declared")
    binaries = [binary["name"] for binary in values["binary_dependencies"]]
    for name, command in values["commands"].items():
        if command["binary"] not in binaries:
            raise refuse(f"commands.{name}.binary", command["binary"], "not among binary_dependencies")
        _template(f"commands.{name}", " ".join(command["argv"]), command["parameters"])
        _task_holes(f"commands.{name}", command)
    _options(values)
    _roots(values)
    _network(values)


def _dependencies(values: dict[str, t.Any]) -> None:
    for index, dependency in enumerate(values["dependencies"]):
        if values["name"] == (dependency["name"] if isinstance(dependency, dict) else dependency):
            raise refuse(f"dependencies[{index}]", dependency, "a plugin does not depend on itself")
    for index, binary in enumerate(values["binary_dependencies"]):
        if binary["check_command"] and binary["check_command"].split(" ")[0] != binary["name"]:
            raise refuse(f"binary_dependencies[{index}].check_command", binary["check_command"], f"does not begin with {binary['name']}")


def _operations(values: dict[str, t.Any]) -> None:
    for index, name in enumerate(values["operations"]):
        if not _enabled(name, set(values["capabilities"])):
            needs = " and ".join(capability for names in OPERATIONS[name].needs for capability in names)
            raise refuse(f"operations[{index}]", name, f"needs {needs}, which is not declared under capabilities")
        if name != "health" and not values["provides_backend"]:
            raise refuse(f"operations[{index}]", name, "needs provides_backend: true")


def _enabled(operation: str, declared: set[str]) -> bool:
    return any(declared.issuperset(names) for names in OPERATIONS[operation].needs)


def _setting(where: str, setting: dict[str, t.Any]) -> None:
    kind = setting["type"]
    given = [(f"{where}.choices[{index}]", choice) for index, choice in enumerate(setting.get("choices", ()))]
    if "default" in setting:
        if setting["sensitive"]:
            raise NexcageError("E_MANIFEST", "a sensitive setting has no default: a secret does not belong into a manifest", option=where)
        given.append((f"{where}.default", setting["default"]))
    for place, value in given:
        if not _TYPES[kind](value):
            raise refuse(place, value, f"not of the setting's type {kind}")
    if "default" in setting and "choices" in setting and setting["default"] not in setting["choices"]:
        raise refuse(f"{where}.default", setting["default"], "not among the setting's choices")


_TYPES: dict[str, t.Callable[[t.Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "path": lambda value: isinstance(value, str) and value.startswith("/"),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: isinstance(value, bool),
}
_SECTIONS = (
    ("commands", "host_command"),
    ("filesystem.read", "filesystem_read"),
    ("filesystem.write", "filesystem_write"),
    ("network", "network_client"),
)


def _template(where: str, text: str, parameters: dict[str, t.Any]) -> None:
    used = set(re.findall(PLACEHOLDER, text))
    for name in sorted(used.symmetric_difference(parameters)):
        problem = "used and not declared" if name in used else "declared and not used"
        raise NexcageError("E_MANIFEST", problem, option=f"{where}.parameters.{name}")
    for name, parameter in parameters.items():
        if (parameter["type"] == "choice") != ("choices" in parameter):
            raise refuse(f"{where}.parameters.{name}", parameter, "type choice has choices, and no other type has")


def _task_holes(where: str, command: dict[str, t.Any]) -> None:
    """What the broker fills from the operator's task: one to an argument, and only what may stand in a list of processes."""
    for name, parameter in command["parameters"].items():
        place, task = f"{where}.parameters.{name}", parameter["type"] in TASK
        if not task and ("option" in parameter or "form" in parameter):
            raise refuse(place, parameter, "only the types option and process have option and form")
        known = OPEN_OPTIONS if parameter["type"] == "option" else PROCESS
        if task and parameter.get("option", name) not in known:
            raise refuse(place, parameter, f"the type {parameter['type']} stands for one of {', '.join(known)}")
    for argument in command["argv"]:
        holes = [name for name in re.findall(PLACEHOLDER, argument) if command["parameters"][name]["type"] in TASK]
        if len(holes) > 1:
            raise refuse(f"{where}.argv", argument, "one argument has at most one hole of the types option and process")


def _options(values: dict[str, t.Any]) -> None:
    """What the manager records of its containers, a backend without an OCI runtime has to name."""
    for field in ("options", "live"):
        if values[field] and (values["oci"].get("runtime") or not values["provides_backend"]):
            raise refuse(field, values[field], "for a backend without an OCI runtime; all OCI runtimes have the same options")
    for index, name in enumerate(values["live"]):
        if name not in values["options"]:
            raise refuse(f"live[{index}]", name, "not among the options")


def _roots(values: dict[str, t.Any]) -> None:
    """Each root is a setting of its own name: the operator says which folder it stands for, and nobody else."""
    settings = values["configuration"]
    for name in (*values["filesystem"]["read"], *values["filesystem"]["write"]):
        setting = settings.setdefault(name, SETTING.check(f"configuration.{name}", {"type": "path", "description": f"the folder of the root {name}"}))
        if setting["type"] != "path" or "default" in setting or setting["sensitive"]:
            raise refuse(f"configuration.{name}", setting, "the setting of a root under filesystem is of type path, without a default and not sensitive")
    if len(settings) > SETTINGS_LIMIT:
        raise refuse("configuration", len(settings), f"more than {SETTINGS_LIMIT} settings, those of the roots included")


def _network(values: dict[str, t.Any]) -> None:
    settings = values["configuration"]
    for index, network in enumerate(values["network"]):
        where = f"network[{index}]"
        for text in (*network["hosts"], str(network["port"])):
            for name in re.findall(PLACEHOLDER, text):
                if settings.get(name, {"sensitive": True})["sensitive"]:
                    raise refuse(where, text, f"there is no setting {name} under configuration, or it is sensitive: a host's name is no secret")
        authorities = settings.get(network.get("ca_file"), {"type": "none", "sensitive": False})
        if "ca_file" in network and (authorities["type"] != "path" or authorities["sensitive"]):
            raise refuse(f"{where}.ca_file", network["ca_file"], "not a setting of type path under configuration that is not sensitive")
        for number, request in enumerate(network["requests"]):
            _template(f"{where}.requests[{number}]", request["path"], request["parameters"])
            for name, parameter in request["parameters"].items():
                if parameter["type"] in TASK:
                    raise refuse(f"{where}.requests[{number}].parameters.{name}", parameter["type"], "a type for commands alone; a plugin is given the spec")
    _secrets(values)


def _secrets(values: dict[str, t.Any]) -> None:
    settings = values["configuration"]
    known = [network["id"] for network in values["network"]]
    for index, secret in enumerate(values["secrets"]):
        if secret["network"] not in known:
            raise refuse(f"secrets[{index}].network", secret["network"], "not the id of an entry of network")
        if not settings.get(secret["configuration"], {}).get("sensitive"):
            raise refuse(f"secrets[{index}].configuration", secret["configuration"], "not a sensitive setting under configuration")
        if secret["header"].lower() in RESERVED_HEADERS:
            raise refuse(f"secrets[{index}].header", secret["header"], "a header that the connection itself needs")


def _notes(document: dict[str, t.Any], values: dict[str, t.Any]) -> Iterator[str]:
    if "max_threads" in document["resource_requirements"]:
        yield f"resource_requirements.max_threads={values['resource_requirements']['max_threads']} is without effect: a worker has one thread"
    for name in values["capabilities"]:
        if effective_level(name, values) == NOTHING:
            yield f"capabilities: {name} opens nothing here" + ("" if CAPABILITIES[name].grantable else ": no broker call stands behind it")


def _object(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise NexcageError("E_MANIFEST", "the key is in one object twice", option=plain(twice))
    return found


def _constant(text: str) -> t.Any:
    raise NexcageError("E_MANIFEST", f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > DIGITS_LIMIT:
        raise NexcageError("E_MANIFEST", f"a number of {len(text)} digits; at most {DIGITS_LIMIT} are allowed", value=text[:DIGITS_LIMIT] + "...")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _constant(text[:64])


def _check_depth(document: t.Any) -> None:
    level = [document]
    for _level in range(DEPTH_LIMIT):
        level = [inner for value in level if isinstance(value, (dict, list)) for inner in (value.values() if isinstance(value, dict) else value)]
    if any(isinstance(value, (dict, list)) for value in level):
        raise _too_deep()


def _too_deep() -> NexcageError:
    return NexcageError("E_MANIFEST", f"more than {DEPTH_LIMIT} levels deep")


def _frozen(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return types.MappingProxyType({key: _frozen(entry) for key, entry in value.items()})
    return tuple(_frozen(entry) for entry in value) if isinstance(value, list) else value


def _thawed(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {key: _thawed(entry) for key, entry in value.items()}
    return [_thawed(entry) for entry in value] if isinstance(value, tuple) else value
