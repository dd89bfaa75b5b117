# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way from a plugin to an effect: declared, granted, not denied, valid; then audited and done."""

from __future__ import annotations

import time
import types
import typing as t
from collections.abc import Mapping

from ..model.effects import EFFECTS, READ
from ..model.errors import NexcageError

if t.TYPE_CHECKING:
    from ..model.effects import Effect
    from .audit import Audit

    Arguments = t.Mapping[str, t.Any]
    Handler = t.Callable[[Arguments], t.Any]
    Policy = t.Callable[[str, Arguments, t.Mapping[str, t.Any]], t.Optional[str]]


class Gate:
    """The broker calls that one plugin may make during one operation.

    Args:
        manifest: The plugin's manifest: ``name`` and ``capabilities``, and the templates where a call is made by one.
        read_handlers: Call name to function; it gets the validated arguments and returns a JSON value.
        write_handlers: The same for writes; ``None`` in check mode and inside read operations, so
            that nothing can change.
        audit: Where intents and outcomes go.
        granted: Capability names that the operator granted; ``None`` for a built-in plugin, which
            has what it declares.
        policy: Gets call, arguments and context; returns why the call is denied, else ``None``. Where its
            ``audit_only`` is true, that is written down and the call goes on.
        context: Facts for the audit lines: plugin, version, digest, trust, tier, op.
        targets: Containers this operation is about; a write to any other is refused. ``None`` where
            the operation is not about particular ones.
    """

    def __init__(
        self,
        manifest: t.Mapping[str, t.Any],
        read_handlers: t.Mapping[str, Handler],
        write_handlers: t.Mapping[str, Handler] | None,
        audit: Audit,
        *,
        granted: t.Collection[str] | None = None,
        policy: Policy | None = None,
        context: t.Mapping[str, t.Any] | None = None,
        targets: t.Collection[str] | None = None,
    ) -> None:
        self.plugin: str = manifest["name"]
        self._manifest = manifest
        self._declared = frozenset(manifest["capabilities"])
        self._allowed = self._declared if granted is None else self._declared & frozenset(granted)
        self._read_handlers = read_handlers
        self._write_handlers = write_handlers
        self._audit = audit
        self._policy = policy
        self._context = {"plugin": self.plugin, **(context or {})}
        self._targets = targets
        # Exceptions that are not refusals: the plugin learns nothing of them, the operator does.
        self.defects: list[Exception] = []

    def call(self, name: str, params: t.Mapping[str, t.Any]) -> t.Any:
        """Decide on one call of the plugin and carry it out.

        Returns:
            The handler's value.

        Raises:
            NexcageError: ``E_CAPABILITY``, ``E_GRANT``, ``E_READ_ONLY``, ``E_INVALID``, ``E_LIMIT``,
                ``E_POLICY``, ``E_UNSUPPORTED`` before anything happened, ``E_AUDIT`` where the intent
                cannot be written; whatever the handler refuses; ``E_INTERNAL`` for any other exception.
        """
        try:
            kind, handler, arguments, context = self._decide(name, params)
        except NexcageError as error:
            context = {**self._context, "container": error.details.get("container")}
            self._audit.refusal(str(name), error.code, context, error.details.get("rule"))
            raise
        if kind == READ:
            self._audit.count(name)
            return self._carry_out(name, handler, arguments)
        sequence = self._audit.intent(name, arguments, context)
        start = time.monotonic()
        failure: str | None = "interrupted"
        try:
            value = self._carry_out(name, handler, arguments)
            failure = None
        except NexcageError as error:
            failure = error.code
            raise
        finally:
            self._audit.outcome(sequence, name, time.monotonic() - start, failure)
        return value

    def _decide(self, name: str, params: t.Mapping[str, t.Any]) -> tuple[str, Handler, Arguments, t.Mapping[str, t.Any]]:
        effect = _effect(name) if isinstance(name, str) else None
        if effect is None:
            raise self._refuse("E_CAPABILITY", f"there is no broker call {name!r}")
        if not _satisfied(effect, self._allowed):
            needs = " or ".join(" and ".join(names) for names in effect.needs)
            if _satisfied(effect, self._declared):
                raise self._refuse("E_GRANT", f"{name} needs {needs}, which is not granted")
            raise self._refuse("E_CAPABILITY", f"{name} needs {needs}, which the manifest does not declare")
        if effect.kind != READ and effect.use is None and self._write_handlers is None:
            raise self._read_only(name)
        arguments = self._validate(effect, name, params)
        kind, context = self._use(effect, name, arguments)
        denial = self._policy(name, arguments, self._context) if self._policy else None
        if denial is not None:
            self._deny(name, denial, {"container": arguments.get("name"), **context})
        handlers = self._read_handlers if kind == READ else self._write_handlers
        handler = handlers.get(name) if handlers is not None else None
        if handler is None:
            raise self._refuse("E_UNSUPPORTED", f"{name} is not offered to this backend")
        return kind, handler, arguments, context

    def know(self, **facts: t.Any) -> None:
        """Add facts for policy and audit lines that were not known when the gate was made."""
        self._context.update(facts)

    def _deny(self, name: str, denial: str, context: t.Mapping[str, t.Any]) -> None:
        rule = getattr(denial, "rule", None)
        if getattr(self._policy, "audit_only", False):
            self._audit.refusal(name, "E_POLICY", context, rule, enforced=False)
            return
        error = self._refuse("E_POLICY", f"{name} is denied: {denial}")
        error.details.update(rule=rule, container=context["container"])
        raise error

    def _validate(self, effect: Effect, name: str, params: t.Mapping[str, t.Any]) -> Arguments:
        """The normalised arguments as an object that nobody can change: what is decided on is what is done."""
        if not isinstance(params, Mapping):
            raise self._refuse("E_INVALID", f"the parameters of {name} are not an object")
        rules = effect.parameters
        for parameter in params:
            if parameter not in rules:
                raise self._refuse("E_INVALID", f"{name} has no parameter {parameter!r}")
        return types.MappingProxyType({key: check(key, params.get(key)) for key, check in rules.items()})

    def _use(self, effect: Effect, name: str, arguments: Arguments) -> tuple[str, t.Mapping[str, t.Any]]:
        """Whether this very call reads or writes, and what the audit log says of it; a write stays with the task's containers."""
        kind, context = effect.kind, self._context
        containers: tuple[str, ...] = (arguments["name"],) if "name" in arguments else ()
        if effect.use is not None:
            kind, containers, subject = effect.use(self._manifest, arguments)
            context = {**context, "subject": subject, "container": containers[0] if containers else None}
        if kind == READ:
            return kind, context
        if self._write_handlers is None:
            raise self._read_only(name)
        for target in containers:
            if self._targets is not None and target not in self._targets:
                raise self._refuse("E_CAPABILITY", f"{name} of {target!r}: the task is not about that container")
        return kind, context

    def _read_only(self, name: str) -> NexcageError:
        return self._refuse("E_READ_ONLY", f"{name} changes something, and this operation only reads")

    def _carry_out(self, name: str, handler: Handler, arguments: Arguments) -> t.Any:
        try:
            return handler(arguments)
        except NexcageError:
            raise
        except Exception as error:
            self.defects.append(error)
            raise NexcageError("E_INTERNAL", f"{name} failed unexpectedly ({type(error).__name__})", details={"where": _where(error)}) from error

    def _refuse(self, code: str, message: str) -> NexcageError:
        return NexcageError(code, f"{self.plugin}: {message}", details={"plugin": self.plugin})


def _effect(name: str) -> Effect | None:
    """The row of a broker call; the table of those that no built-in backend makes is read only where one is asked for."""
    effect = EFFECTS.get(name)
    if effect is None:
        from ..model.effects_extra import EXTRA

        effect = EXTRA.get(name)
    return effect


def _where(error: Exception) -> list[str]:
    """The places in the code that the exception came through; neither its text nor any value, which may be secret."""
    places, step = [], error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/module_utils/')[2]}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return places


def _satisfied(effect: Effect, allowed: frozenset[str]) -> bool:
    return any(allowed.issuperset(names) for names in effect.needs)
