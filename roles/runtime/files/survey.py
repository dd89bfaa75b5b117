# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at a host and say what the role ``runtime`` has to do there, and what stands in its way.

The only argument is a JSON object written by ``vars/main.yml``; the answer is a JSON object on stdout.
Nothing is changed: files are read, and ``<command> --version`` and ``apt-cache policy`` are run.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import typing as t

Values = dict[str, t.Any]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SCHEMES = ("https://", "http://", "file:///")
# What follows the numbers counts only where it means "not yet this version"; "+ds1" or "-1+deb12u1" does not.
VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:\.\d+)*(?:[-~.]?(alpha|beta|dev|pre|rc)[-.]?(\d*))?")
CAP_SYS_ADMIN = 1 << 21  # linux/capability.h
COMMAND_TIMEOUT = 20  # seconds


def version_key(text: str) -> tuple[int, int, int, str, int] | None:
    """The first version number in ``text`` as a tuple that sorts as versions do; None where there is none."""
    found = VERSION.search(text)
    if found is None:
        return None
    major, minor, patch, stage, number = found.groups()
    return int(major), int(minor), int(patch or 0), stage or "~", int(number or 0)  # "~" sorts after every letter


def version_text(text: str) -> str:
    """The first version number in ``text`` as it stands there; empty where there is none."""
    found = VERSION.search(text)
    return found.group(0) if found else ""


def at_least(text: str, minimum: str) -> bool:
    """True where the version in ``text`` is ``minimum`` or newer; without a minimum always."""
    have, want = version_key(text), version_key(minimum)
    return want is None or (have is not None and have >= want)


def read(path: str) -> str:
    """The text of a file of the kernel; empty where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def output_of(*command: str) -> str:
    """What a command prints on stdout and stderr; empty where it cannot be run."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


