# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the operations and hooks of an installed plugin end, and the quarantine of one that keeps crashing.

The last outcomes and the figures lie in one file beside the plugin's record. Successes of operations that only read
are not written: a run that finds everything as it shall be writes nothing. Built-in plugins have no such file.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.effects import EFFECTS, OPERATIONS, READ
from ..model.errors import NexcageError
from ..model.hook import EVENTS
from ..worker.spawn import Ended
from . import records, settings

if t.TYPE_CHECKING:
    from .installed import Installed
    from .records import Record

    Call = t.Callable[[str, t.Mapping[str, t.Any]], t.Any]

FILE = "outcomes.json"
SCHEMA_VERSION = 1
RING = 20  # outcomes that are kept
FAULTS = 5  # that many within WINDOW open the breaker
WINDOW = 600.0  # seconds
HALF_OPEN = 900.0  # seconds after which one operation is let through
LOCK_SECONDS = 10.0

OK, ERROR, DEFECT, FAULT = "ok", "error", "defect", "fault"
KINDS = (OK, ERROR, DEFECT, FAULT)
DEFECTS = frozenset(("E_PLUGIN", "E_PROTOCOL", "E_CAPABILITY", "E_READ_ONLY"))  # the plugin's own doing, and its worker lives
DENIALS = frozenset(("E_CAPABILITY", "E_GRANT", "E_POLICY", "E_READ_ONLY"))
OTHER = "other"  # stands for all calls that do not exist

clock: t.Callable[[], float] = time.time  # seconds since 1970; tests set it


class Outcome(t.NamedTuple):
    """How one operation, or one hook, ended.

    Args:
        at: Seconds since 1970.
        operation: Such as ``create``; of a hook its event, such as ``container.pre_create``.
        kind: ``ok``; ``error`` for what host or task are to blame for; ``defect`` for what the plugin is; ``fault``
            where its worker crashed, hung, broke the protocol or went over a limit.
        code: Of the error, empty where there was none.
        digest: Of the package that ran.
        milliseconds: How long it took.
    """

    at: float
    operation: str
    kind: str
    code: str
    digest: str
    milliseconds: int


class Book(t.NamedTuple):
    """What is kept of one plugin.

    Args:
        outcomes: The last ones, the newest last.
        since: When the breaker opened, or the last trial failed, in seconds since 1970; 0 where it never did. Faults
            before it do not count again.
        trial: When an operation was let through whose end is not known yet; 0 where there is none.
        success: When an operation that is counted last succeeded; 0 where none did.
        totals: By operation and kind: how many; and ``milliseconds`` of all.
        hooks: The same by event; and how many ``timeouts`` and ``vetoes``.
        denied: By call and code: how many calls were refused.
    """

    outcomes: tuple[Outcome, ...] = ()
    since: float = 0.0
    trial: float = 0.0
    success: float = 0.0
    totals: t.Mapping[str, t.Mapping[str, int]] = {}
    denied: t.Mapping[str, t.Mapping[str, int]] = {}
    hooks: t.Mapping[str, t.Mapping[str, int]] = {}


