# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection to one address: resolved once, judged, and everything on it over by one deadline."""

from __future__ import annotations

import io
import ipaddress
import re
import socket
import threading
import time
import typing as t

from ..model.errors import NexcageError

if t.TYPE_CHECKING:
    Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# Where clouds answer with a machine's own credentials, beside the link-local addresses.
METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address behind a translator


def check_host(host: object, option: str) -> str:
    """A host name or an address, without port, user or brackets.

    Raises:
        NexcageError: ``E_INVALID``.
    """
    if isinstance(host, str) and (literal(host) is not None or (len(host) <= 253 and _NAME.fullmatch(host))):
        return host
    raise NexcageError("E_INVALID", "not a host name and no address", option=option, value=host, remedy="write the name or the address alone")


def literal(host: str) -> Address | None:
    """The address that a text is, ``None`` for a name."""
    try:
        return _plain(ipaddress.ip_address(host))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it stands for one."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    if inner is None and address in _TRANSLATED:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def judge(address: Address, named: str | None) -> str:
    """Why no connection is made to an address, empty where one is.

    Args:
        address: What a host's name means now.
        named: The host as the operator wrote it in the plugin's settings; ``None`` where the manifest names it.
    """
    address = _plain(address)
    if address.is_unspecified or address.is_multicast:
        return "no address of one machine"
    if named is not None and (literal(named) == address or (named == "localhost" and address.is_loopback)):
        return ""
    if address.is_loopback:
        return "this host itself"
    if address.is_link_local or address in METADATA:
        return "a link-local address, or one where clouds keep credentials"
    return "a reserved address" if address.is_reserved else ""


def is_loopback(address: str) -> bool:
    """Whether what is sent there stays on this host."""
    return _plain(ipaddress.ip_address(address.partition("%")[0])).is_loopback


def resolve(host: str, port: int, named: str | None, deadline: float) -> list[tuple[int, t.Any]]:
    """Family and socket address of everything that a host's name means; all of them are judged.

    Raises:
        NexcageError: ``E_HTTP`` where there is none, ``E_TIMEOUT``; ``E_CAPABILITY`` for an address that is not connected to.
    """
    found: list[t.Any] = []

    def ask() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # the library knows no deadline
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()))
    if not found:
        raise NexcageError("E_TIMEOUT", f"the name {host} was not resolved in time", option="host", value=host)
    if isinstance(found[0], Exception):
        reason = getattr(found[0], "strerror", None) or "not a name"
        raise NexcageError("E_HTTP", f"the name {host} cannot be resolved: {reason}", option="host", value=host)
    for entry in found:
        reason = judge(ipaddress.ip_address(entry[4][0].partition("%")[0]), named)
        if reason:
            raise NexcageError(
                "E_CAPABILITY",
                f"{host} is {entry[4][0]}: {reason}",
                option="host",
                value=host,
                remedy="where that is meant, write the address itself, or localhost, into the plugin's settings",
            )
    return [(entry[0], entry[4]) for entry in found]


class Line:
    """A connected socket as ``http.client`` wants it; no wait on it goes beyond the deadline, however slowly bytes come.

    Args:
        connected: The socket; :meth:`end` closes it.
        deadline: By the monotonic clock.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def receive(self, buffer: t.Any) -> int:
        """Read what is there into a buffer; how much it was, 0 at the end."""
        self._socket.settimeout(left(self._deadline))
        return self._socket.recv_into(buffer)

    def sendall(self, data: t.Any) -> None:
        """Send it all."""
        view = memoryview(data).cast("B")
        while view:
            self._socket.settimeout(left(self._deadline))
            view = view[self._socket.send(view) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What a response is read from."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """``http.client`` closes its socket before it has read the response; this one goes on."""

    def end(self) -> None:
        """Close the socket."""
        self._socket.close()


class _Reader(io.RawIOBase):
    """A line's bytes as ``io`` asks for them."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        return self._line.receive(buffer)


def left(deadline: float) -> float:
    """Seconds until the deadline; ``socket.timeout`` where there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise socket.timeout("timed out")
    return seconds


def connect(host: str, addresses: list[tuple[int, t.Any]], tls: bool, authorities: str | None, deadline: float) -> Line:
    """A connection to the first of the addresses that answers; the certificate is checked against the host's name.

    Args:
        host: For the certificate.
        addresses: Of :func:`resolve`; nothing is resolved again.
        tls: Whether to encrypt.
        authorities: A file of certificate authorities instead of the host's own.
        deadline: By the monotonic clock.

    Raises:
        OSError: No address answers, the certificate is not valid, or the time is over.
    """
    plain = _open(addresses, deadline)
    try:
        return Line(_encrypted(plain, host, authorities, deadline) if tls else plain, deadline)
    except BaseException:
        plain.close()
        raise


def _open(addresses: list[tuple[int, t.Any]], deadline: float) -> socket.socket:
    problem = OSError("there is no address")
    for family, address in addresses:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.settimeout(left(deadline))
            plain.connect(address)
            return plain
        except OSError as error:
            plain.close()
            problem = error
    raise problem


def _encrypted(plain: socket.socket, host: str, authorities: str | None, deadline: float) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=authorities)
    plain.settimeout(left(deadline))
    return context.wrap_socket(plain, server_hostname=host.rstrip("."))
