# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What values of a named format look like, and what is said of one that does not. A check raises ValueError."""

from __future__ import annotations

import ipaddress
import re
import typing as t

Check = t.Callable[[str], object]
CPUS = (
    "486 athlon Broadwell Broadwell-IBRS Broadwell-noTSX Cascadelake-Server Conroe core2duo coreduo EPYC EPYC-Genoa EPYC-Milan EPYC-Rome "
    "Haswell Haswell-noTSX host IvyBridge kvm32 kvm64 max Nehalem Opteron_G1 Opteron_G5 Penryn pentium pentium2 pentium3 phenom "
    "qemu32 qemu64 SandyBridge Skylake-Client Skylake-Server Westmere x86-64-v2 x86-64-v2-AES x86-64-v3 x86-64-v4"
).split()
ZONES = {"Europe", "America", "Asia", "Africa", "Australia", "Etc", "UTC", "Pacific", "Atlantic", "Indian", "Antarctica", "Arctic", "host"}


def by_pattern(pattern: str, message: str) -> Check:
    """A check that needs the whole value to be like this; ``{}`` in the message is the value."""
    expression = re.compile(pattern)

    def check(value: str) -> None:
        if not expression.fullmatch(value):
            raise ValueError(message.replace("{}", value))

    return check


_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?"
dns_name = by_pattern(rf"{_LABEL}(?:\.{_LABEL})*", "value does not look like a valid DNS name\n")


def address(kind: int = 0) -> Check:
    text = {0: "value does not look like a valid IP address\n", 4: "value does not look like a valid ipv4 address\n"}
    message = text.get(kind, "value does not look like a valid ipv6 address\n")

    def check(value: str) -> None:
        try:
            found = ipaddress.ip_address(value.partition("%")[0] if not kind else value)
        except ValueError:
            raise ValueError(message) from None
        if kind and found.version != kind:
            raise ValueError(message)

    return check


def network(kind: int, words: tuple[str, ...]) -> Check:
    def check(value: str) -> None:
        if value in words:
            return
        try:
            good = "/" in value and ipaddress.ip_interface(value).version == kind
        except ValueError:
            good = False
        if not good:
            raise ValueError(f"value does not look like a valid ipv{kind} network configuration\n")

    return check


def mac(value: str) -> None:
    if not re.fullmatch(r"[a-fA-F0-9]{2}(?::[a-fA-F0-9]{2}){5}", value) or int(value[1], 16) & 1:
        raise ValueError("value does not look like a valid unicast MAC address\n")


def mount_string(value: str) -> None:
    if re.search(r"(?:^|/)\.\.?(?:/|$)", value):
        raise ValueError(f"{value} contains illegal character sequences\n")


def volume_id(value: str) -> None:
    if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:.+", value):
        raise ValueError(f"unable to parse volume ID '{value}'\n")


def volume_or_path(value: str) -> None:
    if value not in ("none", "cdrom") and not value.startswith("/"):
        volume_id(value)


def startup(value: str) -> None:
    for part in value.split(","):
        if not re.fullmatch(r"(?:(?:order|up|down)=)?\d+", part.strip()):
            raise ValueError("unable to parse startup options\n")


def timezone(value: str) -> None:
    if value.partition("/")[0] not in ZONES:
        raise ValueError(f"invalid time zone '{value}'\n")


def urlencoded(value: str) -> None:
    if not re.fullmatch(r"[-%a-zA-Z0-9_.!~*'()]*", value):
        raise ValueError(f"invalid urlencoded string: {value}\n")


def content(value: str) -> None:
    if value not in ("images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"):
        raise ValueError(f"invalid content type '{value}'\n")


def boot_device(value: str) -> None:
    if not re.fullmatch(r"(?:ide[0-3]|scsi(?:[0-9]|[12]\d|30)|virtio(?:[0-9]|1[0-5])|sata[0-5]|net(?:[0-9]|[12]\d|3[01])|usb\d+|hostpci\d+)", value):
        raise ValueError(f"invalid boot device '{value}'\n")