class Watch:
    """One operation or hook of an installed plugin, for a ``with`` block around all of it; not for check mode.

    Args:
        layout: The host's folders.
        plugin: As it was loaded.
        operation: One of ``OPERATIONS``, or of ``EVENTS``.
        warnings: Gets what the operator should know and what no operation shall fail for.
        held: Whether this run holds the lock of all records already.

    Raises:
        NexcageError: ``E_QUARANTINED`` where it may not begin.
    """

    def __init__(self, layout: Layout, plugin: Installed, operation: str, warnings: list[str], held: bool = False) -> None:
        self.layout, self.name, self.operation, self.warnings, self.held = layout, plugin.record.name, operation, warnings, held
        self.vetoes = 0  # set to 1 where what the hook says, or that it fails, stops what is about to happen
        self._digest = plugin.release.digest
        self._quarantined = bool(plugin.record.quarantined)
        self._trial = self._running = False
        self._denied: list[tuple[str, str]] = []
        self._begin = time.monotonic()

    def __enter__(self) -> Watch:
        if self._quarantined:
            self._trial = claim(self.layout, self.name)
        return self

    def around(self, call: Call) -> Call:
        """The same function for the calls of the plugin, which also counts those that are refused."""
        self._running = True

        def watched(name: str, params: t.Mapping[str, t.Any]) -> t.Any:
            try:
                return call(name, params)
            except NexcageError as error:
                if error.code in DENIALS:
                    self._denied.append((name, error.code))
                raise

        return watched

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Keep the outcome, where it is one that is kept."""
        if error is not None and not isinstance(error, NexcageError):
            return  # interrupted: it tells nothing of the plugin
        kind = _kind_of(error)
        reached = self._running and not _reads(self.operation)
        counted = reached or kind in (DEFECT, FAULT)
        if not (counted or self._trial or self._denied):
            return
        spent = int((time.monotonic() - self._begin) * 1000)
        outcome = Outcome(clock(), self.operation, kind, error.code if error is not None else "", self._digest, spent)
        try:
            reason = note(self.layout, self.name, outcome, self._trial, self._denied, counted, self.vetoes, self.held)
        except (NexcageError, OSError) as problem:
            self.warnings.append(f"the outcome of {self.operation} by {self.name} cannot be kept: {problem}")
            return
        if reason:
            self.warnings.append(f"{self.name} is quarantined: {reason}")


def _reads(operation: str) -> bool:
    """Whether an operation or hook changes nothing."""
    return EVENTS[operation].reads if operation in EVENTS else OPERATIONS[operation].kind == READ


def _kind_of(error: NexcageError | None) -> str:
    if error is None:
        return OK
    if isinstance(error, Ended):
        return FAULT
    return DEFECT if error.code in DEFECTS else ERROR


# ---- the breaker


def refuse(layout: Layout, record: Record, now: float | None = None) -> None:
    """Refuse a plugin in quarantine, unless it is time to try it again.

    Raises:
        NexcageError: ``E_QUARANTINED``.
    """
    book = read(layout, record.name)
    if not record.quarantined or _half_open(book, clock() if now is None else now):
        return
    wait = f", or wait: {HALF_OPEN / 60:g} minutes after that time one operation is let through" if book.since else ""
    raise NexcageError(
        "E_QUARANTINED",
        f"{record.name} may not be used: {record.quarantined}",
        value=record.name,  # which option leads to the plugin, the caller knows
        remedy=f"look at what it does, then: nexcage_plugin name={record.name} state=enabled{wait}",
    )


def _half_open(book: Book, now: float) -> bool:
    """Whether one operation may be tried; one whose end was never told blocks the next one as long as a failed one."""
    # without a time nobody knows how long it has been; a time that is still to come is from before the clock was set
    return book.since > 0 and not 0 <= now - book.since < HALF_OPEN and not 0 <= now - book.trial < HALF_OPEN


def claim(layout: Layout, name: str, now: float | None = None) -> bool:
    """Be the one operation that is let through; ``False`` where the quarantine has ended meanwhile.

    Raises:
        NexcageError: ``E_QUARANTINED`` where another one is; ``E_SPACE``, ``E_STATE``, ``E_LOCKED``.
    """
    now = clock() if now is None else now
    with _lock(layout, name):
        record = records.read(layout, name)
        if record is None or not record.quarantined:
            return False
        refuse(layout, record, now)
        _write(layout, name, read(layout, name)._replace(trial=now))
    return True


def note(
    layout: Layout,
    name: str,
    outcome: Outcome,
    trial: bool = False,
    denied: t.Sequence[tuple[str, str]] = (),
    counted: bool = True,
    vetoes: int = 0,
    held: bool = False,
) -> str:
    """Keep an outcome, and open or close the breaker where it says so.

    Args:
        layout: The host's folders.
        name: The plugin.
        outcome: How an operation ended.
        trial: Whether it was let through in spite of the quarantine.
        denied: Name and code of each call that was refused.
        counted: Whether the outcome belongs into the ring.
        vetoes: 1 where a hook stopped what was about to happen.
        held: Whether this run holds the lock of all records already.

    Returns:
        Why the plugin is in quarantine from now on; empty where it is not.

    Raises:
        NexcageError: ``E_SPACE``, ``E_STATE``, ``E_LOCKED``.
    """
    with _lock(layout, name):
        figures = _figures(layout)
        book = read(layout, name)
        if counted:
            book = _counted(book, outcome, vetoes, figures)
        if figures:
            book = _refused(book, denied)
        if trial:
            book = book._replace(trial=0.0)
        faults = _faults(book, outcome)
        tripped = outcome.kind == FAULT and (trial or faults >= FAULTS)
        healed = trial and outcome.kind == OK
        if not tripped and not healed:
            _write(layout, name, book)
            return ""
        reason = _reason(outcome, faults, trial) if tripped else ""
        try:
            with contextlib.nullcontext() if held else records.lock(layout, LOCK_SECONDS):
                _write(layout, name, book._replace(since=outcome.at) if tripped else book)
                return reason if _mark(layout, name, outcome.digest, reason) else ""
        except NexcageError as error:
            if error.code == "E_LOCKED":  # the next outcome decides it
                _write(layout, name, book)
            raise


def _mark(layout: Layout, name: str, digest: str, reason: str) -> bool:
    """Write into the record whether the plugin is in quarantine; not where another package is active by now."""
    record = records.read(layout, name)
    if record is None or record.active is None or record.active.digest != digest:
        return False
    if record.quarantined != reason:
        records.write(layout, record._replace(quarantined=reason))
    return True


def _faults(book: Book, outcome: Outcome) -> int:
    """How many operations of the same package ended the worker within the window that ends now."""
    return sum(
        entry.kind == FAULT and entry.digest == outcome.digest and entry.at > book.since and 0 <= outcome.at - entry.at <= WINDOW for entry in book.outcomes
    )


def _reason(outcome: Outcome, faults: int, trial: bool) -> str:
    what = "tried again, it failed again" if trial else f"{faults} of its operations crashed, hung or broke the rules within {WINDOW / 60:g} minutes"
    return f"{what}, the last one with {outcome.code} in {outcome.operation}; since {moment(outcome.at)}"


def moment(seconds: float) -> str | None:
    """ISO 8601 in UTC, ``None`` for 0."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else None


