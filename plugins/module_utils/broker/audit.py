# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log: one JSON line of intent before each write effect, one of outcome after it.

Reads are only counted; the counts stand in the one line that closes a run. No line carries the value
of an argument, only names and a digest. What a plugin says by ``host.log`` as a warning or an error is a line too.

The file may be renamed at any time, as logrotate does: the next line goes into a new one. A line that is being written
at that very moment goes into the renamed one, which must not be compressed at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
import typing as t

from ..model.errors import NexcageError

LINE_LIMIT = 8192  # bytes, newline included
TEXT_LIMIT = 256  # characters of one text in a line
REFUSAL_LIMIT = 100  # lines of refused calls per run: a hostile plugin cannot fill the disk with them
# A full disk must not keep anybody from emptying it.
UNSTOPPABLE = frozenset(("oci.stop", "oci.kill", "oci.delete"))

_encode = json.JSONEncoder(separators=(",", ":"), default=repr).encode


class Audit:
    """One run's part of the audit log; nothing touches the disk before the first line.

    Args:
        path: The log file (``Layout.audit``); ``None`` writes nothing at all, as in check mode.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.run = os.urandom(8).hex()
        self.reads: dict[str, int] = {}
        self.writes = 0
        self.refusals = 0
        self.spared = 0
        self.remarks = 0
        self.warnings: list[str] = []
        self._sequence = 0
        self._file = -1

    def count(self, call: str) -> None:
        """Count one read."""
        self.reads[call] = self.reads.get(call, 0) + 1

    def intent(self, call: str, arguments: t.Mapping[str, t.Any], context: t.Mapping[str, t.Any]) -> int:
        """Write that an effect is about to happen, and return its sequence number in this run.

        Raises:
            NexcageError: ``E_AUDIT`` where the line cannot be written, so that the effect does not
                happen. Calls that free resources go on with a warning and a line in syslog.
        """
        self._sequence += 1
        self.writes += 1
        failure = self._write(self._line("intent", self._sequence, call, arguments, context))
        if failure and call not in UNSTOPPABLE:
            raise NexcageError(
                "E_AUDIT",
                f"{call} was not carried out: the audit log cannot be written: {failure}",
                value=self.path,
                details={"path": self.path},
            )
        return self._sequence

    def outcome(self, sequence: int, call: str, seconds: float, error: str | None = None) -> None:
        """Write how the effect of that intent ended; ``error`` is its error code or exception's name.

        A line that cannot be written is a warning: the effect has happened.
        """
        record = self._record("outcome", sequence, call)
        record.update(ok=error is None, ms=round(seconds * 1000, 1))
        if error is not None:
            record["error"] = error
        self._write(record)

    def refusal(self, call: str, code: str, context: t.Mapping[str, t.Any], rule: str | None = None, enforced: bool = True) -> None:
        """Write that a call, or an operation, was refused; only the first ``REFUSAL_LIMIT`` of a run are written.

        Args:
            call: Its name.
            code: The error code.
            context: As for an intent.
            rule: Id of the policy's rule that did it.
            enforced: ``False`` where the policy only watches, and it went on.
        """
        self.refusals += enforced
        self.spared += not enforced
        if self.refusals + self.spared <= REFUSAL_LIMIT:
            record = self._record("refusal" if enforced else "would_refuse", 0, call)
            record.update(_texts({**context, "rule": rule}), error=code)
            self._write(record)

    def remark(self, level: str, message: str, context: t.Mapping[str, t.Any]) -> None:
        """Write what a plugin said by ``host.log``; the caller bounds how often, and has taken out the secrets.

        Nothing is said where that is not possible: the result has it, and nothing happened.
        """
        record = self._record("log", 0, "")
        record.update(_texts({**context, "level": level, "message": message}))
        self.remarks += self._write(record, quiet=True) is None

    def close(self, context: t.Mapping[str, t.Any] | None = None) -> None:
        """Write the run's one closing line with its counts, if it did anything, and close the file.

        A run that only read says nothing where that line cannot be written.
        """
        if self.reads or self.happened:
            record = self._record("run", 0, "")
            spared = {"would_refuse": self.spared} if self.spared else {}
            record.update(_texts(context or {}), reads=self.reads, writes=self.writes, refusals=self.refusals, **spared)
            self._write(record, quiet=not self.happened)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self.reads, self.writes, self.refusals, self.spared, self.remarks = {}, 0, 0, 0, 0

    @property
    def happened(self) -> bool:
        """Whether there was anything but reads."""
        return bool(self.writes or self.refusals or self.spared or self.remarks)

    def _record(self, phase: str, sequence: int, call: str) -> dict[str, t.Any]:
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        record: dict[str, t.Any] = {"v": 1, "ts": moment, "run": self.run, "phase": phase}
        if sequence:
            record["seq"] = sequence
        if call:
            record["call"] = call[:TEXT_LIMIT]
        return record

    def _line(
        self,
        phase: str,
        sequence: int,
        call: str,
        arguments: t.Mapping[str, t.Any],
        context: t.Mapping[str, t.Any],
    ) -> dict[str, t.Any]:
        record = self._record(phase, sequence, call)
        record.update(_texts(context))
        if "name" in arguments:
            record["container"] = arguments["name"]
        record["args"] = [name for name in arguments if arguments[name] is not None]
        record["args_sha256"] = hashlib.sha256(_encode(dict(arguments)).encode("ascii")).hexdigest()
        return record

    def _write(self, record: dict[str, t.Any], quiet: bool = False) -> str | None:
        """Append one line by one system call; the reason where that is not possible."""
        if self.path is None:
            return None
        line = _encode(record)
        if len(line) >= LINE_LIMIT:
            kept = ("v", "ts", "run", "phase", "seq", "call", "container", "args_sha256", "error")
            line = _encode({**{key: record[key] for key in kept if key in record}, "shortened": True})
        data = line.encode("ascii") + b"\n"
        try:
            if self._file >= 0 and not self._there():
                os.close(self._file)  # rotated since the last line: this one belongs into the new file
                self._file = -1
            if self._file < 0:
                self._file, torn = _open(self.path)
                data = b"\n" + data if torn else data
            written = os.write(self._file, data)
            if written == len(data):
                return None
            os.close(self._file)  # opened anew for the next line, which then ends this torn one
            self._file, reason = -1, "no space left for a whole line"
        except OSError as error:
            reason = error.strerror or str(error)
        if not quiet:
            self._fall_back(data, reason)
        return reason

    def _there(self) -> bool:
        """Whether the open file is still the one of that name."""
        try:
            return os.path.samestat(os.fstat(self._file), os.lstat(t.cast(str, self.path)))
        except FileNotFoundError:
            return False

    def _fall_back(self, data: bytes, reason: str) -> None:
        warning = f"the audit log {self.path} cannot be written: {reason}"
        if warning not in self.warnings:
            self.warnings.append(warning)
        try:
            import syslog
        except ImportError:  # pragma: no cover - every supported Unix has it
            return
        syslog.syslog(syslog.LOG_WARNING, "nexcage audit: " + data.decode("ascii").strip()[:1024])


def _texts(context: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The context's values that are there, long texts cut."""
    return {key: value[:TEXT_LIMIT] if isinstance(value, str) else value for key, value in context.items() if value is not None}


def _open(path: str) -> tuple[int, bool]:
    """Open the log for appending; also whether its last line is torn. Makes folder and file where needed."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        file = os.open(path, flags, 0o600)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(0, "not a regular file")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            os.fchmod(file, 0o600)
        return file, facts.st_size > 0 and os.pread(file, 1, facts.st_size - 1) != b"\n"
    except OSError:
        os.close(file)
        raise
