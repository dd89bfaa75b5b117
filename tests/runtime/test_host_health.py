# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that the role ``plugins`` puts on a host for its timer: alone with the system's Python, and with nothing else of the collection."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import typing as t

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible_collections.nexcage.backends.tests.support import exposition, modules, releases
from ansible_collections.nexcage.backends.tests.support.host import PYTHON, Host

pytestmark = pytest.mark.requires("linux", "root", "crun", "runc", "conmon", "skopeo", "umoci", "busybox")
ROLE = pathlib.Path(__file__).resolve().parents[2] / "roles/plugins"
NAME = "demo-backend"
SICK = releases.SOURCE.replace('"healthy", "problems": []', '"unhealthy", "problems": ["out of\\norder"]')


def make(target: pathlib.Path) -> pathlib.Path:
    subprocess.run([sys.executable, str(ROLE / "files/make_health.py"), str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make(tmp_path_factory.mktemp("program") / "health.pyz")


def run(program: pathlib.Path, host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the service runs it: an empty environment, but for the root of the tests."""
    return subprocess.run([PYTHON, "-I", str(program), *arguments], env={"NEXCAGE_ROOT": str(host.root)}, cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture
def installed(host: Host, tmp_path: pathlib.Path) -> t.Iterator[t.Callable[[str], None]]:
    """Installs a plugin with this source."""

    def install(source: str) -> None:
        path = tmp_path / f"{NAME}-1.0.0.nexcage-plugin"
        path.write_bytes(releases.data(NAME, source=source.format(name=NAME, version="1.0.0")))
        modules.works("nexcage_plugin", name=NAME, src=str(path), trust="unsigned")

    yield install
    modules.works("nexcage_plugin", name=NAME, state="absent")


def test_all_is_well(host: Host, program: pathlib.Path, installed: t.Callable[[str], None]) -> None:
    installed(releases.SOURCE)
    done = run(program, host)
    assert (done.returncode, done.stderr) == (0, ""), done
    told = modules.works("nexcage_plugin_info")["plugins"]
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head == ["PLUGIN", "VERSION", "TIER", "HEALTH", "PROBLEMS"]
    assert [row[:4] for row in rows] == [[plugin["name"], plugin["version"], plugin["sandbox"]["tier"], plugin["health"]["status"]] for plugin in told]
    assert [row[0] for row in rows] == ["crun-backend", "runc-backend", NAME]
    quiet = run(program, host, "--quiet", "--verify")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_one_that_is_not(host: Host, program: pathlib.Path, installed: t.Callable[[str], None]) -> None:
    installed(SICK)
    done = run(program, host, "--quiet")
    assert done.returncode == 1 and done.stderr == f"unhealthy: {NAME}\n", done
    assert [line.split(None, 4)[3:] for line in done.stdout.splitlines() if line.startswith(NAME)] == [["unhealthy", "out of\\norder"]]
    assert run(program, host, "--quiet", "crun").returncode == 0  # nobody asked for it


def test_one_that_was_changed_on_disk(host: Host, program: pathlib.Path, installed: t.Callable[[str], None]) -> None:
    installed(releases.SOURCE)
    folder = pathlib.Path(host.layout.state, "plugins", NAME)
    folder.chmod(0o777)
    assert run(program, host).returncode == 0
    done = run(program, host, "--verify", NAME)
    folder.chmod(0o700)
    assert done.returncode == 1 and "others can write to it" in done.stdout, done
    assert run(program, host, "--verify", NAME).returncode == 0


def test_nobody_to_ask(host: Host, program: pathlib.Path) -> None:
    done = run(program, host, "nowhere")
    assert done.returncode == 2 and "no such plugin" in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


def test_figures(host: Host, program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = run(program, host, "--quiet", "--metrics-file", str(tmp_path / "nexcage.prom"), "crun")
    assert done.returncode == 0, done
    assert "nexcage_plugin_health" in {name for name, _labels in exposition.read((tmp_path / "nexcage.prom").read_text())}


def test_the_same_bytes_from_the_same_files(program: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert make(tmp_path / "again.pyz").read_bytes() == program.read_bytes()


@pytest.mark.requires("systemd-analyze")
def test_units(tmp_path: pathlib.Path) -> None:
    """What the templates make is what systemd reads, whatever stands in the words."""
    environment = jinja2.Environment(trim_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(FilterModule().filters())
    known = {**yaml.safe_load((ROLE / "defaults/main.yml").read_text()), "plugins_health_metrics_file": '/srv/50% "off" $HOME\\x.prom'}
    known["plugins_health_plugins"] = ["crun"]
    facts = yaml.safe_load((ROLE / "vars/main.yml").read_text())
    expression = facts["__plugins_health_command"].strip()[2:-2]
    command = environment.compile_expression(expression)(**known, __plugins_health_program=facts["__plugins_health_program"])
    for unit in ("nexcage-health.service", "nexcage-health.timer"):
        text = environment.from_string((ROLE / f"templates/{unit}.j2").read_text()).render(**known, __plugins_health_command=command)
        (tmp_path / unit).write_text(text)
    (line,) = [line for line in (tmp_path / "nexcage-health.service").read_text().splitlines() if line.startswith("ExecStart=")]
    assert line.split('" "')[:3] == ['ExecStart="/usr/bin/python3', "-I", "/usr/local/lib/nexcage/health.pyz"]
    assert r'"/srv/50%% \"off\" $$HOME\\x.prom" "crun"' in line
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "nexcage-health" not in checked.stderr, checked.stderr
    (tmp_path / "nexcage-health.timer").write_text(text.replace("hourly", "now and then"))
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False)
    assert "nexcage-health.timer" in checked.stderr