class Components:
    """The runtimes and helpers that the operator asked for."""

    def __init__(self, request: Values) -> None:
        self.request = request
        self.problems: list[dict[str, str]] = []
        self.found: dict[str, Values] = {}
        self.wanted_packages: dict[str, list[str]] = {}
        self.downloads: list[Values] = []

    def problem(self, subject: str, message: str, remedy: str) -> None:
        """Add a reason to refuse: about what, what is missing, how to get it."""
        self.problems.append({"subject": subject, "message": message, "remedy": remedy})

    def check(self) -> None:
        """Judge every component, then ask the package manager about those that are missing or too old."""
        names = [*self.request["runtimes"], *self.request["helpers"]]
        for name in self.request["downloads"]:
            if name not in names:
                self.problem(
                    f"runtime_downloads.{name}",
                    "is neither in runtime_runtimes nor in runtime_helpers, so nothing would use it",
                    f"add {name!r} to one of the two lists, or remove it here",
                )
        for name in self.request["minimum_versions"]:
            if version_key(str(self.request["minimum_versions"][name])) is None:
                self.problem(
                    f"runtime_minimum_versions.{name}",
                    f"{self.request['minimum_versions'][name]!r} is no version",
                    "write it as numbers with dots, as in '1.0.0' (in quotes)",
                )
        for name in dict.fromkeys(names):
            if self._known(name):
                self._check_one(name)
        if self.wanted_packages:
            self._check_candidates()

    def _known(self, name: str) -> bool:
        option = "runtime_runtimes" if name in self.request["runtimes"] else "runtime_helpers"
        table = self.request["components"]
        if name in table and (table[name].get("kind", "helper") == "runtime") != (option == "runtime_runtimes"):
            other = "runtime_helpers" if option == "runtime_runtimes" else "runtime_runtimes"
            self.problem(option, f"{name!r} belongs to the other list", f"move it to {other}")
            return False
        if not NAME.fullmatch(name):
            self.problem(option, f"{name!r} is no name", "use lower-case letters, digits, dots, dashes and underscores")
            return False
        if name in self.request["downloads"]:
            return self._valid_download(name)
        if name not in table:
            kind = option[len("runtime_") : -1]
            known = ", ".join(sorted(n for n in table if table[n].get("kind", "helper") == kind))
            self.problem(
                option,
                f"{name!r} is no {kind} that this role knows",
                f"use one of: {known}; or say where it comes from in runtime_downloads.{name} (url and sha256)",
            )
        return name in table

    def _valid_download(self, name: str) -> bool:
        download, option = self.request["downloads"][name], f"runtime_downloads.{name}"
        if not isinstance(download, dict):
            self.problem(option, f"{download!r} is no download", "write it as a dictionary with the keys url and sha256")
            return False
        before = len(self.problems)
        if not str(download.get("url", "")).startswith(SCHEMES):
            self.problem(f"{option}.url", f"{download.get('url')!r} is no address", "start it with https:// or file:///")
        if not SHA256.fullmatch(str(download.get("sha256", "")).lower()):
            self.problem(
                f"{option}.sha256",
                f"{download.get('sha256')!r} is no SHA-256 checksum",
                "give the 64 hexadecimal digits that `sha256sum FILE` prints",
            )
        if self._target(name) is None:
            self.problem(option, f"{name} cannot come from an address", "remove it here; its package is used")
        return len(self.problems) == before

    def _row(self, name: str) -> Values:
        row: Values = self.request["components"].get(name, {})
        return row

    def _minimum(self, name: str) -> str:
        return str(self.request["minimum_versions"].get(name, self._row(name).get("minimum", "")))

    def _target(self, name: str) -> str | None:
        """Where a downloaded component goes."""
        row = self._row(name)
        if "files" not in row:
            return os.path.join(self.request["download_folder"], row.get("command", name))
        return t.cast("str | None", row.get("download_target"))

    def _candidates(self, name: str) -> list[str]:
        row = self._row(name)
        if name in self.request["downloads"]:
            return [t.cast("str", self._target(name))]
        if "files" in row:
            return list(row["files"])
        folders = [*self.request["folders"], *row.get("folders", [])]
        return [os.path.join(folder, row.get("command", name)) for folder in folders]

    def _check_one(self, name: str) -> None:
        found: Values = {"path": None, "version": "", "minimum": self._minimum(name), "state": "missing"}
        self.found[name] = found
        candidates = self._candidates(name)
        if name in self.request["downloads"] and not self._downloaded(name):
            found["state"] = "download"
            if self.request["stage"] == "plan":
                return
            candidates = [self.downloads[-1]["staged"]]
        found["path"] = next((path for path in candidates if os.path.isfile(path)), None)
        if found["path"] is None:
            self._want_package(name, f"{name} is not installed")
        elif self._safe(name, found["path"]):
            self._check_version(name, found)

    def _downloaded(self, name: str) -> bool:
        """True where the file that the operator wants lies there already, with the right owner and mode."""
        target, download = t.cast("str", self._target(name)), self.request["downloads"][name]
        entry: Values = {"name": name, "url": download["url"], "sha256": download["sha256"].lower(), "target": target}
        entry["mode"] = "0644" if "files" in self._row(name) else "0755"
        entry["staged"] = os.path.join(self.request["staging_folder"], os.path.basename(target))
        try:
            status = os.lstat(target)
            with open(target, "rb") as stream:
                digest = hashlib.sha256(stream.read()).hexdigest()
        except OSError:
            status, digest = None, ""
        rights = status and (stat.S_ISREG(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        if digest == entry["sha256"] and rights == (True, int(entry["mode"], 8), 0, 0):
            return True
        self.downloads.append(entry)
        return False

    def _safe(self, name: str, path: str) -> bool:
        """Only a file that root alone can change is run as root."""
        status = os.stat(path)
        executable = "files" in self._row(name) or status.st_mode & 0o111
        if status.st_uid == 0 and not status.st_mode & 0o022 and executable:
            return True
        self.found[name]["state"] = "unsafe"
        wanted = "belong to root, be executable, and be writable by nobody else"
        self.problem(
            name,
            f"{path} has owner {status.st_uid} and mode {stat.S_IMODE(status.st_mode):04o}; it must {wanted}",
            f"`chown root:root {path}; chmod 0755 {path}` if you trust it, or remove it",
        )
        return False

    def _check_version(self, name: str, found: Values) -> None:
        if "files" in self._row(name):
            found["state"] = "ready"
            return
        printed = output_of(found["path"], "--version")
        found["version"] = version_text(printed)
        if not found["version"]:
            found["state"] = "broken"
            self.problem(
                name,
                f"`{found['path']} --version` prints no version but {printed.strip()[:200]!r}",
                f"see whether it is {name} for this architecture, and install it again",
            )
        elif at_least(found["version"], found["minimum"]):
            found["state"] = "ready"
        else:
            found["state"] = "outdated"
            self._outdated(name, f"is version {found['version']}, needed is {found['minimum']} or newer")

    def _outdated(self, name: str, reason: str) -> None:
        path = self.found[name]["path"]
        if name in self.request["downloads"]:
            option = f"runtime_downloads.{name}"
            self.problem(option, f"{self.request['downloads'][name]['url']} {reason}", "give url and sha256 of a newer file")
        elif path.startswith("/usr/local/"):  # found before the package's folder, so a newer package would not help
            self.problem(name, f"{path} {reason}", f"remove or update it, or {self._elsewhere(name, 'a newer file')}")
        else:
            self._want_package(name, f"{path} {reason}")

    def _elsewhere(self, name: str, what: str = "the file") -> str:
        return f"say where {what} comes from in runtime_downloads.{name} (url and sha256)"

    def _want_package(self, name: str, reason: str) -> None:
        packages = self.request["packages"].get(name, [])
        if packages and self.request["stage"] != "verify":
            self.wanted_packages[name] = packages
            self.found[name]["reason"] = reason
            return
        remedy = self._elsewhere(name)
        if not packages:
            reason += f", and this role knows no package of it on {self.request['distribution']}"
            remedy = f"install it by hand so that it lies in {self.request['folders'][0]}, or " + remedy
        self.problem(name, reason, remedy)

    def lists_are_missing(self) -> bool:
        """True where apt has never fetched its package lists, as in a fresh minimal image."""
        return self.request["package_manager"] == "apt" and not glob.glob("/var/lib/apt/lists/*_Packages*")

    def _check_candidates(self) -> None:
        """Refuse now what apt could not deliver, instead of half-way through."""
        if self.request["package_manager"] != "apt" or self.lists_are_missing():
            return
        packages = [package for wanted in self.wanted_packages.values() for package in wanted]
        offers: dict[str, str] = {}
        package = ""
        for line in output_of("apt-cache", "policy", *dict.fromkeys(packages)).splitlines():
            if line.endswith(":") and not line.startswith(" "):
                package = line[:-1]
            elif line.startswith("  Candidate: ") and "(none)" not in line:
                offers[package] = line.split()[-1].split(":")[-1]
        for name, wanted in list(self.wanted_packages.items()):
            self._judge_offer(name, wanted, offers)

    def _judge_offer(self, name: str, wanted: list[str], offers: dict[str, str]) -> None:
        absent = [package for package in wanted if package not in offers]
        minimum, reason = self.found[name]["minimum"], self.found[name]["reason"]
        if absent:
            self.problem(
                name,
                f"{reason}, and no configured repository has the package {', '.join(absent)}",
                "run `apt-get update`; enable the repository (on Ubuntu: universe); or " + self._elsewhere(name),
            )
        elif not at_least(offers[wanted[0]], minimum):
            self.problem(
                name,
                f"{reason}; {self.request['distribution']} offers only {offers[wanted[0]]}, needed is {minimum} or newer",
                f"use a newer release of the distribution, or {self._elsewhere(name)}",
            )
        else:
            return
        del self.wanted_packages[name]


class Host:
    """The system itself, measured; ``vars/requirements.yml`` judges it."""

    def __init__(self, state_folder: str) -> None:
        self.state_folder = state_folder
        self.mounts = [line.split() for line in read("/proc/self/mountinfo").splitlines()]

    def facts(self) -> Values:
        """Everything that the requirements speak of; sizes in MiB."""
        capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)", read("/proc/self/status"), re.M)
        folder = self.state_folder
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        space = os.statvfs(folder)
        return {
            "root": os.geteuid() == 0,
            "sys_admin": bool(capabilities and int(capabilities.group(1), 16) & CAP_SYS_ADMIN),
            "namespaces": [name for name in os.listdir("/proc/self/ns") if name.isalpha()],
            "seccomp_actions": read("/proc/sys/kernel/seccomp/actions_avail").split(),
            "cgroup": self.cgroup(),
            "free_mib": space.f_bavail * space.f_frsize // (1 << 20),
            "overlay": "overlay" in read("/proc/filesystems").split() or self._overlay_module(),
            "state_file_system": self._file_system(folder),
        }

    def cgroup(self) -> Values:
        """The mode (v1, v2, hybrid, none), the controllers that set limits, and those of the v2 tree beside v1."""
        legacy: set[str] = set()
        unified: str | None = None
        for fields in self.mounts:
            kind, options = fields[fields.index("-") + 1], fields[-1]
            if kind == "cgroup":
                legacy |= {name for name in options.split(",") if name.isalpha() and name not in ("rw", "ro", "xattr")}
            elif kind == "cgroup2" and unified is None:
                unified = fields[4]
        modern = set(read(f"{unified}/cgroup.controllers").split()) if unified else set()
        modes = {(True, True): "hybrid", (True, False): "v1", (False, True): "v2", (False, False): "none"}
        return {"mode": modes[bool(legacy), bool(unified)], "controllers": sorted(legacy or modern), "beside": sorted(modern if legacy else ())}

    def _overlay_module(self) -> bool:
        return bool(glob.glob(f"/lib/modules/{os.uname().release}/kernel/fs/overlayfs/overlay.ko*"))

    def _file_system(self, folder: str) -> str:
        best, kind = "", ""
        for fields in self.mounts:
            inside = folder == fields[4] or folder.startswith(fields[4].rstrip("/") + "/")
            if inside and len(fields[4]) >= len(best):
                best, kind = fields[4], fields[fields.index("-") + 1]
        return kind


def survey(request: Values) -> Values:
    """The whole answer: the host, what is there, what is still to be done, and what stands in the way."""
    components = Components(request)
    components.check()
    packages = [package for wanted in components.wanted_packages.values() for package in wanted]
    return {
        "host": Host(request["state_folder"]).facts(),
        "components": components.found,
        "packages": list(dict.fromkeys(packages)),
        "downloads": components.downloads,
        "problems": components.problems,
        "lists_are_missing": bool(packages) and components.lists_are_missing(),
    }


if __name__ == "__main__":
    json.dump(survey(json.loads(sys.argv[1])), sys.stdout)
