# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Containers in gVisor. runsc speaks the command line of an OCI runtime, so each operation is one call of the broker.

It runs in a locked process that can open nothing. What a container shall be, the broker knows from the operator's task.
"""

from __future__ import annotations

from ..sdk.backend import BackendExtension
from ..sdk.errors import HostError, NotFound


class Backend(BackendExtension):
    """Each operation gets the host and its parameters. There is no ``update``: runsc cannot change limits of what runs."""

    name = "gvisor-backend"

    def _image(self, host, params):
        image = params.get("image")
        return host.image.ensure(image, params.get("pull") or "missing")["digest"] if image else None

    def create(self, host, params):
        return host.oci.create(params["name"], self._image(host, params))

    def replace(self, host, params):
        """The broker makes the new one ready before it touches the old one."""
        return host.oci.replace(params["name"], self._image(host, params))

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

    def pause(self, host, params):
        host.oci.pause(params["name"])

    def resume(self, host, params):
        host.oci.resume(params["name"])

    def kill(self, host, params):
        host.oci.kill(params["name"], params["signal"])

    def logs(self, host, params):
        return host.oci.logs(params["name"], params.get("tail"))

    def health(self, host, params):
        try:
            problems = host.oci.features()["problems"]
        except HostError as error:
            return {"status": "unhealthy", "problems": [error.message]}
        return {"status": "degraded" if problems else "healthy", "problems": problems}


def backend():
    """What the worker asks for."""
    return Backend()
