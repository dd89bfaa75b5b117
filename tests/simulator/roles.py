# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The privileges of each version, and the roles that are always there."""

from __future__ import annotations

_DATASTORE = "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit"
_VM = (
    "VM.Allocate VM.Audit VM.Backup VM.Clone VM.Config.CDROM VM.Config.CPU VM.Config.Cloudinit VM.Config.Disk VM.Config.HWType VM.Config.Memory "
    "VM.Config.Network VM.Config.Options VM.Console VM.Migrate VM.PowerMgmt VM.Snapshot VM.Snapshot.Rollback"
)
_AGENT_USER = "VM.GuestAgent.Audit VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite"
_AGENT = _AGENT_USER + " VM.GuestAgent.Unrestricted"
_ADMIN = (
    f"{_DATASTORE} {_VM} Group.Allocate Mapping.Audit Mapping.Use Pool.Allocate Pool.Audit Realm.AllocateUser SDN.Allocate SDN.Audit SDN.Use "
    "Sys.Audit Sys.Console Sys.Syslog User.Modify"
)
_ALL = f"{_ADMIN} Mapping.Modify Permissions.Modify Realm.Allocate Sys.AccessNetwork Sys.Incoming Sys.Modify Sys.PowerMgmt"
# Of all versions, of 8 alone, since 9.
_ROLES: dict[str, tuple[str, str, str]] = {
    "Administrator": (_ALL, "VM.Monitor", _AGENT + " VM.Replicate"),
    "NoAccess": ("", "", ""),
    "PVEAdmin": (_ADMIN, "VM.Monitor", _AGENT + " VM.Replicate"),
    "PVEAuditor": ("Datastore.Audit Mapping.Audit Pool.Audit SDN.Audit Sys.Audit VM.Audit", "", "VM.GuestAgent.Audit"),
    "PVEDatastoreAdmin": (_DATASTORE, "", ""),
    "PVEDatastoreUser": ("Datastore.AllocateSpace Datastore.Audit", "", ""),
    "PVEMappingAdmin": ("Mapping.Audit Mapping.Modify Mapping.Use", "", ""),
    "PVEMappingUser": ("Mapping.Audit Mapping.Use", "", ""),
    "PVEPoolAdmin": ("Pool.Allocate Pool.Audit", "", ""),
    "PVEPoolUser": ("Pool.Audit", "", ""),
    "PVESDNAdmin": ("SDN.Allocate SDN.Audit SDN.Use", "", ""),
    "PVESDNUser": ("SDN.Audit SDN.Use", "", ""),
    "PVESysAdmin": ("Sys.Audit Sys.Console Sys.Syslog", "", ""),
    "PVETemplateUser": ("VM.Audit VM.Clone", "", ""),
    "PVEUserAdmin": ("Group.Allocate Realm.AllocateUser User.Modify", "", ""),
    "PVEVMAdmin": (_VM, "VM.Monitor", _AGENT + " VM.Replicate"),
    "PVEVMUser": ("VM.Audit VM.Backup VM.Config.CDROM VM.Config.Cloudinit VM.Console VM.PowerMgmt", "", _AGENT_USER),
}
CAPS = {
    "access": ("/access", "User.Modify Group.Allocate Permissions.Modify"),
    "dc": ("/", "Sys.Audit Sys.Modify SDN.Allocate SDN.Audit SDN.Use"),
    "mapping": ("/mapping", "Mapping.Audit Mapping.Modify Mapping.Use Permissions.Modify"),
    "nodes": ("/nodes", "Permissions.Modify Sys.AccessNetwork Sys.Audit Sys.Console Sys.Incoming Sys.Modify Sys.PowerMgmt Sys.Syslog"),
    "sdn": ("/sdn", "Permissions.Modify SDN.Allocate SDN.Audit SDN.Use"),
    "storage": ("/storage", "Permissions.Modify " + _DATASTORE),
    "vms": ("/vms", f"Permissions.Modify VM.Monitor VM.Replicate {_AGENT} {_VM}"),
}


def built_in(version: str) -> dict[str, set[str]]:
    """The roles of a version and their privileges."""
    old = version.startswith("8.")
    return {name: set(f"{common} {eight if old else nine}".split()) for name, (common, eight, nine) in _ROLES.items()}
