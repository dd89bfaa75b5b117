# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host at one sandbox tier onto which plugins are installed through the module, and what attackers make for it."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.module_utils.worker import strong
from ansible_collections.nexcage.backends.tests.support import modules, packages, releases, signing

NAME = "acme-sample-backend"
TIERS = [pytest.param("strong", marks=pytest.mark.requires("bwrap")), "standard"]


def at_tier(tier: str, patch: pytest.MonkeyPatch) -> None:
    """Let this process offer no more than ``tier``."""
    if tier == "standard":

        def none() -> t.NoReturn:
            raise NexcageError("E_SANDBOX", "no namespaces here")

        patch.setattr(strong, "Confined", none)


class Site:
    """The host.

    Args:
        folder: Where its root and the attacker's files lie.
        patch: For the tier, and for faults.
        tier: ``strong`` or ``standard``.
        key: Whose packages named ``acme-*`` are trusted.
    """

    def __init__(self, folder: pathlib.Path, patch: pytest.MonkeyPatch, tier: str, key: signing.Key) -> None:
        self.folder, self.patch, self.tier, self.key = folder, patch, tier, key
        self.made = folder / "made"
        self.made.mkdir()
        self.root = folder / "root"
        self.trust = signing.Trust(self.root)
        self.trust.trust(key.line())
        self.layout = self.trust.layout
        self.plugins = pathlib.Path(self.layout.configuration, "plugins")
        patch.setenv("NEXCAGE_ROOT", str(self.root))
        at_tier(tier, patch)

    def files(self, version: str = "1.0.0", name: str = NAME, **fields: t.Any) -> dict[str, bytes]:
        """Those of a plugin that says that it is well."""
        document = packages.manifest(name, version, **{"provides_backend": True, "operations": ["health"], **fields})
        return {**packages.files(document), "plugin.py": releases.SOURCE.format(name=name, version=version).encode()}

    def write(self, data: bytes, version: str = "1.0.0", name: str = NAME) -> str:
        """A file by the name that such a package has."""
        path = self.made / f"{name}-{version}.nexcage-plugin"
        path.write_bytes(data)
        path.chmod(0o644)
        return str(path)

    def package(self, version: str = "1.0.0", key: signing.Key | None = None, namespace: str = signing.PLUGIN, name: str = NAME, **fields: t.Any) -> str:
        """A signed package."""
        files = self.files(version, name, **fields)
        return self.write(packing.pack(files, (key or self.key).sign(packing.sums(files), namespace)), version, name)

    def packed(self, entries: packages.Members, sums: bytes | None = None, **options: t.Any) -> str:
        """A signed package of exactly these members, whatever they are; ``sums`` are those of the right files by default."""
        sums = packing.sums(self.files()) if sums is None else sums
        return self.write(packages.package([*entries, ("SHA256SUMS", sums), ("SHA256SUMS.sig", self.key.sign(sums))], **options))

    def ask(self, check: bool = False, **parameters: t.Any) -> modules.Result:
        return modules.run("nexcage_plugin", check=check, **{"name": NAME, **parameters})

    def snapshot(self) -> dict[str, t.Any]:
        """All but the locks, which come and go."""
        return {path: what for path, what in modules.snapshot(self.root).items() if not path.startswith(f"{self.root}/run") and path != str(self.root)}

    def refused(self, code: str, said: str, **parameters: t.Any) -> dict[str, t.Any]:
        """The same refusal in check mode and without; nothing has changed, and the error names what it is about."""
        before = self.snapshot()
        found = [self.ask(check=check, **parameters) for check in (True, False)]
        error: dict[str, t.Any] = found[1].get("error") or {}
        assert all(result.get("failed") for result in found), found
        assert (error["code"], found[0]["msg"]) == (code, found[1]["msg"]) and said in found[1]["msg"], found
        assert error["remedy"] and (error["option"] or error["value"]), error
        assert self.snapshot() == before
        return error

    def told(self, name: str = NAME) -> dict[str, t.Any]:
        """What is installed, after its own code has answered at this host's tier."""
        (found,) = modules.works("nexcage_plugin_info", name=[name])["plugins"]
        assert (found["health"]["status"], found["sandbox"]["tier"]) == ("healthy", self.tier), found
        return t.cast("dict[str, t.Any]", found)

    def installed(self, version: str = "1.0.0", name: str = NAME, **parameters: t.Any) -> dict[str, t.Any]:
        """Install a package that nothing is wrong with, by default a signed one."""
        source = parameters.pop("src", None) or self.package(version, name=name)
        result = self.ask(name=name, src=source, **parameters)
        assert not result.get("failed"), result.get("msg")
        found = self.told(name)
        assert found["version"] == version
        return found


def forked(do: t.Callable[[], None]) -> int:
    """Run ``do`` in a process of its own, a copy of this one; its pid. The caller waits for it."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid
