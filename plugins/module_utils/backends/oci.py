# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What crun and runc share: each operation is one call to the broker, which knows the runtime."""

from __future__ import annotations

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..sdk.host import Host

    Params = dict[str, Any]


class OciBackend(BackendExtension):
    """A backend over an OCI runtime.

    Args:
        name: The plugin's name.
        runtime: Name of the runtime's program.
    """

    def __init__(self, name: str, runtime: str) -> None:
        self.name = name
        self.runtime = runtime

    def _image(self, host: Host, params: Params) -> str | None:
        """The digest of the task's image, unpacked by now; none where the task brings its own bundle."""
        if params.get("image") is None:
            return None
        digest: str = host.image.ensure(params["image"], params.get("pull") or "missing")["digest"]
        return digest

    def create(self, host: Host, params: Params) -> Any:
        """Image first, then the container."""
        return host.oci.create(params["name"], self._image(host, params))

    def replace(self, host: Host, params: Params) -> Any:
        """Better than the default: the broker makes the new one ready before it touches the old one."""
        return host.oci.replace(params["name"], self._image(host, params))

    def start(self, host: Host, params: Params) -> Any:
        """Start it."""
        host.oci.start(params["name"])

    def stop(self, host: Host, params: Params) -> Any:
        """Stop it; a container that is gone is stopped."""
        try:  # noqa: SIM105 - contextlib would cost the worker its import
            host.oci.stop(params["name"], params.get("signal"), params.get("timeout"), bool(params.get("force")))
        except NotFound:
            pass

    def delete(self, host: Host, params: Params) -> Any:
        """Remove it; a container that is gone is deleted."""
        try:  # noqa: SIM105
            host.oci.delete(params["name"])
        except NotFound:
            pass

    def list(self, host: Host, params: Params) -> Any:
        """One listing of the runtime, whatever the number of names."""
        return host.oci.list(params.get("names"))

    def info(self, host: Host, params: Params) -> Any:
        """One record."""
        return host.oci.info(params["name"])

    def exec(self, host: Host, params: Params) -> Any:
        """Run the task's process."""
        return host.oci.exec(params["name"])

    def pause(self, host: Host, params: Params) -> Any:
        """Freeze it."""
        host.oci.pause(params["name"])

    def resume(self, host: Host, params: Params) -> Any:
        """Let it go on."""
        host.oci.resume(params["name"])

    def update(self, host: Host, params: Params) -> Any:
        """Change its limits while it runs."""
        host.oci.update(params["name"])

    def kill(self, host: Host, params: Params) -> Any:
        """Send it one signal."""
        host.oci.kill(params["name"], params["signal"])

    def logs(self, host: Host, params: Params) -> Any:
        """Its last lines of output."""
        return host.oci.logs(params["name"], params.get("tail"))

    def health(self, host: Host, params: Params) -> Any:
        """Unhealthy without a usable runtime, degraded where the host has known problems."""
        try:
            features = host.oci.features()
        except HostError as error:
            return {"status": "unhealthy", "problems": [error.message], "runtime": self.runtime}
        problems = [str(problem) for problem in features.get("problems") or []]
        status = "unhealthy" if features.get("missing") else "degraded" if problems else "healthy"
        return {**features, "status": status, "problems": problems}
