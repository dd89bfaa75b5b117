# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The world that the recordings were made in, and who the labels of their requests stand for."""

from __future__ import annotations

import typing as t

SECRETS = {
    "root@pam!full": "aaaaaaaa-0000-4000-8000-000000000001",
    "root@pam!sep": "aaaaaaaa-0000-4000-8000-000000000002",
    "prov@pve!ci": "aaaaaaaa-0000-4000-8000-000000000003",
    "limited@pve!none": "aaaaaaaa-0000-4000-8000-000000000004",
    "audit@pve!ro": "aaaaaaaa-0000-4000-8000-000000000005",
    "admin@pve!full": "aaaaaaaa-0000-4000-8000-000000000006",
    "off@pve!tk": "aaaaaaaa-0000-4000-8000-000000000007",
    "one@pve!tk": "aaaaaaaa-0000-4000-8000-000000000008",
}
PASSWORD = "recorded-password"
GOOD = SECRETS["root@pam!full"]
TOKENS = {
    "wrong-secret": "root@pam!full=bbbbbbbb-0000-4000-8000-000000000001",
    "unknown-id": f"root@pam!nosuch={GOOD}",
    "unknown-user": f"ghost@pve!full={GOOD}",
    "no-id": f"root@pam={GOOD}",
    "malformed": "foo",
    "colon": f"root@pam!full:{GOOD}",
    "pct": f"root%40pam%21full={GOOD}",
}
_MACHINES = "VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory"
PROVISIONER = f"""{_MACHINES} VM.Config.Network VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback
    Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit Pool.Allocate Pool.Audit SDN.Use Sys.Audit""".split()
VERSIONED = {"8.4": ["VM.Monitor"], "9.2": ["VM.GuestAgent.Audit", "VM.GuestAgent.Unrestricted"]}
ALPINE = "local:vztmpl/alpine-3.19-bb_3.19.1_amd64.tar.gz"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = [["lxc.init.uid", "1000"], ["lxc.init.gid", "1000"], ["lxc.init.groups", "1000"], ["lxc.init.cwd", "/tmp"], ["lxc.signal.halt", "SIGQUIT"]]
APP = {"env": [PATH, "GREETING=from image", "EMPTY="], "entrypoint": "/bin/sh -c 'echo \"hello $GREETING\"; exec sleep 100000'", "lxc": USER}
OCI: dict[str, dict[str, t.Any]] = {
    "app_1.0": APP,
    "init_1.0": {"env": ["PATH=/bin"], "lxc": [["lxc.signal.halt", "SIGTERM"]]},
    "nouser_1.0": {
        "env": [PATH, "GREETING=from image"],
        "entrypoint": "/bin/sh -c 'echo \"hello $GREETING\" > /tmp/out; exec sleep 100000'",
        "lxc": [["lxc.init.cwd", "/tmp"], ["lxc.signal.halt", "SIGTERM"]],
    },
    "bare_1.0": {"lxc": [["lxc.signal.halt", "SIGTERM"]]},
}
SUMS = {"sha256": "4422a8af1c35ac0b3f543b24fc88da9a8a19fe25f8c544b6d2e9e65a70e59a29"}
ORIGIN = "http://127.0.0.1:8099/alpine-3.19-bb_3.19.1_amd64.tar.gz"


def _user(userid: str, *tokenids: str, separate: bool = True) -> dict[str, t.Any]:
    tokens = [{"tokenid": one, "secret": SECRETS[f"{userid}!{one}"], "privsep": separate if one != "sep" else True} for one in tokenids]
    return {"userid": userid, "password": PASSWORD, "tokens": tokens}


