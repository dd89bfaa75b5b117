# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The world that a simulator has where no other is given: three nodes, four storages, templates, an administrator's token."""

from __future__ import annotations

import typing as t

TOKEN_SECRET = "11111111-2222-3333-4444-555555555555"
TOKEN = f"root@pam!test={TOKEN_SECRET}"
PASSWORD = "simulated-password"
LOCAL = ["iso", "vztmpl", "backup", "snippets", "images", "rootdir", "import"]
_SIZES: dict[str, t.Any] = {"size": 1 << 20, "content": "vztmpl"}
NGINX: dict[str, t.Any] = {
    "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NGINX_VERSION=1.27.0"],
    "entrypoint": "/docker-entrypoint.sh nginx -g 'daemon off;'",
    "lxc": [["lxc.signal.halt", "SIGQUIT"]],
    "ostype": "debian",
}


def volumes(node: str) -> list[dict[str, t.Any]]:
    """The templates and images of one node."""
    return [
        {"volid": "local:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz", "format": "txz", "node": node, "traits": {"ostype": "alpine"}, **_SIZES},
        {
            "volid": "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
            "format": "tzst",
            "node": node,
            "traits": {"ostype": "debian", "systemd": 252},
            **_SIZES,
        },
        {
            "volid": "local:import/debian-12-genericcloud-amd64.qcow2",
            "content": "import",
            "format": "qcow2",
            "size": 1 << 28,
            "node": node,
            "traits": {"virtual": 2 << 30},
        },
        {"volid": "local:iso/debian-12.12.0-amd64-netinst.iso", "content": "iso", "format": "iso", "size": 1 << 29, "node": node},
        {"volid": "local:snippets/hook.sh", "content": "snippets", "format": "snippet", "size": 35, "node": node},
    ]


NODES = ("pve1", "pve2", "pve3")
DEFAULT: dict[str, t.Any] = {
    "nodes": [{"name": name, "ip": f"192.0.2.{number}", "cores": 8, "memory": (32 + number) << 30} for number, name in enumerate(NODES, 1)],
    "storages": [
        {"id": "local", "type": "dir", "content": LOCAL},
        {"id": "local-btrfs", "type": "btrfs", "content": ["images", "rootdir"], "path": "/mnt/btrfs"},
        {"id": "shared", "type": "rbd", "content": ["images", "rootdir"], "shared": True, "total": 1 << 42},
        {"id": "backups", "type": "dir", "content": ["backup"], "path": "/mnt/backups", "nodes": ["pve1", "pve2"]},
    ],
    "volumes": [one for name in NODES for one in volumes(name)],
    "users": [
        {"userid": "root@pam", "password": PASSWORD, "tokens": [{"tokenid": "test", "secret": TOKEN_SECRET, "privsep": False}]},
        {
            "userid": "operator@pve",
            "password": PASSWORD,
            "totp": "JBSWY3DPEHPK3PXP",
            "tokens": [{"tokenid": "narrow", "secret": TOKEN_SECRET, "privsep": True}],
        },
        {"userid": "auditor@pve", "password": PASSWORD, "tokens": [{"tokenid": "ro", "secret": TOKEN_SECRET, "privsep": False}]},
    ],
    "acl": [{"path": "/", "who": "operator@pve", "role": "PVEAdmin"}, {"path": "/", "who": "auditor@pve", "role": "PVEAuditor"}],
    "pools": ["ci"],
    "registry": {"docker.io/library/nginx:1.27": NGINX, "docker.io/library/alpine:3.22": {"env": ["PATH=/usr/bin:/bin"], "entrypoint": "/bin/sh"}},
    "urls": {"https://images.example/alpine.tar.xz": {"size": 1 << 20, "traits": {"ostype": "alpine"}, "digests": {"sha256": "ab" * 32}}},
    "aplinfo": [
        {"template": "alpine-3.21-default_20241217_amd64.tar.xz", "section": "system", "os": "alpine", "package": "alpine-3.21-default", "version": "20241217"}
    ],
}
