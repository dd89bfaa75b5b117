# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The versions of the interface between plugins and this collection, served side by side.

A plugin says its version in the manifest's ``api_version``. What it says is put into the broker's words, and what it is told
into its own, before the gate is asked: grants, policy and audit log know one vocabulary. So a version can give a call
another name or shape, and can neither add a call nor take a check away.
"""

from __future__ import annotations

import typing as t

from ..model.errors import NexcageError

Params = dict[str, t.Any]
Handler = t.Callable[[str, Params], t.Any]
Request = t.Callable[[str, Params, Handler, float], t.Any]
_MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def _same(value: t.Any) -> t.Any:
    return value


class Translated(t.NamedTuple):
    """A call or an operation that is another one in one version of the interface.

    Args:
        name: What it is on the other side.
        there: From its parameters to those of the other side.
        back: From the other side's answer to its own.
    """

    name: str
    there: t.Callable[[t.Any], t.Any] = _same
    back: t.Callable[[t.Any], t.Any] = _same


class Api(t.NamedTuple):
    """How plugins of one version are served.

    Args:
        number: Their ``api_version``.
        calls: Where they differ: their name of a call to the broker's.
        operations: Where they differ: our name of an operation to theirs.
        modules: Source of what their worker is sent in place of a module of ours, by its name below ``module_utils``.
    """

    number: int
    calls: t.Mapping[str, Translated] = {}
    operations: t.Mapping[str, Translated] = {}
    modules: t.Mapping[str, str] = {}

    def program(self, base: str) -> dict[str, str]:
        """The modules by their full names.

        Args:
            base: The package of all of them, with a dot behind it.
        """
        return {base + name: source for name, source in self.modules.items()}

    def asking(self, request: Request) -> Request:
        """``worker.request`` for a plugin of this version: operation, calls and result in its own words."""
        if not (self.calls or self.operations):
            return request

        def asked(operation: str, params: Params, handler: Handler, deadline_s: float) -> t.Any:
            way = self.operations.get(operation, Translated(operation))
            answer = request(way.name, way.there(params), self._around(handler), deadline_s)
            try:
                return way.back(answer)
            except _MISSHAPEN:
                raise NexcageError("E_PLUGIN", f"the answer of {operation} is none of plugin API {self.number}") from None

        return asked

    def _around(self, handler: Handler) -> Handler:
        renamed = {way.name for way in self.calls.values()} - set(self.calls)

        def call(name: str, params: Params) -> t.Any:
            if name in renamed:
                raise NexcageError("E_CAPABILITY", f"plugin API {self.number} has no call {name}")
            way = self.calls.get(name)
            if way is None:
                return handler(name, params)
            try:
                arguments = way.there(params)
            except _MISSHAPEN:
                raise NexcageError("E_INVALID", f"not the parameters of {name} in plugin API {self.number}") from None
            return way.back(handler(way.name, arguments))

        return call


SERVED: dict[int, Api] = {1: Api(1)}


def of(manifest: t.Mapping[str, t.Any]) -> Api:
    """How a plugin is served, whose manifest was compared with ``model.version.API_VERSIONS``."""
    return SERVED[manifest["api_version"]]
