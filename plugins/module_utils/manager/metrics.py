# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of plugins as a text file for Prometheus' node exporter; written where a task asks for it.

Labels are names of plugins, operations, events, broker calls and error codes, never of containers, so their number is bounded.
The format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import os
import typing as t

from ..broker import store
from ..model.config import Layout
from ..model.errors import NexcageError
from ..model.hook import EVENTS
from . import breaker, health, index
from .breaker import Book

SUFFIX = ".prom"  # the node exporter reads no other files


class Sample(t.NamedTuple):
    """One figure."""

    labels: t.Mapping[str, str]
    value: float
    suffix: str = ""


class Metric(t.NamedTuple):
    """One family of figures: name below ``nexcage_``, kind, what it means, and how it comes from plugins and their books."""

    name: str
    kind: str
    help: str
    samples: t.Callable[[t.Sequence[t.Mapping[str, t.Any]], t.Mapping[str, Book]], t.Iterable[Sample]]


def _info(plugins: t.Sequence[t.Mapping[str, t.Any]], _books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for plugin in plugins:
        facts = {key: str(plugin[key] or "") for key in ("version", "digest", "trust")}
        yield Sample({"plugin": plugin["name"], **facts, "tier": str(plugin["sandbox"].get("tier", ""))}, 1)


def _health(plugins: t.Sequence[t.Mapping[str, t.Any]], _books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for plugin in plugins:
        for status in health.STATES:
            yield Sample({"plugin": plugin["name"], "status": status}, plugin["health"]["status"] == status)


def _tiers(plugins: t.Sequence[t.Mapping[str, t.Any]], _books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for tier in sorted({str(plugin["sandbox"]["tier"]) for plugin in plugins if plugin["sandbox"]}):
        yield Sample({"tier": tier}, 1)


def _operations(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for operation, row in sorted(book.totals.items()):
            for kind in breaker.KINDS:
                yield Sample({"plugin": name, "op": operation, "outcome": kind}, row.get(kind, 0))


def _seconds(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for operation, row in sorted(book.totals.items()):
            labels = {"plugin": name, "op": operation}
            yield Sample(labels, row.get("milliseconds", 0) / 1000, "_sum")
            yield Sample(labels, sum(row.get(kind, 0) for kind in breaker.KINDS), "_count")


def _hooks(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for event, row in sorted(book.hooks.items()):
            for kind in breaker.KINDS:
                yield Sample({"plugin": name, "event": event, "outcome": kind}, row.get(kind, 0))


def _hook_seconds(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for event, row in sorted(book.hooks.items()):
            labels = {"plugin": name, "event": event}
            yield Sample(labels, row.get("milliseconds", 0) / 1000, "_sum")
            yield Sample(labels, sum(row.get(kind, 0) for kind in breaker.KINDS), "_count")


def _vetoes(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for event, row in sorted(book.hooks.items()):
            if EVENTS[event].veto:
                yield Sample({"plugin": name, "event": event}, row.get("vetoes", 0))


def _denied(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        for call, codes in sorted(book.denied.items()):
            for code, count in sorted(codes.items()):
                yield Sample({"plugin": name, "call": call, "reason": code}, count)


def _quarantined(plugins: t.Sequence[t.Mapping[str, t.Any]], _books: object) -> t.Iterator[Sample]:
    for plugin in plugins:
        yield Sample({"plugin": plugin["name"]}, bool(plugin["quarantined"]))


def _success(_plugins: object, books: t.Mapping[str, Book]) -> t.Iterator[Sample]:
    for name, book in books.items():
        if book.success:
            yield Sample({"plugin": name}, book.success)


METRICS = (
    Metric("plugin_info", "gauge", "The plugins of this host; always 1. The tier is that of the worker that was asked for its health.", _info),
    Metric("plugin_health", "gauge", "1 for the status that the plugin has now.", _health),
    Metric("plugin_quarantined", "gauge", "1 where the plugin may not be used because it keeps crashing.", _quarantined),
    Metric("sandbox_tier", "gauge", "1 for each tier in which workers ran now.", _tiers),
    Metric("operations_total", "counter", "Operations of installed plugins; those that only read and succeed are not counted.", _operations),
    Metric("operation_seconds", "summary", "How long the operations took that operations_total counts.", _seconds),
    Metric("hooks_total", "counter", "Hooks of installed plugins that were told of an event; those that only read and succeed are not counted.", _hooks),
    Metric("hook_seconds", "summary", "How long the hooks took that hooks_total counts.", _hook_seconds),
    Metric("hook_vetoes_total", "counter", "How often a hook stopped what was about to happen.", _vetoes),
    Metric("capability_denied_total", "counter", "Broker calls of installed plugins that were refused.", _denied),
    Metric("last_success_timestamp_seconds", "gauge", "When an operation or a hook that is counted last succeeded.", _success),
)
INDEX = ("index_age_seconds", "gauge", "Seconds since an index of plugins last brought something new to this host.")


def index_age(layout: Layout) -> float | None:
    """Seconds since an index last brought something new; ``None`` where this host has seen none."""
    try:
        return max(0.0, breaker.clock() - os.stat(f"{layout.state}/{index.SEEN}").st_mtime)
    except OSError:
        return None


def render(plugins: t.Sequence[t.Mapping[str, t.Any]], books: t.Mapping[str, Book], age: float | None = None) -> str:
    """The text.

    Args:
        plugins: As ``nexcage_plugin_info`` returns them.
        books: What is kept of the installed ones, by name.
        age: As of :func:`index_age`.
    """
    lines: list[str] = []
    aged = Metric(*INDEX, lambda _plugins, _books: [] if age is None else [Sample({}, age)])
    for metric in (*METRICS, aged):
        samples = list(metric.samples(plugins, books))
        if samples:
            lines += [f"# HELP nexcage_{metric.name} {metric.help}", f"# TYPE nexcage_{metric.name} {metric.kind}"]
            lines += [_line(metric.name, sample) for sample in samples]
    return "".join(line + "\n" for line in lines)


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return f"nexcage_{name}{sample.suffix}" + (f"{{{labels}}}" if labels else "") + f" {float(sample.value):.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def check(layout: Layout, path: str) -> None:
    """Refuse a file that cannot be meant, before anybody is asked anything.

    Raises:
        NexcageError: ``E_INVALID``, ``E_NOT_FOUND``; ``E_DISABLED`` where the host keeps no figures.
    """
    if not path.startswith("/") or not path.endswith(SUFFIX):
        remedy = f"give the path of a file in the folder of the node exporter's textfile collector, with the ending {SUFFIX}"
        raise NexcageError("E_INVALID", f"not an absolute path that ends in {SUFFIX}", option="metrics_file", value=path, remedy=remedy)
    if not os.path.isdir(os.path.dirname(path)):
        raise NexcageError("E_NOT_FOUND", "there is no such folder", option="metrics_file", value=path, remedy=f"make the folder {os.path.dirname(path)}")
    if not breaker.figures_kept(layout):
        message = "this host keeps no figures of plugins: plugin_manager.enable_plugin_metrics is false"
        raise NexcageError("E_DISABLED", message, option="metrics_file", value=path, remedy="set it to true, or leave metrics_file out")


def write(path: str, text: str) -> None:
    """Put the text where everybody may read it; a reader sees the old or the new one, and a link is replaced, not followed.

    Raises:
        NexcageError: ``E_STATE`` or ``E_SPACE``.
    """
    store.atomic_write(path, text.encode("utf-8"), mode=0o644, sync=False)
