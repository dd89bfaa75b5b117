# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The fields of a manifest as data: names, defaults, ranges.

Fields, defaults and ranges are those of existing NexCage plugins, which stay valid; ``operations oci commands
filesystem network secrets hooks`` are new and optional.
"""

from __future__ import annotations

from .capability import CAPABILITIES, OPERATIONS
from .manifest_rules import ABSENT, Choice, Either, Field, Flag, ListOf, MapOf, Record, Scalar, Text, Whole
from .options import SPEC_OPTIONS
from .version import EXACT_PATTERN, RANGE_PATTERN

U32 = 4_294_967_295
SETTINGS_LIMIT = 64

HOOK_EVENTS = (
    *("system.startup", "system.shutdown", "system.config_reload", "system.health_check", "system.plugin_loaded"),
    *("system.plugin_unloaded", "system.error_occurred"),
    *("container.pre_create", "container.post_create", "container.pre_start", "container.post_start", "container.pre_stop"),
    *("container.post_stop", "container.pre_delete", "container.post_delete", "container.status_changed"),
    *("cli.pre_command", "cli.post_command", "cli.command_error", "cli.help_requested"),
    *("api.pre_request", "api.post_request", "api.request_error", "api.authentication", "api.authorization"),
)

# What a backend without an OCI runtime says that it supports: what a container is, and how it is fetched and stopped.
CONTAINER_OPTIONS = (*(option.name for option in SPEC_OPTIONS), "pull", "validate_certs", "kill_signal", "force_kill")
OPEN_OPTIONS = tuple(option.name for option in SPEC_OPTIONS if not option.sensitive)

PLACEHOLDER = r"\{([a-z][a-z0-9_]{0,31})\}"
_HOLE = r"\{[a-z][a-z0-9_]{0,31}\}"

NAME = Text(
    1, 64, r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", "a name of 1 to 64 letters, digits, '.', '_', '-' that begins and ends with a letter or digit"
)
VERSION = Text(5, 64, EXACT_PATTERN, "a version of the form x.y.z")
RANGE = Text(1, 128, RANGE_PATTERN, "a version range such as '>=1.0.0', '>=1,<2', '~=1.4' or a bare '1.2.3'")
WORD = Text(1, 32, r"[a-z0-9_]+", "a word of 1 to 32 lower-case letters, digits, '_'")
KEY = Text(1, 64, r"[A-Za-z_][A-Za-z0-9_]*", "a name of 1 to 64 letters, digits, '_' that does not begin with a digit")
LABEL = Text(1, 32, r"[a-z][a-z0-9_]*", "a name of 1 to 32 lower-case letters, digits, '_' that begins with a letter")
PROGRAM = Text(1, 64, r"[A-Za-z0-9][A-Za-z0-9._+-]*", "a program's name without a path")
# What runs as root to ask for a version must not be able to do anything else.
CHECK = Text(0, 80, r"(?:[A-Za-z0-9][A-Za-z0-9._+-]* (?:--version|-version|-V|version|--help|help))?", "'<program> --version' (or -V, version, help)")
ARGUMENT = Text(1, 1024, rf"(?:[^{{}}\x00-\x1f\x7f-\x9f\ud800-\udfff]|{_HOLE})+", "an argument with {parameters} and without control characters")
HOST = Text(1, 253, rf"{_HOLE}|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", "a host name, an IPv4 address or a {setting}")
PORT = Either({int: Whole(1, 65535), str: Text(3, 34, _HOLE, "a {setting}")})
PATH = Text(1, 1024, rf"(?:/(?:(?!\.{{1,2}}(?:/|$))[A-Za-z0-9._~-]+|{_HOLE}))+", "a path of plain segments and {parameters}, such as /api2/json/nodes/{node}")

PLAIN = Text(1, 64, r"[A-Za-z0-9_.][A-Za-z0-9_.:-]*", "a plain word that does not begin with '-'")
HEADER = Text(1, 64, r"[A-Za-z][A-Za-z0-9-]*", "the name of an HTTP header")
PREFIX = Text(0, 32, r"(?:[A-Za-z][A-Za-z0-9_-]*[ =])?", "the beginning of a header's value, such as 'Bearer '")
NOTE = Text(0, 512)

DEPENDENCY = Record({"name": Field(NAME), "version": Field(RANGE)})
RESOURCES = Record(
    {
        "max_memory_mb": Field(Whole(1, 2048), 64),
        "max_cpu_percent": Field(Whole(1, 100), 5),
        "max_file_descriptors": Field(Whole(1, 4096), 100),
        "max_threads": Field(Whole(1, 100), 10),
        "timeout_seconds": Field(Whole(1, 300), 30),
        "max_network_connections": Field(Whole(0, U32), 50),
        "max_disk_usage_mb": Field(Whole(0, U32), 100),
    }
)
BINARY = Record({"name": Field(PROGRAM), "version": Field(RANGE, ">=0"), "description": Field(NOTE, ""), "check_command": Field(CHECK, "")})
SYSTEM = Record(
    {
        "os": Field(ListOf(WORD), []),
        "architecture": Field(ListOf(WORD), []),
        "kernel_version": Field(RANGE, ">=0"),
        "virtualization": Field(ListOf(WORD), []),
    }
)
SETTING = Record(
    {
        "type": Field(Choice("string", "integer", "number", "boolean", "path")),
        "required": Field(Flag(), False),
        "description": Field(NOTE, ""),
        "default": Field(Scalar(), ABSENT),
        "choices": Field(ListOf(Scalar(), minimum=1), ABSENT),
        "sensitive": Field(Flag(), False),
    }
)
PARAMETER = Record(
    {
        "type": Field(Choice("uint", "container_name", "node", "relative_path", "choice", "option", "process")),
        "choices": Field(ListOf(PLAIN, minimum=1), ABSENT),
        "option": Field(Choice(*OPEN_OPTIONS), ABSENT),  # in place of the one that the hole is named after
        "form": Field(Choice("plain", "json", "cpus", "limit"), ABSENT),
    }
)
PARAMETERS = Field(MapOf(LABEL, PARAMETER, 16), {})
COMMAND = Record(
    {
        "binary": Field(PROGRAM),
        "argv": Field(ListOf(ARGUMENT, unique=False)),
        "parameters": Field(MapOf(LABEL, PARAMETER, 48), {}),  # more than there are options
        "timeout_seconds": Field(Whole(1, 300), 30),
        # The operator reads it in the grant: a command that reads runs in check mode too.
        "kind": Field(Choice("read", "write"), "write"),
        "stdin": Field(Choice("secret_env", "input"), ABSENT),
    }
)
REQUEST = Record({"method": Field(Choice("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")), "path": Field(PATH), "parameters": PARAMETERS})
NETWORK = Record(
    {
        "id": Field(LABEL),
        "hosts": Field(ListOf(HOST, minimum=1, maximum=16)),
        "port": Field(PORT, 443),
        "tls": Field(Flag(), True),
        "ca_file": Field(KEY, ABSENT),  # the setting that names a file of certificate authorities
        "requests": Field(ListOf(REQUEST, minimum=1, maximum=128)),
    }
)
SECRET = Record({"configuration": Field(KEY), "network": Field(LABEL), "header": Field(HEADER, "Authorization"), "prefix": Field(PREFIX, "")})
HOOK = Record(
    {
        "event": Field(Choice(*HOOK_EVENTS)),
        "priority": Field(Choice("critical", "high", "normal", "low", "background"), "normal"),
        "timeout_ms": Field(Whole(1, 60_000), 5000),
        "strategy": Field(Choice("skip", "retry", "abort"), "skip"),
    }
)

RULES = Record(
    {
        "name": Field(NAME),
        "version": Field(VERSION),
        "description": Field(Text(1, 512)),
        "author": Field(NOTE, ""),
        "homepage": Field(Text(0, 2048), ""),
        "license": Field(NOTE, ""),
        "api_version": Field(Whole(0, U32)),
        "nexcage_version": Field(RANGE),
        "dependencies": Field(ListOf(Either({str: NAME, dict: DEPENDENCY}), key="name")),
        "capabilities": Field(ListOf(Choice(*CAPABILITIES))),
        "resource_requirements": Field(RESOURCES),
        "provides_backend": Field(Flag(), False),
        "provides_cli_commands": Field(Flag(), False),
        "provides_integrations": Field(Flag(), False),
        "provides_monitoring": Field(Flag(), False),
        "binary_dependencies": Field(ListOf(BINARY, key="name"), []),
        "system_requirements": Field(SYSTEM, {}),
        "configuration": Field(MapOf(KEY, SETTING, SETTINGS_LIMIT), {}),
        "operations": Field(ListOf(Choice(*OPERATIONS)), ABSENT),
        "options": Field(ListOf(Choice(*CONTAINER_OPTIONS)), []),
        "live": Field(ListOf(Choice(*CONTAINER_OPTIONS)), []),
        "oci": Field(Record({"runtime": Field(PROGRAM, ABSENT)}), {}),
        "commands": Field(MapOf(LABEL, COMMAND), {}),
        "filesystem": Field(Record({"read": Field(ListOf(LABEL, maximum=16), []), "write": Field(ListOf(LABEL, maximum=16), [])}), {}),
        "network": Field(ListOf(NETWORK, maximum=16, key="id"), []),
        "secrets": Field(ListOf(SECRET, maximum=16), []),
        "hooks": Field(ListOf(HOOK, maximum=32, key="event"), []),
    }
)
