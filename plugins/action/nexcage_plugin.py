# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the package of a plugin from the controller to the host, after a look at it here."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible.errors import AnsibleError
from ansible_collections.nexcage.backends.plugins.module_utils.broker import guarded
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, lockfile, package, packaging, packing, source
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.plugins.plugin_utils.delivery import Delivery, asked


class ActionModule(Delivery):
    """Runs ``nexcage_plugin``; with ``src`` on the controller, sends that there first."""

    _supports_async = False  # what is sent would be gone before it is read

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result; an error names the option at fault where a file is no good."""
        result: dict[str, t.Any] = super(Delivery, self).run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            files = {} if asked(arguments, "remote_src") else self._read(arguments)
        except NexcageError as error:
            return {**result, "failed": True, "msg": str(error), "error": error.as_dict()}
        try:
            if files:
                arguments.update({option: self._sent(*named) for option, named in files.items()}, remote_src=True)
            return {**result, **self.deliver(arguments, task_vars)}
        finally:
            t.cast("t.Any", self)._remove_tmp_path(self._connection._shell.tmpdir)

    def _read(self, arguments: t.Mapping[str, t.Any]) -> dict[str, tuple[str, bytes]]:
        """What has to go to the host: option to file name and bytes."""
        files: dict[str, tuple[str, bytes]] = {}
        for option, reader in (("src", read), ("lock_file", read_lock)):
            value = arguments.get(option)
            if value is None or source.is_address(str(value)):
                continue
            try:
                files[option] = reader(self._found(option, str(value)))
            except NexcageError as error:
                if error.option is None:
                    error.option, error.value = option, str(value)
                raise
        return files

    def _found(self, option: str, path: str) -> str:
        """The path on the controller, as for other modules: beside the playbook, in the role's ``files``."""
        try:
            return str(t.cast("t.Any", self)._find_needle("files", path))
        except AnsibleError as error:
            raise NexcageError("E_NOT_FOUND", str(error), option=option, value=path, remedy="check the path, or set remote_src: true") from None

    def _sent(self, name: str, data: bytes) -> str:
        """The path of the package on the host, in the task's own temporary folder."""
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        path = str(self._connection._shell.join_path(folder, name))
        with tempfile.TemporaryDirectory() as local:
            place = os.path.join(local, name)
            with open(place, "wb") as file:
                file.write(data)
            t.cast("t.Any", self)._transfer_file(place, path)
        t.cast("t.Any", self)._fixup_perms2((folder, path))
        return path


def read(path: str) -> tuple[str, bytes]:
    """File name and bytes of a package, or of the unsigned package that is made of a plugin's folder.

    Raises:
        NexcageError: What is wrong with it.
    """
    if os.path.isdir(path):
        content = _content(path)
        return package.file_name(content.manifest), packing.pack(content.files)
    data = guarded.read_any(path, archive.PACKED_LIMIT)
    found = package.from_bytes(data, path)
    return package.file_name(found.manifest), data


def _content(folder: str) -> packing.Content:
    """By both validators, which tells an author of all faults at once; by the one of every host where jsonschema is missing."""
    try:
        return packaging.validated(folder)
    except ImportError:
        return packing.collect(folder)


def read_lock(path: str) -> tuple[str, bytes]:
    """File name and bytes of a lock file.

    Raises:
        NexcageError: What is wrong with it.
    """
    data = guarded.read_any(path, lockfile.SIZE_LIMIT)
    lockfile.read(data, path)
    return lockfile.FILE, data
