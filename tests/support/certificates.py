# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates for servers on loopback, by an authority made for the test or by themselves."""

from __future__ import annotations

import datetime as dt
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"


class Authority:
    """A certificate authority.

    Args:
        folder: Where ``ca.pem`` is written.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._certificate = self._sign(self._name, self._key, [(x509.BasicConstraints(ca=True, path_length=0), True)])
        self.path = folder / "ca.pem"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, address: str = HOST, days: int = 30) -> pathlib.Path:
        """A file with certificate and key of a server at an IP address; a negative number of days has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._sign(name, key, [(addresses, False)], days)
        path = self.folder / f"server-{address}-{days}.pem"
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        return path

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extensions: list[tuple[x509.ExtensionType, bool]], days: int = 30) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        start, end = sorted((now - dt.timedelta(days=1), now + dt.timedelta(days=days)))
        builder = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number(), start, end)
        # Python 3.13 asks for what RFC 5280 does: key identifiers everywhere, and what an authority's key is for (4.2.1.1 to 4.2.1.3).
        always: list[tuple[x509.ExtensionType, bool]] = [
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.KeyUsage(True, False, False, False, False, name == self._name, name == self._name, False, False), True),
        ]
        for extension, critical in [*extensions, *always]:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self._key, hashes.SHA256())


def self_signed(folder: pathlib.Path, *names: str, days: int = 1) -> pathlib.Path:
    """A self-signed certificate for names and addresses, with its key, in one file; negative ``days`` for one that is over."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = dt.datetime.now(dt.timezone.utc)
    begin, end = sorted((now - dt.timedelta(hours=1), now + dt.timedelta(days=days)))
    alternatives: list[x509.GeneralName] = []
    for text in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(text)))
        except ValueError:
            alternatives.append(x509.DNSName(text))
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(end).add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    made = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    file = folder / f"{names[0]}-{days}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
