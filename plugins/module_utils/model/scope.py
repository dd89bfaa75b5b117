# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""All that a manifest asks for: readable, comparable, and as one digest that a grant is bound to.

The scope is ``capabilities oci commands filesystem network secrets hooks``, and of ``configuration`` those settings
that say which host a plugin may talk to, and whom to believe there. Limits and descriptions are no part of it:
nothing is gained by them.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Iterator, Mapping

from .capability import CAPABILITIES, NOTHING, ROOT_EQUIVALENT, SCOPED, effective_level
from .container import canonical_json

_SETTING = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")


class Entry(t.NamedTuple):
    """One thing that a manifest asks for.

    Args:
        capability: The name it is granted by; ``oci`` and ``hooks`` for what has no name of its own.
        detail: What exactly, in ASCII on one line: it can stand in a message, a comment or a diff.
        level: ``contained``, ``scoped``, ``root-equivalent``, or ``nothing`` for what opens no call.
    """

    capability: str
    detail: str
    level: str

    def __str__(self) -> str:
        """The entry in one line."""
        return f"{self.capability}: {self.detail} [{self.level}]"


def normal(manifest: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The scope of a manifest as plain JSON, in one form whatever the order of its lists; also of a scope itself."""
    filesystem = manifest.get("filesystem") or {}
    networks = [_network(network) for network in manifest.get("network") or ()]
    return {
        "capabilities": _set(manifest.get("capabilities")),
        "oci": _plain(manifest.get("oci") or {}),
        "commands": {name: _command(command) for name, command in (manifest.get("commands") or {}).items()},
        "filesystem": {kind: _set(filesystem.get(kind)) for kind in ("read", "write")},
        "network": _set(networks),
        "secrets": _set(manifest.get("secrets")),
        "hooks": _set(manifest.get("hooks")),
        "configuration": _settings(manifest, networks),
    }


def digest(manifest: t.Mapping[str, t.Any]) -> str:
    """``sha256:…`` of the canonical JSON of the scope: the same for the same scope, another for any other."""
    return "sha256:" + hashlib.sha256(canonical_json(normal(manifest))).hexdigest()


def entries(manifest: t.Mapping[str, t.Any]) -> list[Entry]:
    """Everything that a manifest, or a scope, asks for; two scopes have the same entries only where they are the same."""
    scope = normal(manifest)
    found = [_capability(name, scope) for name in scope["capabilities"]]
    found += [*_oci(scope), *_commands(scope), *_filesystem(scope), *_networks(scope), *_secrets(scope), *_hooks(scope)]
    return found


def widened(granted: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> list[Entry]:
    """What ``asked`` has and ``granted`` has not, each entry compared as a whole; also secrets that it would be told itself now."""
    known = set(entries(granted))
    return [entry for entry in [*entries(asked), *disclosed(granted, asked)] if entry not in known]


def disclosed(granted: t.Mapping[str, t.Any], asked: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    """The secrets of one scope that are settings as any other to a manifest: what was kept from the plugin reaches it then."""
    settings = asked.get("configuration") or {}
    sent = {str(secret["configuration"]) for secret in asked.get("secrets") or ()}
    for name in sorted({str(secret["configuration"]) for secret in granted.get("secrets") or ()} - sent):
        if name in settings and not settings[name].get("sensitive"):
            yield Entry("network_client", f"the setting {name}, which was a secret, is told to the plugin", SCOPED)


def difference(old: t.Mapping[str, t.Any], new: t.Mapping[str, t.Any]) -> list[str]:
    """One line for each entry that is new (``+``) or gone (``-``); empty where both scopes are the same."""
    return [f"+ {entry}" for entry in widened(old, new)] + [f"- {entry}" for entry in widened(new, old)]


def _plain(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _set(values: t.Iterable[t.Any] | None) -> list[t.Any]:
    """A list whose order means nothing: sorted, each value once."""
    unique = {_text(value): value for value in _plain(list(values or ()))}
    return [unique[key] for key in sorted(unique)]


def _text(value: t.Any) -> str:
    """ASCII only: some of Unicode's characters end a line, or turn its direction."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _parameters(parameters: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    plain = {name: dict(_plain(parameter)) for name, parameter in parameters.items()}
    return {name: {**parameter, "choices": _set(parameter["choices"])} if "choices" in parameter else parameter for name, parameter in plain.items()}


def _command(command: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {**_plain(command), "parameters": _parameters(command.get("parameters") or {})}


def _network(network: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    requests = [{**_plain(request), "parameters": _parameters(request.get("parameters") or {})} for request in network["requests"]]
    return {**_plain(network), "hosts": _set(network["hosts"]), "requests": _set(requests)}


def _settings(manifest: t.Mapping[str, t.Any], networks: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    """The settings that hosts and ports are taken from: a default that the plugin chose is a host that the plugin chose."""
    used = {name for network in networks for text in (*network["hosts"], str(network["port"])) for name in _SETTING.findall(text)}
    used.update(network["ca_file"] for network in networks if "ca_file" in network)
    found = {}
    for name in sorted(used):
        setting = _plain((manifest.get("configuration") or {}).get(name) or {})
        kept = {key: setting[key] for key in ("type", "default") if key in setting}
        found[name] = {**kept, "choices": _set(setting["choices"])} if "choices" in setting else kept
    return found


def _capability(name: str, scope: t.Mapping[str, t.Any]) -> Entry:
    row, level = CAPABILITIES[name], effective_level(name, scope)
    if level != NOTHING:
        return Entry(name, "opens " + ", ".join(row.calls), level)
    why = f"the manifest's {row.section} is empty" if row.grantable else "no broker call stands behind the name"
    return Entry(name, f"opens nothing: {why}", level)


def _level(scope: t.Mapping[str, t.Any], name: str, level: str) -> str:
    """The class of an entry that only its capability brings to life."""
    return level if name in scope["capabilities"] else NOTHING


def _oci(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    if scope["oci"].get("runtime"):
        calls = [call for name in scope["capabilities"] for call in CAPABILITIES[name].calls]
        level = SCOPED if any(call.startswith("oci.") for call in calls) else NOTHING
        detail = f"the runtime {scope['oci']['runtime']}, run as root with arguments and bundles that the broker writes{_rest(scope['oci'], 'runtime')}"
        yield Entry("oci", detail, level)


def _commands(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    for name, command in sorted(scope["commands"].items()):
        line = _text([command["binary"], *command["argv"]])
        limit = f", at most {command['timeout_seconds']} s"
        detail = f"command {name}: {line}{_with(command['parameters'])}{limit}{_rest(command, 'binary', 'argv', 'parameters', 'timeout_seconds')}"
        yield Entry("host_command", detail, _level(scope, "host_command", ROOT_EQUIVALENT))


def _with(parameters: t.Mapping[str, t.Any]) -> str:
    shown = [f"{name}: {'one of ' + _text(row['choices']) if 'choices' in row else row['type']}" for name, row in sorted(parameters.items())]
    shown = [text + _rest(parameters[name], "type", "choices") for text, name in zip(shown, sorted(parameters))]
    return f" with {', '.join(shown)}" if shown else ""


def _rest(record: t.Mapping[str, t.Any], *shown: str) -> str:
    """The fields of a record that its entry does not show in words: none is left out, also not one that is new."""
    return "".join(f", {key}: {_text(record[key])}" for key in sorted(record) if key not in shown)


def _filesystem(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    for kind in ("read", "write"):
        for root in scope["filesystem"][kind]:
            yield Entry(f"filesystem_{kind}", f"{kind} below the root {root}", _level(scope, f"filesystem_{kind}", SCOPED))


def _networks(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    level = _level(scope, "network_client", SCOPED)
    for network in scope["network"]:
        scheme = "https" if network["tls"] else "http without encryption"
        for host in network["hosts"]:
            place = f"host {_place(scope, host)}, port {_place(scope, str(network['port']))}, {scheme}{_authorities(scope, network)}"
            rest = _rest(network, "id", "hosts", "port", "tls", "ca_file", "requests")
            yield Entry("network_client", f"network {network['id']}: {place}{rest}", level)
        for request in network["requests"]:
            line = f"{request['method']} {request['path']}{_with(request['parameters'])}{_rest(request, 'method', 'path', 'parameters')}"
            yield Entry("network_client", f"network {network['id']}: {line}", level)


def _place(scope: t.Mapping[str, t.Any], text: str) -> str:
    """A host or port, and where it comes from where that is a setting."""
    facts = [f"{name}: {_text(scope['configuration'][name])}" for name in _SETTING.findall(text)]
    return f"{text} (setting {', '.join(facts)})" if facts else text


def _authorities(scope: t.Mapping[str, t.Any], network: t.Mapping[str, t.Any]) -> str:
    name = network.get("ca_file")
    return f", trusting the authorities in the setting {name}: {_text(scope['configuration'][name])}" if name else ""


def _secrets(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    for secret in scope["secrets"]:
        detail = f"the secret setting {secret['configuration']}, sent as {secret['header']} on the network {secret['network']}"
        detail += _rest(secret, "configuration", "network", "header")
        yield Entry("network_client", detail, _level(scope, "network_client", SCOPED))


def _hooks(scope: t.Mapping[str, t.Any]) -> Iterator[Entry]:
    for hook in scope["hooks"]:
        detail = f"is told of {hook['event']}, priority {hook['priority']}, at most {hook['timeout_ms']} ms, strategy {hook['strategy']}"
        yield Entry("hooks", detail + _rest(hook, "event", "priority", "timeout_ms", "strategy"), SCOPED)
