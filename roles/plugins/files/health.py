# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the plugins of this host for their health, as the playbook nexcage.backends.health asks a fleet, and print a table.

Ends with 0 where none is unhealthy; with 1 where one is, or where something on disk is not as it was installed; with 2
where nobody could be asked.
"""

from __future__ import annotations

import argparse
import os
import sys
import typing as t

from ansible_collections.nexcage.backends.plugins.module_utils.manager.dispatch import Session
from ansible_collections.nexcage.backends.plugins.module_utils.manager.information import plugins
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError

FORMAT = "{:<20} {:<9} {:<9} {:<11} {}"


def main(arguments: t.Sequence[str] | None = None) -> int:
    """Do it; the exit code."""
    parser = argparse.ArgumentParser(prog="nexcage-health", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="PLUGIN", nargs="*", help="only these, such as crun")
    parser.add_argument("--verify", action="store_true", help="also verify what lies on disk of installed plugins")
    parser.add_argument("--metrics-file", metavar="PATH", help="write figures for Prometheus to this file")
    parser.add_argument("--quiet", action="store_true", help="print nothing where all is well")
    chosen = parser.parse_args(arguments)
    os.umask(0o022)
    try:
        with Session(Layout.for_user(os.geteuid(), os.environ), check_mode=False) as session:
            found = plugins(session, {"name": chosen.names or None, "verify": chosen.verify, "metrics_file": chosen.metrics_file})["plugins"]
    except (NexcageError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.writelines(f"warning: {warning}\n" for warning in session.warnings)
    bad = [plugin["name"] for plugin in found if plugin["health"]["status"] == "unhealthy" or _damage(plugin)]
    if bad or not chosen.quiet:
        rows = [FORMAT.format("PLUGIN", "VERSION", "TIER", "HEALTH", "PROBLEMS"), *(_row(plugin).rstrip() for plugin in found)]
        sys.stdout.writelines(f"{row}\n" for row in rows)
    if bad:
        sys.stderr.write(f"unhealthy: {', '.join(bad)}\n")
    return 1 if bad else 0


def _row(plugin: t.Mapping[str, t.Any]) -> str:
    health = plugin["health"]
    problems = "; ".join(" ".join(problem.split()) for problem in [*health["problems"], *_damage(plugin)])
    return FORMAT.format(plugin["name"], plugin["version"] or "-", plugin["sandbox"].get("tier", "-"), health["status"], problems)


def _damage(plugin: t.Mapping[str, t.Any]) -> list[str]:
    return [problem["message"] for problem in (plugin.get("verification") or {}).get("problems", ())]


if __name__ == "__main__":
    sys.exit(main())
