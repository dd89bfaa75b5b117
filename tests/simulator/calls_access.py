# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls below /access, /version, and the lists of what lies below a path."""

from __future__ import annotations

import typing as t

from .access import Grant, Token, User
from .errors import bad, failed, refused
from .formats import split_list
from .service import Call, answers

INDEXES = {
    "/": "version cluster nodes storage access pools",
    "/access": "users groups roles acl domains openid tfa ticket password",
    "/cluster": "replication metrics config firewall backup ha acme log resources tasks options status nextid sdn",
    "/nodes/{node}": "qemu lxc status tasks storage network aplinfo version vzdump",
    "/nodes/{node}/lxc/{vmid}": "config pending status vncproxy termproxy vncwebsocket spiceproxy migrate clone rrd rrddata firewall snapshot resize",
    "/nodes/{node}/lxc/{vmid}/status": "current start stop shutdown reboot migrate",
    "/nodes/{node}/qemu/{vmid}": "config pending status unlink vncproxy termproxy migrate clone rrd rrddata monitor agent snapshot spiceproxy feature firewall",
    "/nodes/{node}/qemu/{vmid}/status": "current start stop reset shutdown suspend reboot",
}


@answers(*(f"GET {path}" for path in INDEXES))
def index(call: Call) -> t.Any:
    if "vmid" in call.params:
        call.guest()
    return [{"subdir": name} for name in INDEXES[call.endpoint.path].split()]


@answers("GET /version", "GET /nodes/{node}/version")
def version(call: Call) -> t.Any:
    return call.cluster.version_info()


@answers("GET /access/ticket")
def ticket_form(_call: Call) -> t.Any:
    return None


@answers("POST /access/ticket")
def ticket(call: Call) -> t.Any:
    return call.cluster.access.login(call.params)


@answers("GET /access/permissions")
def permissions(call: Call) -> t.Any:
    access = call.cluster.access
    if "path" in call.params:
        return {call["path"]: dict.fromkeys(access.privileges(call.who, call["path"]), 1)}
    return access.paths(call.who)


@answers("GET /access/domains")
def domains(_call: Call) -> t.Any:
    return [
        {"realm": "pam", "type": "pam", "comment": "Linux PAM standard authentication"},
        {"realm": "pve", "type": "pve", "comment": "Proxmox VE authentication server"},
    ]


@answers("GET /access/roles")
def all_roles(call: Call) -> t.Any:
    access = call.cluster.access
    return [{"roleid": name, "privs": ",".join(sorted(held)), "special": int(name in access.special)} for name, held in access.roles.items()]


@answers("GET /access/acl")
def acl(call: Call) -> t.Any:
    access = call.cluster.access
    if not access.may(call.who, "/access", "Sys.Audit", "Permissions.Modify", any_of=True):
        return []
    return [
        {"path": one.path, "ugid": one.who, "roleid": one.role, "propagate": int(one.propagate), "type": "token" if "!" in one.who else "user"}
        for one in access.grants
    ]


@answers("PUT /access/acl")
def set_acl(call: Call) -> t.Any:
    access = call.cluster.access
    whom = [one for name in ("users", "tokens", "groups") for one in split_list(call.get(name, ""))]
    for who in whom:
        for role in split_list(call["roles"]):
            if role not in access.roles:
                raise bad(roles=f"role '{role}' does not exist")
            access.grants[:] = [one for one in access.grants if (one.path, one.who, one.role) != (call["path"], who, role)]
            if not call.flag("delete"):
                access.grants.append(Grant(call["path"], who, role, call.get("propagate", "1") == "1"))


@answers("GET /access/users")
def users(call: Call) -> t.Any:
    access = call.cluster.access
    everyone = access.may(call.who, "/access/groups", "User.Modify", "Sys.Audit", any_of=True)
    return [
        {"userid": one.userid, "enable": int(one.enable), "expire": one.expire, "realm-type": one.userid.partition("@")[2]}
        for one in access.users.values()
        if everyone or (one.userid == call.who.user and not call.who.token)
    ]


@answers("POST /access/users")
def create_user(call: Call) -> t.Any:
    access, userid = call.cluster.access, call["userid"]
    if userid in access.users:
        raise failed(f"create user failed: user '{userid}' already exists")
    access.users[userid] = User(userid, call.get("password", ""), enable=call.get("enable") != "0", comment=call.get("comment", ""))


@answers("DELETE /access/users/{userid}")
def delete_user(call: Call) -> t.Any:
    if call.cluster.access.users.pop(call["userid"], None) is None:
        raise failed(f"delete user failed: user '{call['userid']}' does not exist")


def _user(call: Call) -> User:
    found = call.cluster.access.users.get(call["userid"])
    if found is None:
        raise failed(f"no such user ('{call['userid']}')")
    return found


@answers("GET /access/users/{userid}/token")
def tokens(call: Call) -> t.Any:
    return [{"tokenid": name, **one.shown()} for name, one in _user(call).tokens.items()]


@answers("GET /access/users/{userid}/token/{tokenid}")
def token(call: Call) -> t.Any:
    found = _user(call).tokens.get(call["tokenid"])
    if found is None:
        raise failed(f"no such token '{call['tokenid']}' for user '{call['userid']}'")
    return found.shown()


@answers("POST /access/users/{userid}/token/{tokenid}")
def create_token(call: Call) -> t.Any:
    found, name = _user(call), call["tokenid"]
    if name in found.tokens:
        raise bad(tokenid="Token already exists.")
    if call.who.token and call.who.user != call["userid"] and not call.cluster.access.may(call.who, "/access/groups", "User.Modify"):
        raise refused()
    made = Token(name, call.cluster.uuid(), call.get("privsep", "1") == "1", int(call.get("expire", 0)), call.get("comment", ""))
    found.tokens[name] = made
    return {"full-tokenid": f"{call['userid']}!{name}", "info": {"privsep": int(made.privsep)}, "value": made.secret}


@answers("PUT /access/users/{userid}/token/{tokenid}")
def change_token(call: Call) -> t.Any:
    token(call)
    found = _user(call).tokens[call["tokenid"]]
    found.privsep = call.get("privsep", str(int(found.privsep))) == "1"
    found.expire, found.comment = int(call.get("expire", found.expire)), call.get("comment", found.comment)
    if call.flag("regenerate"):
        found.secret = call.cluster.uuid()
        return {**found.shown(), "value": found.secret}
    return found.shown()


@answers("DELETE /access/users/{userid}/token/{tokenid}")
def delete_token(call: Call) -> t.Any:
    if _user(call).tokens.pop(call["tokenid"], None) is None:
        raise failed(f"no such token '{call['tokenid']}' for user '{call['userid']}'")
