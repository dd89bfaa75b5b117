# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adversaries 78 to 96 through the module that installs plugins, on a host of each tier.

What is refused is refused in check mode too, leaves every file as it was, and names what it is about. Beside it the same
thing without the flaw is installed, and its code answers from a worker of that tier.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import pathlib
import signal
import tarfile
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, installed, packing, records
from ansible_collections.nexcage.backends.tests.adversarial.test_package_members import WRONG_MEMBERS
from ansible_collections.nexcage.backends.tests.support import mirror, modules, packages, signing
from ansible_collections.nexcage.backends.tests.support.site import NAME, TIERS, Site, forked

pytestmark = pytest.mark.requires("linux", "root", "ssh-keygen")
OPEN = ["container_info", "container_list", "logging"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[signing.Key, signing.Key]:
    """Of somebody who is trusted, and of a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    return signing.Key(folder, "ours"), signing.Key(folder, "theirs")


@pytest.fixture(params=TIERS)
def site(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[signing.Key, signing.Key]) -> Site:
    return Site(tmp_path, monkeypatch, request.param, keys[0])


def test_case_78_a_file_that_the_sums_do_not_name(site: Site) -> None:
    files = site.files()
    site.refused("E_INTEGRITY", "json.py", src=site.packed([*files.items(), ("json.py", b"import os\n")]))
    site.installed(src=site.packed([*files.items()]))


def test_case_79_a_file_that_is_missing(site: Site) -> None:
    files = site.files()
    site.refused("E_INTEGRITY", "plugin.py", src=site.packed([("plugin.json", files["plugin.json"])]))
    site.installed()


def test_case_80_one_flipped_bit(site: Site) -> None:
    files = site.files()
    wrong = files["plugin.py"].replace(b"healthy", b"heilthy")
    site.refused("E_INTEGRITY", "plugin.py", src=site.packed([*{**files, "plugin.py": wrong}.items()]))
    site.installed()


def test_case_81_signed_by_a_foreign_principal(site: Site, keys: tuple[signing.Key, signing.Key]) -> None:
    error = site.refused("E_TRUST", "nobody has", src=site.package(key=keys[1]))
    assert error["value"] == str(site.made / f"{NAME}-1.0.0.nexcage-plugin")
    site.trust.trust(keys[0].line(), keys[1].line("other@example.net"))
    site.refused("E_TRUST", "other@example.net", src=site.package(key=keys[1]))
    site.installed()


def test_case_82_the_right_key_in_the_wrong_namespace(site: Site) -> None:
    site.refused("E_SIGNATURE", "'git'", src=site.package(namespace="git"))
    site.installed()


def test_case_83_an_expired_key(site: Site, keys: tuple[signing.Key, signing.Key]) -> None:
    past, future = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + offset)) for offset in (-60, 3600))
    site.trust.trust(keys[0].line(signing.ACME, signing.PLUGIN, f'valid-before="{past}"'))
    site.refused("E_TRUST", "expired", src=site.package())
    site.trust.trust(keys[0].line(signing.ACME, signing.PLUGIN, f'valid-before="{future}"'))
    site.installed()


def test_case_84_a_revoked_key(site: Site, keys: tuple[signing.Key, signing.Key]) -> None:
    site.trust.write("revoked_keys", keys[0].public + "\n")
    site.refused("E_TRUST", "revoked", src=site.package())
    site.trust.write("revoked_keys", keys[1].public + "\n")
    site.installed()


def test_case_85_tars_that_are_traps(site: Site) -> None:
    right = [*site.files().items()]
    for kind in ("parent", "absolute", "symlink", "hardlink", "character device", "fifo", "sparse"):
        error = site.refused("E_INTEGRITY", NAME, src=site.packed([*right, WRONG_MEMBERS[kind]]))
        assert "only regular files" in error["message"] or "file name" in error["message"], kind
    site.refused("E_INTEGRITY", "twice", src=site.packed([*right, right[0]]))
    huge = packages.header("extra.md")
    for size, form in ((0o77777777777, tarfile.USTAR_FORMAT), (1 << 40, tarfile.GNU_FORMAT), (1 << 40, tarfile.PAX_FORMAT)):
        huge.size = size
        site.refused("E_INTEGRITY", NAME, src=site.packed([*right, (huge, b"")], form=form))
    site.refused("E_INTEGRITY", NAME, src=site.write(gzip.compress(packages.tar([("f.md", b"")], end=b"") * 100_000, 1)))
    site.refused("E_INTEGRITY", NAME, src=site.write(gzip.compress(bytes(64 << 20), 1)))
    site.installed(src=site.packed(right))


def test_case_86_another_name_or_version_than_the_file_says(site: Site) -> None:
    data = pathlib.Path(site.package()).read_bytes()
    site.refused("E_INTEGRITY", "1.0.0", src=site.write(data, "2.0.0"))
    site.refused("E_INTEGRITY", NAME, src=site.write(data, name="acme-other-backend"), name="acme-other-backend")
    site.refused("E_INVALID", NAME, src=site.package(), name="acme-other-backend")
    site.refused("E_VERSION", "1.0.0", src=site.package(), version="2.0.0")
    site.installed()


def test_case_87_a_downgrade(site: Site) -> None:
    site.installed("1.2.0")
    site.refused("E_TRUST", "1.0.0 is older", src=site.package("1.0.0"))
    assert site.told()["version"] == "1.2.0"
    site.installed("1.0.0", allow_downgrade=True)


def test_case_88_an_update_that_widens_its_scope(site: Site) -> None:
    site.installed(src=site.package(capabilities=OPEN), grant=OPEN)
    wider = site.package("1.1.0", capabilities=[*OPEN, "container_stop"])
    error = site.refused("E_GRANT", "container_stop", src=wider)
    assert "- container_stop" in error["details"]["grant"] and site.told()["version"] == "1.0.0"
    site.installed("1.1.0", src=wider, grant=[*OPEN, "container_stop"])


def test_case_89_any_number_of_grants_in_any_order(site: Site) -> None:
    source = site.package(capabilities=OPEN, operations=["list", "health"])
    for number in range(len(OPEN) + 1):
        names = OPEN[:number]
        site.installed(src=source, grant=names)
        for order in itertools.permutations(names):
            assert site.ask(src=source, grant=[*order, *order[:1]], check=True)["changed"] is False
        assert site.told()["grant"] == sorted(names)
        used = modules.run("nexcage_container", name="web", backend=NAME, state="absent")
        if "container_list" in names:
            assert used["error"]["code"] == "E_UNSUPPORTED" and "cannot list" in used["msg"], used  # its own words: it was asked
        else:
            assert used["error"]["code"] == "E_GRANT", used
    site.refused("E_GRANT", "container_stop", src=source, grant=[*OPEN, "container_stop"])


def test_case_90_a_reserved_name(site: Site) -> None:
    site.trust.publishers({"*": [signing.ACME]})
    for name, code in (("crun-backend", "E_UNSUPPORTED"), ("proxmox-lxc-backend", "E_TRUST"), ("nexcage.metrics", "E_TRUST"), ("Runc_Backend", "E_TRUST")):
        site.refused(code, name, src=site.package(name=name), name=name)
    site.installed(name="crane-backend")


def test_case_91_a_cycle_a_gap_and_a_wrong_range(site: Site) -> None:
    first, second = NAME, "acme-other-backend"
    site.refused("E_DEPENDENCY", f"{second}, which is not installed", src=site.package(dependencies=[second]))
    site.installed(name=second)
    site.refused("E_DEPENDENCY", f"needs {second} >=2, and 1.0.0 is installed", src=site.package(dependencies=[{"name": second, "version": ">=2"}]))
    site.installed(src=site.package(dependencies=[{"name": second, "version": ">=1,<2"}]))
    error = site.refused("E_DEPENDENCY", f"{second} -> {first} -> {second}", src=site.package("1.1.0", name=second, dependencies=[first]), name=second)
    assert error["option"] == "name"


def test_case_92_a_folder_that_others_can_write_to(site: Site) -> None:
    site.installed()
    for place in (site.plugins, site.plugins.parent, next(site.plugins.iterdir())):
        mode = place.stat().st_mode
        place.chmod(mode | 0o020)
        before = site.snapshot()
        error = modules.fails("nexcage_container", name="web", backend=NAME, state="absent")["error"]
        assert (error["code"], error["option"], error["value"]) == ("E_INTEGRITY", None, str(place)), error
        assert f"chmod go-w {place}" in error["remedy"] and site.snapshot() == before
        place.chmod(mode)
    site.installed("1.1.0")


def test_case_93_a_package_that_is_exchanged_while_it_is_read(site: Site) -> None:
    source, evil = pathlib.Path(site.package()), site.made / "evil"
    right = source.read_bytes()
    files = {**site.files(), "plugin.py": b"evil = 1\n"}
    evil.write_bytes(packing.pack(files, site.key.sign(packing.sums(files))))
    evil.chmod(0o644)
    read = os.read

    def exchanging(descriptor: int, count: int) -> bytes:
        if evil.exists() and os.readlink(f"/proc/self/fd/{descriptor}") == str(source):
            evil.rename(source)
        return read(descriptor, count)

    with site.patch.context() as patch:
        patch.setattr(os, "read", exchanging)
        assert site.ask(src=str(source))["changed"]
    lying = site.plugins / source.name
    assert not evil.exists() and lying.read_bytes() == right != source.read_bytes()
    site.told()
    lying.write_bytes(source.read_bytes())
    refused = modules.fails("nexcage_container", name="web", backend=NAME, state="absent")
    assert refused["error"]["code"] == "E_INTEGRITY" and str(lying) in refused["msg"]
    lying.write_bytes(right)
    site.told()


def test_case_94_an_index_that_is_old_expired_or_unsigned(site: Site) -> None:
    (site.folder / "mirror").mkdir()
    (site.folder / "publisher").mkdir()
    signer = signing.Key(site.folder, "index")
    site.trust.write("index_signers", signer.line(mirror.PRINCIPAL, signing.INDEX))
    published = mirror.Mirror(site.folder / "mirror", site.key, signer, site.trust)

    def publish(version: str) -> None:
        pathlib.Path(site.package(version)).rename(published.folder / f"{NAME}-{version}.nexcage-plugin")
        published.publish()

    publish("1.0.0")
    old = published.files()
    publish("1.1.0")
    assert site.ask(index=published.url)["changed"] and site.told()["version"] == "1.1.0"
    new = published.files()
    for name in (index.FILE, index.SIGNATURE_FILE):
        (published.folder / name).write_bytes(old[name])
    site.refused("E_TRUST", "older", index=published.url)
    for name in (index.FILE, index.SIGNATURE_FILE):
        (published.folder / name).write_bytes(new[name])
    publish("1.2.0")
    right = published.files()
    published.rewrite(lambda content: content.update(expires="2026-01-01T00:00:00Z", generated="2025-12-01T00:00:00Z"))
    site.refused("E_TRUST", "expired", index=published.url)
    (published.folder / index.SIGNATURE_FILE).unlink()
    site.refused("E_SIGNATURE", "not signed", index=published.url)
    for name, content in right.items():
        (published.folder / name).write_bytes(content)
    assert site.ask(index=published.url)["changed"] and site.told()["version"] == "1.2.0"


def test_case_95_installs_at_the_same_time(site: Site) -> None:
    """Six at once, of three versions of one plugin and of three others: each wins or says who was first; none is half there."""
    versions, others = ("1.0.0", "1.1.0", "1.2.0"), [f"acme-n{number}-backend" for number in range(3)]
    wanted = [(NAME, version) for version in versions] + [(name, "1.0.0") for name in others]
    tasks = [{"name": name, "src": site.package(version, name=name), "allow_downgrade": True} for name, version in wanted]
    go = os.pipe()

    def install(number: int) -> t.Callable[[], None]:
        def do() -> None:
            os.close(go[1])
            os.read(go[0], 1)  # until the other end is closed
            (site.made / f"{number}.json").write_text(json.dumps(site.ask(**tasks[number])))

        return do

    pids = [forked(install(number)) for number in range(len(tasks))]
    for descriptor in go[::-1]:
        os.close(descriptor)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * len(pids)
    for number in range(len(tasks)):
        result = json.loads((site.made / f"{number}.json").read_text())
        assert not result.get("failed") and result["changed"], result
    assert sorted(path.name for path in site.plugins.iterdir() if path.name.startswith(NAME)) == [f"{NAME}-{site.told()['version']}.nexcage-plugin"]
    record = records.read(site.layout, NAME)
    assert record is not None and record.active is not None and record.previous is not None and record.active.version != record.previous.version
    for name in others:
        assert site.told(name)["version"] == "1.0.0"
    leftovers = [path for path in site.snapshot() if path.endswith((".tmp", store.TEMPORARY_SUFFIX))]
    assert leftovers == []


# What writes, and where a write is nothing without what follows it.
CHANGING = ("open", "write", "fsync", "link", "rename", "replace", "unlink", "mkdir", "rmdir", "chmod", "fchmod", "ftruncate")


def kill_at(number: int) -> None:
    """Let this process kill itself before the call of that number that changes something."""
    left = [number]

    def wrapped(original: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **more: t.Any) -> t.Any:
            if original.__name__ != "open" or arguments[1] & (os.O_WRONLY | os.O_RDWR):
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return original(*arguments, **more)

        return call

    for name in CHANGING:
        setattr(os, name, wrapped(getattr(os, name)))


def test_case_96_killed_at_every_step_of_an_update(site: Site) -> None:
    """A real SIGKILL of the module: the old version works or the new one does, and the next run goes on from there.

    At one tier the steps with an even number, at the other one those with an odd one.
    """
    old, new = site.package("1.0.0"), site.package("1.1.0")
    seen, number, status = set(), int(site.tier == "standard"), -signal.SIGKILL
    site.installed(src=old)

    def update() -> None:
        kill_at(number)
        site.ask(src=new)

    while status == -signal.SIGKILL:
        status = os.waitstatus_to_exitcode(os.waitpid(forked(update), 0)[1])
        record = records.read(site.layout, NAME)
        assert record is not None and record.active is not None
        found, _data = installed.fetch(site.layout, NAME, record.active)
        if number % 10 < 2 or (found.version, status) not in seen:
            assert site.told()["version"] == found.version
        seen.add((found.version, status))
        if found.version == "1.1.0" and status:
            site.installed(src=old, allow_downgrade=True)
        number += 2
    assert number > 20 and seen == {("1.0.0", -signal.SIGKILL), ("1.1.0", -signal.SIGKILL), ("1.1.0", 0)}
    assert sorted(path.name for path in site.plugins.iterdir()) == [f"{NAME}-1.1.0.nexcage-plugin"]
