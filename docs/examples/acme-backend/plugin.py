"""The backend acme: containers on the OCI runtime crun.

It runs in a locked process that can open nothing. Each effect is a method of ``host``, which asks the broker.
"""

from __future__ import annotations

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, NotFound


class Backend(BackendExtension):
    """Each operation gets the host and its parameters."""

    name = "acme-backend"

    def create(self, host, params):
        """Image first, then the container; what it shall be, the broker knows from the task."""
        image = params.get("image")
        digest = host.image.ensure(image, params.get("pull") or "missing")["digest"] if image else None
        return host.oci.create(params["name"], digest)

    def start(self, host, params):
        host.oci.start(params["name"])

    def stop(self, host, params):
        try:
            host.oci.stop(params["name"], params.get("signal"), params.get("timeout"), bool(params.get("force")))
        except NotFound:
            pass  # what is gone is stopped

    def delete(self, host, params):
        try:
            host.oci.delete(params["name"])
        except NotFound:
            pass

    def list(self, host, params):
        return host.oci.list(params.get("names"))

    def info(self, host, params):
        return host.oci.info(params["name"])

    def exec(self, host, params):
        return host.oci.exec(params["name"])

    def health(self, host, params):
        try:
            problems = host.oci.features()["problems"]
        except HostError as error:
            return {"status": "unhealthy", "problems": [error.message]}
        return {"status": "degraded" if problems else "healthy", "problems": problems}


def backend():
    """What the worker asks for."""
    return Backend()
