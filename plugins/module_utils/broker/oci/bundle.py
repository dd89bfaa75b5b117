# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runtime's ``config.json``: from the container spec, the image's config and safe defaults.

Field names: the OCI runtime specification 1.0 (config.md, config-linux.md) and image specification 1.0 (config.md).
"""

from __future__ import annotations

import json
import os
import re
import stat
import typing as t

from ...model.container import SCHEMA_VERSION, ContainerSpec
from ...model.errors import NexcageError
from .. import store
from . import accounts, mounts, privileges, resources, seccomp_profile

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# podman's lists (containers/common, pkg/config and pkg/specgen defaults)
MASKED = (
    "/proc/acpi /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug /proc/scsi /proc/timer_list /proc/timer_stats "
    "/sys/dev/block /sys/devices/virtual/powercap /sys/firmware /sys/fs/selinux"
).split()
READ_ONLY = "/proc/asound /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()
# Annotations that make a runtime do more than note them
RESERVED = ("run.oci.", "org.nexcage.", "org.systemd.property.", "org.criu.", "module.wasm.")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")


class Source(t.NamedTuple):
    """What a container is made from: the unpacked files, the image's config, or a bundle's own ``config.json``."""

    lower: str
    image: t.Mapping[str, t.Any]
    template: dict[str, t.Any] | None
    digest: str | None


def source(spec: ContainerSpec, image: t.Mapping[str, t.Any] | None) -> Source:
    """Where the files and the defaults come from.

    Args:
        spec: Names a ``bundle``, or an ``image`` that has been unpacked.
        image: ``digest``, ``path`` and ``config`` of the unpacked image.

    Raises:
        NexcageError: ``E_INVALID`` for a bundle that is none or that others could have changed.
    """
    path = spec.get("bundle")
    if path is None:
        if image is None:
            raise NexcageError("E_INVALID", "neither image nor bundle is given", option="image", remedy="give one of them")
        config = image.get("config") or {}
        inner: dict[str, t.Any] = config["config"] if isinstance(config.get("config"), dict) else config
        return Source(str(image["path"]), inner, None, image.get("digest"))
    _trusted(path)
    template = _bundle_config(path)
    root = (template.get("root") or {}).get("path") or "rootfs"
    lower = os.path.realpath(os.path.join(path, root))
    if not os.path.isdir(lower):
        raise NexcageError("E_INVALID", f"the bundle's root file system {lower} is missing", option="bundle", value=path)
    return Source(lower, {}, template, None)


def _trusted(path: str) -> None:
    """A bundle may name any host path, so only the caller itself may have written it, or can put another one there."""
    try:
        store.refuse_others(os.path.dirname(path))
    except NexcageError as error:
        raise NexcageError("E_INVALID", error.message, option="bundle", value=path, remedy=error.remedy) from None
    for name in (path, path + "/config.json"):
        try:
            facts = os.lstat(name)
        except OSError as error:
            raise NexcageError("E_INVALID", f"{name}: {error.strerror}", option="bundle", value=path) from error
        if stat.S_ISLNK(facts.st_mode):
            remedy = "name the folder itself, with the file itself in it; neither may be a link"
            raise NexcageError("E_INVALID", f"{name} is a link", option="bundle", value=path, remedy=remedy)
        if facts.st_uid not in (0, os.geteuid()) or facts.st_mode & 0o022:
            remedy = f"chown root {name}; chmod go-w {name}"
            raise NexcageError("E_INVALID", f"{name} can be changed by others", option="bundle", value=path, remedy=remedy)


def _bundle_config(path: str) -> dict[str, t.Any]:
    try:
        config = store.read_json(path + "/config.json")
    except NexcageError as error:
        raise NexcageError("E_INVALID", error.message, option="bundle", value=path) from error
    if not isinstance(config, dict) or not isinstance(config.get("process"), dict):
        raise NexcageError("E_INVALID", "the bundle's config.json has no process", option="bundle", value=path)
    for entry in config.get("mounts") or []:  # what is relative is so to the bundle, not to the generation
        if "bind" in (entry.get("type"), *(entry.get("options") or [])) or "rbind" in (entry.get("options") or []):
            entry["source"] = os.path.join(path, entry.get("source") or "")
    return config


class Plan(t.NamedTuple):
    """The generation that a config is rendered for."""

    name: str
    id: str
    folder: str
    cgroup: str
    seal: str


def render(plan: Plan, spec: ContainerSpec, secrets: t.Mapping[str, str], origin: Source) -> dict[str, t.Any]:
    """The whole ``config.json``; touches nothing.

    Args:
        plan: Names and places.
        spec: Canonical values; what is unmanaged comes from the image, then from the safe defaults.
        secrets: Clear values of ``secret_env``.
        origin: From :func:`source`.

    Raises:
        NexcageError: Naming the option that cannot be.
    """
    resources.check(spec.values)
    privileged = bool(spec.get("privileged"))
    template = origin.template
    config: dict[str, t.Any] = _fresh(plan, privileged) if template is None else json.loads(json.dumps(template))
    config.setdefault("ociVersion", "1.0.2")
    config["root"] = {"path": plan.folder + "/rootfs", "readonly": _choose(spec, "read_only", (template or {}).get("root", {}).get("readonly", False))}
    if template is None or spec.get("hostname") is not None:
        config["hostname"] = hostname(spec, plan)
    config["annotations"] = _annotations(spec, plan, config.get("annotations") or {})
    config["mounts"] = merged = mounts.merge(config.get("mounts") or [], spec.get("mounts") or [])
    config["process"] = process = _process(spec, secrets, origin, config.get("process") or {})
    if spec.get("init"):
        merged.append({"destination": mounts.INIT_TARGET, "type": "bind", "source": mounts.init_program(), "options": ["bind", "ro", "rprivate"]})
        process["args"] = [mounts.INIT_TARGET, "--", *process["args"]]
    _linux(config, plan, spec, template is None)
    return config


def _choose(spec: ContainerSpec, option: str, otherwise: t.Any) -> t.Any:
    value = spec.get(option)
    return otherwise if value is None else value


def hostname(spec: ContainerSpec, plan: Plan) -> str:
    """The option's value; else the host's with ``network_mode: host``, the name where it can be one, or the id."""
    chosen = spec.get("hostname")
    if chosen:
        return str(chosen)
    if spec.get("network_mode") == "host":
        return os.uname().nodename
    return plan.name if _HOSTNAME.fullmatch(plan.name) else plan.id


def _fresh(plan: Plan, privileged: bool) -> dict[str, t.Any]:
    linux: dict[str, t.Any] = {
        "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup", "network")],
        "resources": {"devices": [{"allow": privileged, "access": "rwm"}]},
    }
    if privileged:
        linux["devices"] = mounts.host_devices()
    else:
        linux["maskedPaths"] = list(MASKED)
        linux["readonlyPaths"] = list(READ_ONLY)
    return {"mounts": mounts.defaults(plan.folder, privileged), "linux": linux}


def _annotations(spec: ContainerSpec, plan: Plan, inherited: t.Mapping[str, str]) -> dict[str, str]:
    asked = spec.get("annotations") or {}
    for name in asked:
        if name.startswith(RESERVED):
            raise NexcageError(
                "E_INVALID",
                "this annotation would steer the runtime or nexcage itself",
                option="annotations",
                value=name,
                remedy="leave it out; names that begin with " + ", ".join(RESERVED) + " are reserved",
            )
    ours = {"org.nexcage.owner": plan.name, "org.nexcage.schema": str(SCHEMA_VERSION), "org.nexcage.spec": plan.seal}
    kept = {name: value for name, value in inherited.items() if not name.startswith("org.nexcage.")}
    return {**kept, **asked, **ours}


def _process(spec: ContainerSpec, secrets: t.Mapping[str, str], origin: Source, base: dict[str, t.Any]) -> dict[str, t.Any]:
    image = origin.image
    process = dict(base)
    process["terminal"] = False
    process["args"] = arguments(spec, image, base.get("args") or [])
    process["cwd"] = accounts.working_folder(spec.get("working_dir") or image.get("WorkingDir") or base.get("cwd") or "/")
    user = spec.get("user") if spec.get("user") is not None else image.get("User")
    home = None
    if origin.template is None or user is not None or spec.get("groups") is not None:
        who = accounts.resolve(origin.lower, str(user or ""), spec.get("groups") or [])
        process["user"] = {"uid": who.uid, "gid": who.gid, "additionalGids": who.groups, "umask": 0o022}
        home = who.home or "/"
    process["env"] = environment(spec, secrets, image, base.get("env") or [], home)
    process["noNewPrivileges"] = bool(_choose(spec, "no_new_privileges", base.get("noNewPrivileges", False)))
    _privileges(process, spec, origin.template is None)
    return process


def _privileges(process: dict[str, t.Any], spec: ContainerSpec, fresh: bool) -> None:
    add, drop = spec.get("cap_add") or [], spec.get("cap_drop") or []
    if fresh or add or drop or spec.get("privileged"):
        granted = privileges.capabilities(add, drop, bool(spec.get("privileged")))
        root = process.get("user", {}).get("uid", 0) == 0
        process["capabilities"] = privileges.process_sets(granted, granted if "ALL" in add else add, root)
    else:
        held = privileges.bounding()
        for names in (process.get("capabilities") or {}).values():
            for name in names or []:
                if name.replace("CAP_", "", 1) not in held:
                    privileges.lacking(name.replace("CAP_", "", 1), "bundle")
    process["rlimits"] = privileges.rlimits(spec.get("ulimits") or {}, process.get("rlimits") or ())


def arguments(spec: ContainerSpec, image: t.Mapping[str, t.Any], otherwise: t.Sequence[str]) -> list[str]:
    """Entry point and command, by the rule of podman and docker: a new entry point drops the image's command.

    Raises:
        NexcageError: ``E_INVALID`` where nothing is left to run.
    """
    entrypoint, command = spec.get("entrypoint"), spec.get("command")
    if entrypoint is None and command is None and otherwise:
        return list(otherwise)
    if command is None:
        command = (image.get("Cmd") or []) if entrypoint is None else []
    if entrypoint is None:
        entrypoint = image.get("Entrypoint") or []
    line = [*entrypoint, *command]
    if not line or not line[0]:
        raise NexcageError("E_INVALID", "the image names no command and the task gives none", option="command", remedy="give a command")
    return line


def environment(spec: ContainerSpec, secrets: t.Mapping[str, str], image: t.Mapping[str, t.Any], base: t.Sequence[str], home: str | None) -> list[str]:
    """``NAME=value`` lines: defaults, then the image's, then the task's, then the secrets."""
    lines = [PATH, "container=oci", *base, *(image.get("Env") or [])]
    merged = {name: value for name, _equals, value in (line.partition("=") for line in lines) if name}
    if home is not None:  # a runtime would look for a missing one itself, in a file that the container may have made a pipe of
        merged.setdefault("HOME", home)
    merged.update(spec.get("env") or {})
    merged.update(secrets)
    for name, value in merged.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise NexcageError("E_INVALID", "not the name of an environment variable", option="env", value=name)
    return [f"{name}={value}" for name, value in merged.items()]


def _linux(config: dict[str, t.Any], plan: Plan, spec: ContainerSpec, fresh: bool) -> None:
    linux = config.setdefault("linux", {})
    linux["cgroupsPath"] = plan.cgroup
    limits = dict(spec.values)
    if fresh:
        limits.setdefault("pids_limit", resources.DEFAULT_PIDS)
    linux["resources"] = {**(linux.get("resources") or {}), **resources.render(limits)}
    if fresh or spec.get("network_mode") is not None:
        others = [entry for entry in linux.get("namespaces") or [] if entry["type"] != "network"]
        linux["namespaces"] = others if spec.get("network_mode") == "host" else [*others, {"type": "network"}]
    if not fresh and spec.get("seccomp_profile") is None:
        return
    choice = spec.get("seccomp_profile") or ("unconfined" if spec.get("privileged") else "default")
    bounding = config["process"].get("capabilities", {}).get("bounding") or []
    profile = seccomp_profile.load(choice, sorted(name.replace("CAP_", "", 1) for name in bounding))
    linux.pop("seccomp", None)
    if profile is not None:
        linux["seccomp"] = profile


def own_files(spec: ContainerSpec, plan: Plan) -> dict[str, str]:
    """The container's own ``hosts``, ``hostname`` and ``resolv.conf``; with the host's network, the host's."""
    name = hostname(spec, plan)
    if spec.get("network_mode") == "host":
        texts = {file: (store.read_bytes("/etc/" + file) or b"").decode("utf-8", "replace") for file in ("hosts", "resolv.conf")}
    else:
        texts = {"hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n", "resolv.conf": ""}
    texts["hosts"] = texts["hosts"].rstrip("\n") + f"\n127.0.1.1\t{name}\n"
    return {**texts, "hostname": name + "\n"}
