# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers on an OCI runtime, without a daemon: the one door to this package.

What writes is imported where it is used, as a run that changes nothing should not compile it.
"""

from __future__ import annotations

import typing as t

from ...model.config import Layout
from ...model.container import ContainerSpec
from . import observe
from .records import Places
from .runtime import Runtime


class OciEngine:
    """One backend's containers.

    All methods raise :class:`NexcageError`; a write that raises has changed nothing, or says what to do next.

    Args:
        layout: The user's folders on this host.
        backend: The backend's name, such as ``crun-backend``; containers belong to it.
        runtime: The runtime program's name, such as ``crun``, or its absolute path.
        options: The runtime's global options that the operator set.
    """

    def __init__(self, layout: Layout, backend: str, runtime: str, options: t.Sequence[str] = ()) -> None:
        self.places = Places(layout, backend)
        self.runtime = Runtime(runtime, self.places.root, options)

    # reads

    def listing(self, names: list[str] | None = None) -> list[dict[str, t.Any]]:
        """The containers of this backend, or those of ``names`` that exist; one call of the runtime at most."""
        return observe.listing(self.places, self.runtime, names)

    def logs(self, name: str, tail: int | None = None) -> list[dict[str, str]]:
        """The last ``tail`` lines of a container's output: ``time``, ``stream``, ``text``."""
        from . import logs

        return logs.read(self.places, name, tail)

    def features(self) -> dict[str, t.Any]:
        """What runtime and host can: path, version, cgroup mode, overlay, and what is wrong."""
        from . import features

        return features.probe(self.places, self.runtime)

    def check(self, spec: ContainerSpec, image: t.Mapping[str, t.Any] | None) -> None:
        """Refuse now what :meth:`create` or :meth:`replace` would refuse; changes nothing."""
        from . import inspection

        inspection.refuse_impossible(self.places, spec, image)

    def refuse_taking(self, name: str) -> None:
        """Refuse a damaged container that another backend's runtime still knows; changes nothing."""
        from . import removal

        removal.refuse_taking(self.places, name)

    def exists(self, name: str, path: str) -> bool:
        """Whether a path exists in a running container."""
        from . import inspection

        return inspection.exists(self.places, self.runtime, name, path)

    # writes

    def create(
        self,
        name: str,
        spec: ContainerSpec,
        secrets: t.Mapping[str, str],
        image: t.Mapping[str, t.Any] | None,
        take_over: bool = False,
    ) -> dict[str, str]:
        """Make a container, created and not started; ``{"id": …}``. ``take_over`` also in the place of another backend's damaged one."""
        from . import lifecycle, staging

        return lifecycle.create(self.places, self.runtime, staging.Request(name, spec, secrets, image), take_over)

    def replace(
        self,
        name: str,
        spec: ContainerSpec,
        secrets: t.Mapping[str, str],
        image: t.Mapping[str, t.Any] | None,
        signal: int | None = None,
        timeout: float | None = None,
        force: bool = False,
        take_over: bool = False,
    ) -> dict[str, str]:
        """Make a container anew; the old one is stopped, as by :meth:`stop`, only when the new one stands created; ``{"id": …}``.

        ``take_over`` also moves it here from the backend that holds it.
        """
        from . import lifecycle, staging

        return lifecycle.replace(self.places, self.runtime, staging.Request(name, spec, secrets, image), lifecycle.Ending(signal, timeout, force), take_over)

    def start(self, name: str) -> None:
        """Start a created or stopped container."""
        from . import lifecycle

        lifecycle.start(self.places, self.runtime, name)

    def stop(self, name: str, signal: int | None = None, timeout: float | None = None, force: bool = False) -> None:
        """Stop a container with its own or the given signal, and kill it after its own or the given seconds."""
        from . import lifecycle

        lifecycle.stop(self.places, name, signal, timeout, force)

    def kill(self, name: str, signal: int) -> None:
        """Send a signal to a running container."""
        from . import lifecycle

        lifecycle.kill(self.places, self.runtime, name, signal)

    def delete(self, name: str) -> None:
        """Remove a container with all its traces, running or not."""
        from . import lifecycle

        lifecycle.delete(self.places, name)

    def pause(self, name: str) -> None:
        """Freeze a running container."""
        from . import lifecycle

        lifecycle.pause(self.places, self.runtime, name)

    def resume(self, name: str) -> None:
        """Let a paused container go on."""
        from . import lifecycle

        lifecycle.resume(self.places, self.runtime, name)

    def update(self, name: str, changes: t.Mapping[str, t.Any]) -> None:
        """Change limits of a container, live where it runs."""
        from . import update

        update.apply(self.places, self.runtime, name, changes)

    def heal(self, name: str) -> None:
        """Clear away what a killed run left of a container beside the generation that counts."""
        from . import lifecycle

        lifecycle.clear(self.places, name)

    def exec(self, name: str, process: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Run a command in a running container and return its exit code and output."""
        from . import execution

        return execution.run(self.places, self.runtime, name, process)
