# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One plugin in two versions that replace each other, and a look that tells whether all of it is of one of them."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager import installed, plugins
from ansible_collections.nexcage.backends.plugins.module_utils.manager.dispatch import Session
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout

from . import releases

NAME = "demo-backend"
VERSIONS = ("1.0.0", "1.1.0")
# The first two ask for something else, so that a grant is for one of them alone; a third for the same, and one for nothing.
ASKS = {"1.0.0": ["container_list", "logging"], "1.1.0": ["container_info", "logging"], "1.2.0": ["container_info", "logging"], "2.0.0": []}


class Place:
    """The plugin on a host of its own; 1.1.0 is active, 1.0.0 can be brought back.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.layout = Layout.for_user(0, {"NEXCAGE_ROOT": str(folder / "root")})
        self.files, self.digests = {}, {}
        for version, asks in ASKS.items():
            data = releases.data(version=version, capabilities=asks)
            self.files[version] = folder / f"{NAME}-{version}.nexcage-plugin"
            self.files[version].write_bytes(data)
            self.digests[releases.release(data, version=version).digest] = version
        (folder / "root").mkdir()
        self.bring("1.0.0")
        self.bring("1.1.0")

    def _manage(self, **parameters: t.Any) -> bool:
        with Session(self.layout, check_mode=False) as session:
            return bool(plugins.manage(session, {"name": NAME, **parameters})["changed"])

    def bring(self, version: str, grant: list[str] | None = None) -> None:
        """Make it the active one, by default with all that it asks for."""
        self._manage(state="present", src=str(self.files[version]), trust="unsigned", grant=ASKS[version] if grant is None else grant, allow_downgrade=True)

    def bring_for_nothing(self) -> None:
        """Make the one active that asks for nothing, and grant it nothing."""
        self._manage(state="present", src=str(self.files["2.0.0"]), trust="unsigned", allow_downgrade=True)

    def remove(self) -> None:
        """Remove it."""
        self._manage(state="absent")

    def used(self) -> installed.Installed:
        """What is used now."""
        return installed.load(self.layout, NAME)

    @property
    def other(self) -> str:
        """The version that is not used now."""
        return VERSIONS[VERSIONS.index(self.look()) - 1]

    def swap(self) -> None:
        """To the other version."""
        self.bring(self.other)

    def back(self) -> None:
        """To the version before, which is the other one."""
        self._manage(state="rolled_back", grant=ASKS[self.other])

    def lay(self) -> str:
        """Put the package of the other version in the place of the active one, by hand; which version that is."""
        version, folder = self.other, pathlib.Path(installed.plugin_dir(self.layout))
        for file in folder.iterdir():
            file.unlink()
        shutil.copy(self.files[version], folder)
        return version

    def reload(self, version: str) -> bool:
        """Take the package of that version, which lies there; whether that changed anything."""
        return self._manage(state="reloaded", trust="unsigned", grant=ASKS[version], allow_downgrade=True)

    def prefer(self, priority: int) -> bool:
        """A task that has nothing to do with versions; whether it changed anything."""
        return self._manage(priority=priority)

    def look(self) -> str:
        """The version that is used now; all of it is of that version."""
        found = installed.load(self.layout, NAME)
        assert found.package.version == found.release.version == self.digests[found.package.digest]
        assert sorted(found.granted) == ASKS[found.package.version]
        return found.package.version