# ---- the file


def _counted(book: Book, outcome: Outcome, vetoes: int, figures: bool) -> Book:
    book = book._replace(outcomes=(*book.outcomes, outcome)[-RING:])
    if not figures:
        return book
    hook = outcome.operation in EVENTS
    totals = {operation: dict(row) for operation, row in (book.hooks if hook else book.totals).items()}
    row = totals.setdefault(outcome.operation, {})
    more = {"timeouts": int(outcome.kind == FAULT and outcome.code == "E_TIMEOUT"), "vetoes": vetoes} if hook else {}
    for key, count in {outcome.kind: 1, "milliseconds": outcome.milliseconds, **more}.items():
        row[key] = row.get(key, 0) + count
    book = book._replace(success=outcome.at if outcome.kind == OK else book.success)
    return book._replace(hooks=totals) if hook else book._replace(totals=totals)


def _refused(book: Book, denied: t.Sequence[tuple[str, str]]) -> Book:
    refused = {call: dict(codes) for call, codes in book.denied.items()}
    for name, code in denied:
        codes = refused.setdefault(_known(name), {})
        codes[code] = codes.get(code, 0) + 1
    return book._replace(denied=refused)


def _known(call: str) -> str:
    """The name of a broker call; all that a plugin makes up is one."""
    from ..model.effects_extra import EXTRA

    return call if call in EFFECTS or call in EXTRA else OTHER


def figures_kept(layout: Layout) -> bool:
    """The setting ``enable_plugin_metrics``.

    Raises:
        NexcageError: As ``configuration.manager``.
    """
    if "plugin_manager" not in settings.load(layout)[1]:
        return True
    from . import configuration

    return bool(configuration.manager(layout)["enable_plugin_metrics"])


def _figures(layout: Layout) -> bool:
    try:
        return figures_kept(layout)
    except NexcageError:  # whoever uses the file says what is wrong with it; the breaker works all the same
        return False


def read(layout: Layout, name: str) -> Book:
    """What is kept of a plugin; nothing where the file is damaged, which is no reason to fail."""
    try:
        content = store.read_json(f"{records.folder(layout, name)}/{FILE}")
        if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
            return Book()
        outcomes = tuple(Outcome(*_typed(entry)) for entry in content["outcomes"])[-RING:]
        since, trial, success = (float(content[key]) for key in ("since", "trial", "success"))
        hooks = {event: row for event, row in _table(content.get("hooks") or {}).items() if event in EVENTS}
        return Book(outcomes, since, trial, success, _table(content["totals"]), _table(content["denied"]), hooks)
    except (NexcageError, KeyError, TypeError, ValueError, AttributeError):
        return Book()


def _typed(entry: t.Any) -> tuple[float, str, str, str, str, int]:
    at, operation, kind, code, digest, milliseconds = entry
    return float(at), str(operation), str(kind), str(code), str(digest), int(milliseconds)


def _table(content: t.Any) -> dict[str, dict[str, int]]:
    return {str(key): {str(name): int(number) for name, number in row.items()} for key, row in content.items()}


def _write(layout: Layout, name: str, book: Book) -> None:
    """Only under the lock: whatever else was begun to be written is what a killed run left."""
    folder = records.folder(layout, name)
    for entry in os.listdir(folder):
        if entry.startswith(FILE) and entry.endswith(store.TEMPORARY_SUFFIX):
            store.remove(f"{folder}/{entry}")
    store.write_json(f"{folder}/{FILE}", {"schema_version": SCHEMA_VERSION, **book._asdict()}, sync=False)


def _lock(layout: Layout, name: str) -> store.Lock:
    lock = store.Lock(f"{layout.runtime}/locks/.outcomes-{name}", LOCK_SECONDS, f"process {os.getpid()}: outcomes of {name}")
    lock.discard = True
    return lock