def cpu(value: str) -> None:
    first, _comma, _rest = value.partition(",")
    name = first.removeprefix("cputype=")
    if name.startswith("custom-"):
        return
    if name not in CPUS:
        raise ValueError(f"Built-in cputype '{name}' is not defined (missing 'custom-' prefix?)\n")


def protocol(value: str) -> None:
    if value not in ("tcp", "udp", "icmp", "ipv6-icmp", "sctp", "gre", "esp", "ah", "igmp", "icmpv6") and not value.isdigit():
        raise ValueError(f"unknown protocol '{value}'\n")


def hotplug(value: str) -> None:
    if value not in ("0", "1"):
        for part in value.split(","):
            if part not in ("network", "disk", "usb", "cpu", "memory", "cloudinit"):
                raise ValueError(f"invalid hotplug feature '{part}'\n")


CHECKS: dict[str, Check] = {
    "pve-vmid": by_pattern(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID\n"),
    "dns-name": dns_name,
    "pve-node": by_pattern(_LABEL, "value does not look like a valid node name\n"),
    "pve-tag": by_pattern(r"(?i:[a-z0-9_][a-z0-9_\-+.]*)", "invalid characters in tag\n"),
    "pve-configid": by_pattern(r"(?i:[a-z][a-z0-9_-]+)", "invalid configuration ID '{}'\n"),
    "pve-storage-id": by_pattern(r"(?i:[a-z][a-z0-9\-_.]*[a-z0-9])", "storage ID '{}' contains illegal characters\n"),
    "pve-poolid": by_pattern(r"(?i:[a-z0-9][a-z0-9.\-_]*(?:/[a-z0-9][a-z0-9.\-_]*){0,2})", "value '{}' does not look like a valid pool name\n"),
    "pve-userid": by_pattern(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid user name\n"),
    "lxc-ip-with-ll-iface": address(),
    "address": lambda value: dns_name(value) if re.search("[g-z]", value) else address()(value),
    "ipv4": address(4),
    "ipv6": address(6),
    "pve-ipv4-config": network(4, ("dhcp", "manual")),
    "pve-ipv6-config": network(6, ("dhcp", "manual", "auto")),
    "mac-addr": mac,
    "pve-lxc-mp-string": mount_string,
    "pve-lxc-dev-string": by_pattern(r"/dev/.*", "{} must start with /dev/\n"),
    "pve-volume-id": volume_id,
    "pve-volume-id-or-qm-path": volume_or_path,
    "pve-volume-id-or-absolute-path": volume_or_path,
    "disk-size": by_pattern(r"\d+(?:\.\d+)?[KMGT]?", "value does not look like a valid disk size: {}\n"),
    "pve-startup-order": startup,
    "pve-ct-timezone": timezone,
    "urlencoded": urlencoded,
    "pve-storage-content": content,
    "boot-device": boot_device,
    "pve-vm-cpu-conf": cpu,
    "pve-fw-protocol-spec": protocol,
    "pve-hotplug-features": hotplug,
    "pve-bridge-id": by_pattern(r"[-_.\w]+", "invalid bridge name '{}'\n"),
}
# Property strings that the schema knows by name only.
NAMED_PROPS = {
    "pve-qm-boot": "boot",
    "pve-qm-ipconfig": "ipconfig",
    "pve-qm-smbios1": "smbios1",
    "pve-qm-rng": "rng",
    "pve-qm-watchdog": "watchdog",
    "pve-qm-cicustom": "cicustom",
    "pve-qm-ide": "qemu-ide",
}


def split_list(value: str) -> list[str]:
    """The elements of a list value: by comma, semicolon, NUL or white space."""
    return [part for part in re.split(r"[,;\0\s]+", value) if part]


def check(form: str, value: str) -> None:
    """Holds a value against a format.

    Raises:
        ValueError: What Proxmox VE says of it.
    """
    if form in CHECKS:
        CHECKS[form](value)
        return
    if form.endswith("-list"):
        element = form.removesuffix("-list")
        elements = split_list(value) if form != "boot-device-list" else value.split(";")
        for part in elements:
            check(element, part)