def world(version: str) -> dict[str, t.Any]:
    """What there was when a recording began."""
    vztmpl = {"content": "vztmpl", "size": 1037201}
    return {
        "nodes": [{"name": "pve1"}],
        "storages": [
            {"id": "local", "type": "dir", "content": ["iso", "vztmpl", "backup", "snippets", "images", "rootdir", "import"], "total": 1 << 60},
            {"id": "nocontent", "type": "dir", "content": ["backup"], "path": "/var/lib/vz2"},
            {"id": "local-btrfs", "type": "btrfs", "content": ["images", "rootdir"], "path": "/mnt/btrfs"},
        ],
        "volumes": [
            {"volid": ALPINE, "format": "tgz", "traits": {"ostype": "alpine"}, **vztmpl},
            {"volid": "local:vztmpl/debian-12-standard_12.11-1_amd64.tar.zst", "format": "tzst", "traits": {"ostype": "debian", "systemd": 252}, **vztmpl},
            {"volid": "local:vztmpl/broken-1_amd64.tar.gz", "format": "tgz", "traits": {"broken": True}, **vztmpl},
            {"volid": "local:vztmpl/noos-1_amd64.tar.gz", "format": "tgz", "traits": {"ostype": "unmanaged", "init": "none"}, **vztmpl},
            *({"volid": f"local:vztmpl/{name}.tar", "format": "tar", "traits": {"ostype": "alpine", "oci": image}, **vztmpl} for name, image in OCI.items()),
            {"volid": "local:iso/tiny.iso", "content": "iso", "format": "iso", "size": 1 << 20},
            {"volid": "local:snippets/hook.sh", "content": "snippets", "format": "snippet", "size": 35},
            {"volid": "local:snippets/bad.sh", "content": "snippets", "format": "snippet", "size": 43, "traits": {"exit": 3}},
        ],
        "roles": {"Provisioner": [*PROVISIONER, *VERSIONED[version]]},
        "users": [
            {**_user("root@pam", "full", "sep", separate=False)},
            _user("prov@pve", "ci"),
            _user("limited@pve", "none", separate=False),
            _user("audit@pve", "ro", separate=False),
            _user("admin@pve", "full", separate=False),
            {**_user("off@pve", "tk", separate=False), "enable": False},
            _user("one@pve", "tk", separate=False),
        ],
        "acl": [
            {"path": "/", "who": "prov@pve", "role": "Provisioner"},
            {"path": "/", "who": "admin@pve", "role": "Administrator"},
            {"path": "/", "who": "audit@pve", "role": "PVEAuditor"},
            {"path": "/", "who": "prov@pve!ci", "role": "Provisioner"},
            {"path": "/", "who": "one@pve", "role": "One"},
        ],
        "urls": {
            ORIGIN: {"size": 1037201, "digests": SUMS, "traits": {"ostype": "alpine"}},
            "http://127.0.0.1:9/x.tar.gz": {"error": "Connecting to 127.0.0.1:9... failed: Connection refused."},
        },
    }


class Identities:
    """Turns the label of a request into its headers."""

    def __init__(self, login: t.Callable[[str], dict[str, str]]) -> None:
        self._login = login
        self._tickets: dict[str, dict[str, str]] = {}

    def ticket(self, user: str) -> dict[str, str]:
        if user not in self._tickets:
            self._tickets[user] = self._login(user)
        return self._tickets[user]

    def _cookie(self, user: str, csrf_of: str = "") -> dict[str, str]:
        import urllib.parse

        found = self.ticket(user)
        csrf = self.ticket(csrf_of)["CSRFPreventionToken"] if csrf_of else found["CSRFPreventionToken"]
        return {"Cookie": "PVEAuthCookie=" + urllib.parse.quote(found["ticket"], safe=""), "CSRFPreventionToken": csrf}

    def headers(self, label: str | None) -> dict[str, str]:
        """The headers of a request with this label; requests without one are of ``one@pve!tk``."""
        label = label or "token:one@pve!tk"
        root = {"Authorization": f"PVEAPIToken=root@pam!full={GOOD}"}
        bad = "PVE:root@pam:65000000::bm90IGEgc2lnbmF0dXJl"
        special: dict[str, t.Callable[[], dict[str, str]]] = {
            "none": dict,
            "bearer": lambda: {"Authorization": f"Bearer {GOOD}"},
            "token:space": lambda: {"Authorization": f"PVEAPIToken root@pam!full={GOOD}"},
            "token:lower": lambda: {"Authorization": f"pveapitoken=root@pam!full={GOOD}"},
            "ticket:garbage": lambda: {"Cookie": "PVEAuthCookie=" + bad},
            "ticket:nonsense": lambda: {"Cookie": "PVEAuthCookie=nonsense"},
            "ticket:old": lambda: {"Cookie": "PVEAuthCookie=PVE:root@pam:5F000000::bm90IGEgc2lnbmF0dXJl"},
            "ticket:raw-cookie": lambda: {"Cookie": "PVEAuthCookie=" + self.ticket("root@pam")["ticket"]},
            "ticket:in-header": lambda: {"Authorization": "PVEAuthCookie=" + self.ticket("root@pam")["ticket"]},
            "ticket:bad-csrf": lambda: {**self._cookie("root@pam"), "CSRFPreventionToken": "65000000:bad"},
            "ticket:other-csrf": lambda: self._cookie("root@pam", "prov@pve"),
            "token:valid + ticket:garbage": lambda: {**root, "Cookie": "PVEAuthCookie=" + bad},
            "token:limited + ticket:root": lambda: {"Authorization": "PVEAPIToken=limited@pve!none=" + SECRETS["limited@pve!none"], **self._cookie("root@pam")},
            "both in wrong order: foreign cookie + token": lambda: {**root, "Cookie": "other=1"},
        }
        if label in special:
            return special[label]()
        kind, _colon, name = label.partition(":")
        if kind == "ticket":
            return self._cookie(name)
        return {"Authorization": "PVEAPIToken=" + TOKENS.get(name, f"{name}={SECRETS.get(name, '')}")}
