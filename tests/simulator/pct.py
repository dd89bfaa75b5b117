# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for ``pct exec``, ``push``, ``pull`` and ``status`` on a node of the simulator, for who comes over SSH.

A container's file system is a folder that the test makes; commands run in it by chroot, so this needs root. Whether a
container is there and runs, the simulator says. Arguments, streams, environment and exit codes are those of the real
one, with its traps: push and pull exit with 0 whatever happens, 255 and 2 may be pct's own or the command's.
It imports nothing of ours: ``install`` writes a program that only names this file.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import pwd
import shutil
import stat
import subprocess
import sys
import typing as t

CLEAN = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
USAGE = {
    "exec": "pct exec <vmid> [<extra-args>] [OPTIONS]",
    "push": "pct push <vmid> <file> <destination> [OPTIONS]",
    "pull": "pct pull <vmid> <path> <destination> [OPTIONS]",
    "status": "pct status <vmid> [OPTIONS]",
}
OPTIONS = {"exec": ("keep-env",), "push": ("perms", "user", "group"), "pull": ("perms", "user", "group"), "status": ()}
PROGRAM = """#!{python} -IS
import sys
sys.path.insert(0, {folder!r})
import pct
sys.exit(pct.main({url!r}, {secret!r}, {node!r}, {roots!r}, sys.argv[1:]))
"""


class Failed(Exception):
    """The command ends with this code and these words."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def install(program: pathlib.Path, url: str, secret: str, node: str, roots: pathlib.Path) -> None:
    """Writes the program ``pct`` of one node; ``roots`` has a folder for each container, named by its id."""
    folder = str(pathlib.Path(__file__).resolve().parent)
    program.write_text(PROGRAM.format(python=sys.executable, folder=folder, url=url, secret=secret, node=node, roots=str(roots)))
    program.chmod(0o755)


def parse(command: str, words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Options and arguments: whatever starts with a dash before ``--`` is an option of pct."""
    options: dict[str, str] = {}
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return options, [*plain, *rest]
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, sign, value = word.lstrip("-").partition("=")
        if name not in OPTIONS[command]:
            raise Failed(255, f"Unknown option: {name}\n400 unable to parse option\n{USAGE[command]}")
        options[name] = value if sign else rest.pop(0) if rest else ""
    return options, plain


class Node:
    """One node, as its ``pct`` sees it."""

    def __init__(self, url: str, secret: str, name: str, roots: str) -> None:
        self.url, self.secret, self.name, self.roots = url, secret, name, pathlib.Path(roots)

    def guest(self, vmid: str) -> dict[str, t.Any]:
        """What the simulator has of a container."""
        connection = self._connection()
        connection.request("POST", "/_sim", b'{"do": "look"}', {"X-Simulator": self.secret})
        found = json.load(connection.getresponse())["guests"].get(vmid)
        if found is None or found["kind"] != "lxc" or found["node"] != self.name:
            raise Failed(2, f"Configuration file 'nodes/{self.name}/lxc/{vmid}.conf' does not exist")
        return dict(found)

    def _connection(self) -> http.client.HTTPConnection:
        host = self.url.partition("://")[2]
        if self.url.startswith("http:"):
            return http.client.HTTPConnection(host, timeout=30)
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, timeout=30, context=context)

    def inside(self, vmid: str, path: str) -> pathlib.Path:
        return self.roots / vmid / path.lstrip("/")

    # ---- commands

    def status(self, _options: dict[str, str], words: list[str]) -> int:
        print("status: " + ("running" if self.guest(words[0])["running"] else "stopped"))
        return 0

    def exec(self, options: dict[str, str], words: list[str]) -> int:
        vmid, command = words[0], words[1:]
        if not command:
            raise Failed(255, "missing command at /usr/share/perl5/PVE/CLI/pct.pm line 246.")
        if not self.guest(vmid)["running"]:
            raise Failed(255, f"container '{vmid}' not running!")
        keep = options.get("keep-env", "1") == "1"
        env = {**(os.environ if keep else CLEAN), "container": "lxc", "TERM": os.environ.get("TERM", "linux") if keep else "linux"}

        def enter() -> None:
            os.chroot(self.roots / vmid)
            os.chdir("/")

        words_of = {127: "No such file or directory", 126: "Permission denied"}
        try:
            code = subprocess.run(command, env=env, preexec_fn=enter, check=False).returncode
        except (FileNotFoundError, PermissionError) as error:
            code = 127 if isinstance(error, FileNotFoundError) else 126
            raise Failed(code, f'lxc-attach: {vmid}: lxc_attach_run_command: {words_of[code]} - Failed to exec "{command[0]}"') from None
        return 128 - code if code < 0 else code

    def push(self, options: dict[str, str], words: list[str]) -> int:
        vmid, source, target = words
        if not self.guest(vmid)["running"]:
            raise Failed(255, "can only push files to a running CT")
        if os.path.isdir(source):
            return 0
        if not os.path.exists(source):
            raise Failed(0, f"failed to open {source} for reading")
        place, (uid, gid) = self.inside(vmid, target), self._owner(options)
        if not place.parent.is_dir():
            raise Failed(0, f"failed to create file: {target}: No such file or directory")
        shutil.copyfile(source, place)
        place.chmod(int(options.get("perms", "0644"), 8))
        os.chown(place, uid, gid)
        return 0

    def pull(self, options: dict[str, str], words: list[str]) -> int:
        vmid, source, target = words
        if not self.guest(vmid)["running"]:
            raise Failed(255, "can only pull files from a running CT")
        place = self.inside(vmid, source)
        if not place.exists() or stat.S_ISDIR(place.stat().st_mode):
            raise Failed(0, f"failed to open {source}: No such file or directory")
        shutil.copyfile(place, target)
        os.chmod(target, int(options.get("perms", "0644"), 8))
        return 0

    def _owner(self, options: dict[str, str]) -> tuple[int, int]:
        found = []
        for name in ("user", "group"):
            text = options.get(name, "0")
            if not text.isdigit():
                try:
                    text = str(pwd.getpwnam(text).pw_uid)
                except KeyError:
                    raise Failed(0, f"failed to get {'uid' if name == 'user' else 'gid'} for: {text}") from None
            found.append(int(text))
        return found[0], found[1]


def main(url: str, secret: str, name: str, roots: str, words: list[str]) -> int:
    """Runs one command; its exit code."""
    node = Node(url, secret, name, roots)
    commands = {"exec": node.exec, "push": node.push, "pull": node.pull, "status": node.status}
    if not words or words[0] not in commands:
        print(f"ERROR: unknown command 'pct {' '.join(words[:1])}'", file=sys.stderr)
        return 255
    try:
        options, plain = parse(words[0], words[1:])
        return commands[words[0]](options, plain)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return failure.code
