# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One module run: its workers, its gates, its audit log; and the way of one operation through them."""

from __future__ import annotations

import os
import typing as t

from ..broker.audit import Audit
from ..broker.gate import Gate
from ..broker.handlers import Order, Workbench, read_handlers, write_handlers
from ..model.config import Layout
from ..model.effects import OPERATIONS, READ
from ..model.errors import NexcageError
from ..worker.sandbox import TIERS, Limits, Sandbox, limits_of
from ..worker.spawn import Worker
from . import registry
from .budget import Budget

if t.TYPE_CHECKING:
    from ..broker.extra import Extra
    from ..broker.handlers import Handlers
    from .answers import Answers
    from .breaker import Watch
    from .hooks import Hooks
    from .policy import Policy

TIER_BUILT_IN = "process"
FRAME_BUILT_IN = 8 << 20  # bytes; a listing of some thousand containers


class Session:
    """What one run of a module shares; :meth:`close` ends every process it started.

    Args:
        layout: The folders of this host and user.
        check_mode: Whether nothing may change. Then no gate has write handlers, and no audit line
            is written.
        timeout: Seconds for each operation.
        worker: A worker that was spawned ahead of everything else; the first plugin gets it.
    """

    def __init__(self, layout: Layout, check_mode: bool, timeout: float = 120.0, worker: Worker | None = None) -> None:
        self.layout = layout
        self.check_mode = check_mode
        self.timeout = timeout
        self.orders: dict[str, Order] = {}
        self.audit = Audit(None if check_mode else layout.audit)
        self.warnings: list[str] = []
        self.left_out: dict[str, tuple[str, NexcageError]] = {}  # containers that a listing could not tell of: holder and why
        self.secrets: set[str] = set()  # values that stand in the task, and in no result
        self.listeners: Hooks | None = None  # set by hooks.of()
        self.told: list[dict[str, t.Any]] = []  # what became of each hook that an event was fired at
        self.logged: list[dict[str, t.Any]] = []  # what installed plugins said by host.log
        self._hears: bool | None = None
        self._spare = worker
        self._plugins: dict[str, registry.Plugin] = {}
        self._workers: dict[str, Worker] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._budget = Budget(layout)
        self._benches: dict[str, Workbench] = {}
        self._extras: dict[str, Extra] = {}
        self._policy: Policy | None = None
        self._asked = False  # whether there is a policy

    def __enter__(self) -> Session:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if self.listeners is not None:
                self.listeners.end(error)
        finally:
            self.close()

    def close(self) -> None:
        """End the workers and close the audit log."""
        for worker in (*self._workers.values(), self._spare):
            if worker is not None:
                worker.close()
        self._workers, self._spare = {}, None
        # A run that changed nothing writes nothing: the counts of reads alone are no event.
        if self.audit.happened:
            self.audit.close()
        self.warnings += [warning for warning in self.audit.warnings if warning not in self.warnings]

    @property
    def sandbox(self) -> dict[str, t.Any]:
        """Tier and layers of the workers of this run; empty where none was needed."""
        for sandbox in self._sandboxes.values():
            return sandbox.as_dict()
        return {}

    def sandbox_of(self, plugin: registry.Plugin) -> dict[str, t.Any]:
        """Tier and layers of one plugin's worker; empty where it did not run."""
        sandbox = self._sandboxes.get(plugin.name)
        return sandbox.as_dict() if sandbox is not None else {}

    def hears(self) -> bool:
        """Whether any plugin listens to events; one look for all of the run, and :mod:`hooks` is imported only then."""
        if self._hears is None:
            self._hears = _there(f"{self.layout.state}/hooks.json")
        return self._hears

    def leave_out(self, holder: str, names: t.Sequence[str], error: NexcageError) -> None:
        """Note containers of which a listing cannot tell, and warn of them."""
        self.left_out.update((name, (holder, error)) for name in names)
        self.warnings.append(f"not listed: {', '.join(names)}; {error.message}")

    def rules(self) -> Policy | None:
        """The operator's rules, ``None`` where the host has none; that costs one look at the folder.

        Raises:
            NexcageError: As ``policy.load``: with a file that is not understood nothing is allowed.
        """
        if not self._asked:
            if _there(f"{self.layout.configuration}/policy.json"):
                from . import policy

                self._policy = policy.load(self.layout)
            self._asked = True
        return self._policy

    def permit(self, plugin: registry.Plugin, operation: str, params: t.Mapping[str, t.Any], begins: bool = False) -> None:
        """Refuse an operation that the policy denies; also asked for a whole plan, before its first step.

        Args:
            plugin: Who would do it.
            operation: One of ``OPERATIONS``.
            params: Those of the operation.
            begins: Whether it begins now: then a policy that only watches writes down what it would have denied.

        Raises:
            NexcageError: ``E_POLICY`` naming the rule.
        """
        rules = self.rules()
        if rules is None:
            return
        context = {"plugin": plugin.name, **self._context(plugin, operation)}
        denial = rules.operation(operation, params, context)
        if denial is None or (rules.audit_only and not begins):
            return
        self.audit.refusal(operation, "E_POLICY", {**context, "container": params.get("name")}, denial.rule, enforced=not rules.audit_only)
        if not rules.audit_only:
            details = {"plugin": plugin.name, "rule": denial.rule, "path": f"{self.layout.configuration}/policy.json"}
            raise NexcageError("E_POLICY", f"{operation} by {plugin.name} is denied: {denial}", option="name", value=params.get("name"), details=details)

    def operate(self, plugin: registry.Plugin, operation: str, params: t.Mapping[str, t.Any]) -> t.Any:
        """Run one operation of a plugin in its worker.

        Args:
            plugin: Who does it.
            operation: One of the manifest's operations.
            params: JSON-able parameters; ``name`` is the container it is about, where it is about one.

        Raises:
            NexcageError: What the plugin or the broker refuses, with the plugin's name in its details.
        """
        plugin = self._same(plugin)
        if operation not in plugin.manifest["operations"]:
            raise NexcageError("E_UNSUPPORTED", f"{plugin.name} has no operation {operation}", option="backend", value=plugin.backend)
        refuse_ungranted(plugin, operation)
        if plugin.installed is None or self.check_mode:
            return self._operate(plugin, operation, params)
        from . import breaker

        with breaker.Watch(self.layout, plugin.installed, operation, self.warnings) as watch:
            return self._operate(plugin, operation, params, watch)

    def _operate(self, plugin: registry.Plugin, operation: str, params: t.Mapping[str, t.Any], watch: Watch | None = None) -> t.Any:
        name = params.get("name")
        gate = self._gate(plugin, operation, [name] if isinstance(name, str) else [])
        self.permit(plugin, operation, params)
        worker = self._worker(plugin)
        gate.know(tier=worker.sandbox.tier)
        self.permit(plugin, operation, params, begins=True)  # rules on tiers can tell only now
        extra = self._extra(plugin)
        call = gate.call if watch is None else watch.around(gate.call)
        if extra is not None:
            call = extra.secrets.around(call)
        answers = _answers(plugin, operation, params)
        if answers is not None:
            call = answers.around(call)
        try:
            with self._budget.at_work(plugin.name):
                value = self._asking(plugin, worker)(operation, dict(params), call, self.timeout)
            if answers is not None:
                value = answers.checked(value)
            return value if extra is None else extra.secrets.scrub(value)
        except NexcageError as error:
            if extra is not None:
                extra.secrets.scrub_error(error)
            error.details.setdefault("plugin", plugin.name)
            raise _about(error, plugin, name) from error.__cause__

    def _asking(self, plugin: registry.Plugin, worker: Worker) -> t.Callable[..., t.Any]:
        """``worker.request`` in the words of the plugin's API version; a built-in one speaks ours."""
        if plugin.installed is None:
            return worker.request
        from ..sdk import versions

        return versions.of(plugin.manifest).asking(worker.request)

    def ask(self, plugin: registry.Plugin, call: str, params: t.Mapping[str, t.Any]) -> t.Any:
        """One read of the broker on the manager's own account, through the plugin's gate."""
        return self._gate(self._same(plugin), "info", []).call(call, params)

    def _same(self, plugin: registry.Plugin) -> registry.Plugin:
        """The plugin as this run first used it: one that is replaced meanwhile stays what it was, with its manifest and grant."""
        return plugin if plugin.installed is None else self._plugins.setdefault(plugin.name, plugin)

    def heal(self, plugin: registry.Plugin, name: str) -> None:
        """Clear away what a killed run left of a container, on the manager's own account; not in check mode."""
        self._gate(self._same(plugin), "update", [name]).call("oci.heal", {"name": name})

    def outcome(self, plugin: registry.Plugin, name: str) -> dict[str, t.Any] | None:
        """What the last exec in a container ended with, whole: the plugin may have seen less of it. ``None`` where the broker did none."""
        return self._benches[plugin.name].outcomes.get(name)

    def _gate(self, plugin: registry.Plugin, operation: str, targets: list[str]) -> Gate:
        bench = self._benches.get(plugin.name)
        if bench is None:
            # both are the operator's: what a manifest says of them never gets here
            runtime = str(plugin.config.get("binary_path") or plugin.runtime)
            options = str(plugin.config.get("runtime_options") or "").split()
            bench = self._benches[plugin.name] = Workbench(self.layout, plugin.name, runtime, self.orders, options)
        writes = None if self.check_mode or OPERATIONS[operation].kind == READ else self._writes(bench)
        granted = None if plugin.installed is None else plugin.installed.granted
        context = self._context(plugin, operation)
        reads, extra = read_handlers(bench), self._extra(plugin)
        if plugin.installed is not None:
            from . import messages

            reads["log"] = messages.keeper(self, plugin, context)
        if extra is not None:
            extra.offer(reads, writes, self.timeout, bench, targets[0] if targets else "")
        return Gate(plugin.manifest, reads, writes, self.audit, granted=granted, policy=self.rules(), context=context, targets=targets)

    def _writes(self, bench: Workbench) -> Handlers:
        """What a plugin may be offered that changes something."""
        return write_handlers(bench)

    def _extra(self, plugin: registry.Plugin) -> Extra | None:
        """What a plugin may do beyond containers, and its secrets; ``None`` where its manifest has neither, as that of a built-in one."""
        found = self._extras.get(plugin.name)
        if found is None and (any(map(plugin.manifest.get, ("filesystem", "commands", "network"))) or _has_secrets(plugin.manifest)):
            from ..broker.extra import Extra

            found = self._extras[plugin.name] = Extra(self.layout, plugin.manifest, plugin.config)
        return found

    def _context(self, plugin: registry.Plugin, operation: str) -> dict[str, t.Any]:
        """What audit log and policy are told of a plugin."""
        context = {"version": plugin.manifest["version"], "trust": plugin.trust, "op": operation}
        if plugin.installed is not None:
            release = plugin.installed.release
            context.update(digest=release.digest, signer=release.principal or None)
        if plugin.name in self._sandboxes:
            context["tier"] = self._sandboxes[plugin.name].tier
        return context

    def _worker(self, plugin: registry.Plugin) -> Worker:
        worker = self._workers.get(plugin.name)
        if worker is None:
            requirements, idle = self._budget.enter(plugin.name, plugin.manifest["resource_requirements"])
            for name in idle:
                self._workers.pop(name).close()
            try:
                worker = self._loaded(plugin, limits_of(requirements))
            except BaseException as error:
                self._budget.leave(plugin.name)
                if isinstance(error, NexcageError):
                    _about(error, plugin, None).details.setdefault("plugin", plugin.name)
                raise
            self._workers[plugin.name] = worker
            self._sandboxes[plugin.name] = worker.sandbox
        return worker

    def _loaded(self, plugin: registry.Plugin, limits: Limits) -> Worker:
        """A worker with a plugin in it."""
        sources = registry.sources(plugin)
        worker = self._locked(plugin, sources, limits)
        try:
            prepare = self._benches[plugin.name].prepare  # made with the gate, which comes first
            extra = self._extra(plugin)
            config, program = (dict(plugin.config), None) if extra is None else (extra.config, extra.program)
            declared = plugin.manifest.get("configuration") or {}
            if plugin.installed is not None:  # what another version was given, maybe as a secret, is not this one's
                config = {name: value for name, value in config.items() if name in declared}
            defaults = {name: setting["default"] for name, setting in declared.items() if "default" in setting}
            worker.load(plugin.name, sources, {**defaults, **config}, meanwhile=prepare, program=_program(plugin, program))
        except BaseException:
            worker.close()
            raise
        return worker

    def _locked(self, plugin: registry.Plugin, sources: t.Mapping[str, str], limits: Limits) -> Worker:
        """A worker of the tier that its plugin needs; a built-in one is trusted as much as this file."""
        tier = TIER_BUILT_IN
        built_in = plugin.name in registry.BUILT_IN
        if built_in:
            limits = limits._replace(frame=FRAME_BUILT_IN)
        rules = self.rules()
        spare, self._spare = self._spare, None
        if not built_in or rules is not None:
            from . import workers

            tier = workers.required(rules, "builtin" if built_in else "third_party")
            if not built_in or tier == TIERS[-1]:
                return workers.start(sources, limits, tier, spare)
        worker = spare or Worker()
        worker.required = tier
        try:
            worker.start(limits)
        except BaseException:
            worker.close()
            raise
        return worker


