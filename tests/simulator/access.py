# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, tokens, tickets, and who may what."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import re
import struct
import time
import typing as t
import urllib.parse
import uuid

from . import roles
from .clock import Clock
from .errors import ApiError, refused

TICKET_LIFE = 7200.0  # seconds
PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


@dataclasses.dataclass
class Token:
    """An API token of a user; ``expire`` in seconds since 1970, 0 for never."""

    tokenid: str
    secret: str
    privsep: bool = True
    expire: int = 0
    comment: str = ""

    def shown(self) -> dict[str, t.Any]:
        return {"expire": self.expire, "privsep": int(self.privsep), **({"comment": self.comment} if self.comment else {})}


@dataclasses.dataclass
class User:
    """A user of some realm; ``totp`` is a secret in base 32."""

    userid: str
    password: str = ""
    enable: bool = True
    expire: int = 0
    totp: str = ""
    comment: str = ""
    tokens: dict[str, Token] = dataclasses.field(default_factory=dict)
    used_codes: set[int] = dataclasses.field(default_factory=set)


class Who(t.NamedTuple):
    """Who asks."""

    user: str
    token: str = ""

    @property
    def name(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def is_root(self) -> bool:
        """Whether this is root@pam itself; a token of it is not."""
        return self.name == "root@pam"


class Grant(t.NamedTuple):
    """An entry of the access control list."""

    path: str
    who: str
    role: str
    propagate: bool = True


def totp(secret: str, moment: float) -> str:
    """The six digits of this half minute."""
    key = base64.b32decode(secret.upper() + "=" * (-len(secret) % 8))
    digest = hmac.new(key, struct.pack(">Q", int(moment) // 30), hashlib.sha1).digest()
    start = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[start : start + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"


class Access:
    """The access control of one cluster."""

    def __init__(self, version: str, clock: Clock) -> None:
        self.clock = clock
        self.roles = roles.built_in(version)
        self.special = set(self.roles)
        self.users: dict[str, User] = {"root@pam": User("root@pam", "root-password")}
        self.grants: list[Grant] = []
        self.pool_of: t.Callable[[str], str | None] = lambda _vmid: None
        self._key = uuid.uuid4().bytes

    # ---- tickets

    def _sign(self, text: str) -> str:
        return base64.b64encode(hmac.new(self._key, text.encode(), hashlib.sha256).digest()).decode()

    def ticket(self, user: str, kind: str = "PVE") -> str:
        plain = f"{kind}:{user}:{int(self.clock.now()):08X}"
        return f"{plain}::{self._sign(plain)}"

    def csrf(self, user: str) -> str:
        stamp = f"{int(self.clock.now()):08X}"
        return f"{stamp}:{self._sign('csrf' + stamp + user)}"

    def user_of(self, ticket: str, kind: str = "PVE") -> str | None:
        """Whose ticket this is, if it is ours and young enough."""
        plain, _mark, signature = ticket.partition("::")
        if not plain.startswith(kind + ":") or not hmac.compare_digest(signature.encode(), self._sign(plain).encode()):
            return None
        user, _colon, stamp = plain.removeprefix(kind + ":").rpartition(":")
        if self.clock.now() - int(stamp, 16) > TICKET_LIFE:
            return None
        return user if self.active(user) else None

    def csrf_fits(self, text: str, user: str) -> bool:
        stamp, _colon, signature = text.partition(":")
        return hmac.compare_digest(signature.encode(), self._sign("csrf" + stamp + user).encode())

    # ---- who it is

    def active(self, userid: str) -> bool:
        user = self.users.get(userid)
        return user is not None and user.enable and not (user.expire and user.expire < self.clock.now())

    def by_token(self, text: str) -> Who | None:
        """Whom ``user@realm!id=secret`` names."""
        match = re.fullmatch(r"([^\s:/!]+@[A-Za-z][\w.\-]+)!([A-Za-z][\w.\-]+)[= ](.+)", urllib.parse.unquote(text))
        if not match or not self.active(match[1]):
            return None
        token = self.users[match[1]].tokens.get(match[2])
        if token is None or not hmac.compare_digest(token.secret.encode(), match[3].encode()) or (token.expire and token.expire < self.clock.now()):
            return None
        return Who(match[1], match[2])

    def authenticate(self, method: str, headers: t.Mapping[str, str]) -> Who:
        """Who a request is from.

        Raises:
            ApiError: 401, with no body.
        """
        authorization = headers.get("Authorization") or ""
        ticket = _cookie(headers.get("Cookie") or "")
        if authorization.startswith("PVEAuthCookie="):
            ticket = urllib.parse.unquote(authorization.removeprefix("PVEAuthCookie="))
        if ticket is not None:
            user = self.user_of(ticket)
            if user is None:
                raise ApiError(401, "Authentication failed!", plain=None)
            if method != "GET" and not self.csrf_fits(headers.get("CSRFPreventionToken") or "", user):
                raise ApiError(401, "Permission denied - invalid csrf token", plain=None)
            return Who(user)
        if not authorization.startswith(("PVEAPIToken=", "PVEAPIToken ")):
            raise ApiError(401, "No ticket", plain=None)
        who = self.by_token(authorization[len("PVEAPIToken=") :])
        if who is None:
            raise ApiError(401, "Authentication failed!", plain=None)
        return who

    def login(self, params: dict[str, t.Any]) -> dict[str, t.Any]:
        """What POST /access/ticket answers."""
        name, password = params["username"], params["password"]
        if "realm" in params:
            name = f"{name}@{params['realm']}"
        user = self.users.get(name)
        challenge = params.get("tfa-challenge")
        if user is None or not self.active(name):
            raise ApiError(401, "authentication failure")
        if challenge is not None:
            self._second_factor(user, challenge, password)
        elif self.user_of(password) != name:
            if not user.password or not hmac.compare_digest(password.encode(), user.password.encode()):
                raise ApiError(401, "authentication failure")
            if user.totp:
                half = self.ticket("!tfa!" + urllib.parse.quote(json.dumps({"totp": True, "recovery": "unavailable"})) + "!" + name)
                return {"username": name, "ticket": half, "NeedTFA": 1, "CSRFPreventionToken": self.csrf(name), "cap": {}}
        return {"username": name, "ticket": self.ticket(name), "CSRFPreventionToken": self.csrf(name), "cap": self.caps(Who(name))}

    def _second_factor(self, user: User, challenge: str, answer: str) -> None:
        plain, _mark, signature = challenge.partition("::")
        ours = plain.startswith("PVE:!tfa!") and hmac.compare_digest(signature.encode(), self._sign(plain).encode())
        kind, _colon, code = answer.partition(":")
        moment = time.time()
        for shift in (0, -30, 30):
            step = int(moment + shift) // 30
            if ours and kind == "totp" and user.totp and code == totp(user.totp, moment + shift) and step not in user.used_codes:
                user.used_codes.add(step)
                return
        raise ApiError(401, "authentication failure")

    # ---- what one may

    def privileges(self, who: Who, path: str) -> set[str]:
        """What somebody may at a path."""
        if who.is_root:
            return set(self.roles["Administrator"])
        if not who.token:
            return self._granted(who.name, path)
        own = set(self.roles["Administrator"]) if who.user == "root@pam" else self._granted(who.user, path)
        token = self.users[who.user].tokens.get(who.token)
        return own if token is not None and not token.privsep else own & self._granted(who.name, path)

    def _granted(self, name: str, path: str) -> set[str]:
        parts = [part for part in path.split("/") if part]
        found: list[Grant] = [one for one in self.grants if one.who == name and one.path == "/"]
        for depth in range(1, len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            deeper = [one for one in self.grants if one.who == name and one.path == here and (one.propagate or depth == len(parts))]
            found = deeper or [one for one in found if one.propagate]
        granted: set[str] = set()
        for one in found:
            granted |= self.roles.get(one.role, set())
        pool = self.pool_of(parts[1]) if parts[:1] == ["vms"] and len(parts) == 2 else None
        if pool is not None:
            granted |= self._granted(name, "/pool/" + pool)
        return granted

    def may(self, who: Who, path: str, *wanted: str, any_of: bool = False) -> bool:
        have = self.privileges(who, path)
        return any(one in have for one in wanted) if any_of else all(one in have for one in wanted)

    def check(self, who: Who, path: str, *wanted: str, any_of: bool = False) -> None:
        """Refuses with 403 what somebody may not."""
        if not self.may(who, path, *wanted, any_of=any_of):
            raise refused(f"{path}, {('|' if any_of else ', ').join(wanted)}")

    def caps(self, who: Who) -> dict[str, dict[str, int]]:
        return {name: {one: 1 for one in sorted(wanted.split()) if one in self.privileges(who, path)} for name, (path, wanted) in roles.CAPS.items()}

    def paths(self, who: Who) -> dict[str, dict[str, int]]:
        """What GET /access/permissions answers without a path."""
        known = {*PATHS, *(one.path for one in self.grants)}
        found = {path: dict.fromkeys(self.privileges(who, path), 1) for path in sorted(known)}
        return {path: held for path, held in found.items() if held}


def _cookie(header: str) -> str | None:
    for part in header.split(";"):
        name, sign, value = part.strip().partition("=")
        if sign and name == "PVEAuthCookie":
            return urllib.parse.unquote(value)
    return None