def _has_secrets(manifest: t.Mapping[str, t.Any]) -> bool:
    """Whether a plugin has settings that its worker must not see."""
    return any(setting.get("sensitive") for setting in (manifest.get("configuration") or {}).values())


def _answers(plugin: registry.Plugin, operation: str, params: t.Mapping[str, t.Any]) -> Answers | None:
    """What holds an installed plugin with an OCI runtime to the broker's records; ``None`` for all others."""
    if plugin.installed is None or not plugin.runtime or operation not in ("list", "info"):
        return None
    from .answers import Answers

    return Answers(plugin.name, operation, params.get("names"))


def _about(error: NexcageError, plugin: registry.Plugin, name: object) -> NexcageError:
    """Let an error that names nothing name the plugin that is at fault, or the container, where the plugin is our own."""
    if plugin.installed is None and isinstance(name, str):
        return error.about("name", name)
    if error.option not in (None, "name", "image", "backend") and plugin.name not in error.message:
        error.message = f"{plugin.name}: {error.message}"  # an argument of the plugin's, and no option of the task
    return error.about("backend", plugin.backend) if plugin.manifest.get("provides_backend") else error.about(None, plugin.name)


def _program(plugin: registry.Plugin, more: t.Mapping[str, str] | None) -> t.Mapping[str, str] | None:
    """What a worker is sent beyond what every worker has: the plugin's API version may have modules of its own."""
    if plugin.installed is None:
        return more
    from ..sdk import versions
    from ..worker.bundle import BASE

    return {**versions.of(plugin.manifest).program(BASE), **(more or {})}


def _there(path: str) -> bool:
    """Whether there is anything of that name; what cannot be looked at is not taken for missing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def refuse_ungranted(plugin: registry.Plugin, operation: str) -> None:
    """An operation is routed to an installed plugin only where it was granted, whatever calls it would make.

    Raises:
        NexcageError: ``E_GRANT``.
    """
    if plugin.installed is None:
        return
    needs = OPERATIONS[operation].needs
    if not any(plugin.installed.granted.issuperset(names) for names in needs):
        wanted = " or ".join(" and ".join(names) for names in needs)
        message = f"the operation {operation} needs {wanted}, which {plugin.name} was not granted"
        raise NexcageError("E_GRANT", message, option="backend", value=plugin.backend, details={"plugin": plugin.name})


def require_root(what: str) -> None:
    """Refuse early, and say how to get there.

    Raises:
        NexcageError: ``E_PRIVILEGE``.
    """
    if os.geteuid() != 0:
        raise NexcageError(
            "E_PRIVILEGE", f"{what} needs root, and this task runs as uid {os.geteuid()}", value=os.geteuid(), remedy="set become: true on the task"
        )
