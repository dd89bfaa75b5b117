# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugins installed from an index and from an address, by the module and by ansible-playbook, held to a lock file."""

from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, lockfile
from ansible_collections.nexcage.backends.tests.support import certificates, mirror, mirror_server, modules, releases, signing
from ansible_collections.nexcage.backends.tests.support.ansible_cli import examples, plays_well, run_playbook, write_playbook
from ansible_collections.nexcage.backends.tests.support.mirror import Mirror

pytestmark = pytest.mark.requires("linux", "root", "ssh-keygen")
NAME = "acme-sample"


@pytest.fixture
def published(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """Two releases; the host is this process's."""
    made = mirror.make(tmp_path)
    for version in ("1.0.0", "1.1.0"):
        made.add(version=version)
    made.publish()
    monkeypatch.setenv("NEXCAGE_ROOT", str(root(made)))
    return made


def root(published: Mirror) -> pathlib.Path:
    return published.folder.parent / "root"


def install(published: Mirror, **options: t.Any) -> modules.Result:
    """Predicted by check mode, which writes nothing; done; and nothing to do after that."""
    parameters = {"name": NAME, "index": published.url, **options}
    before = {path: what for path, what in modules.snapshot(root(published)).items() if f"{root(published)}/run" not in path}
    predicted = modules.works("nexcage_plugin", check=True, **parameters)
    after = {path: what for path, what in modules.snapshot(root(published)).items() if f"{root(published)}/run" not in path}
    assert after == before
    result = modules.works("nexcage_plugin", **parameters)
    assert [result[key] for key in ("changed", "plan", "diff", "plugin")] == [predicted[key] for key in ("changed", "plan", "diff", "plugin")]
    assert not modules.works("nexcage_plugin", **parameters)["changed"]
    return result


def refused(code: str, **parameters: t.Any) -> modules.Result:
    found = [modules.fails("nexcage_plugin", check=check, name=NAME, **parameters) for check in (True, False)]
    assert [result["error"]["code"] for result in found] == [code, code] and found[0]["msg"] == found[1]["msg"], found
    return found[1]


def test_the_newest_then_a_newer_one(published: Mirror) -> None:
    result = install(published)
    assert (result["plugin"]["version"], result["plugin"]["trust"], result["plugin"]["principal"]) == ("1.1.0", "signature", signing.ACME)
    published.add(version="1.2.0")
    published.publish()
    result = install(published)
    assert result.actions == ["update"] and result["plugin"]["version"] == "1.2.0"
    assert install(published, version=">=1.1,!=1.2.0", allow_downgrade=True)["plugin"]["version"] == "1.1.0"


def test_a_version_that_was_yanked_after_it_was_installed(published: Mirror) -> None:
    install(published)
    published.publish(yanked={NAME: ["1.1.0"]})
    error = refused("E_TRUST", index=published.url)["error"]
    assert "1.1.0 was installed here and then yanked by its publisher, and 1.0.0, the highest one left, is older" in error["message"]
    assert error["option"] == "index" and "allow_downgrade" in error["remedy"]
    refused("E_VERSION", index=published.url, version="1.1.0")
    assert install(published, allow_downgrade=True)["plugin"]["version"] == "1.0.0"
    published.publish(yanked={})
    error = refused("E_TRUST", index=published.url, version="<1.1")["error"] if install(published)["changed"] else {}
    assert (error["option"], error["value"]) == ("version", "<1.1") and "1.1.0 here already" in error["message"]  # as written, and not yanked


def test_not_fetched_twice(published: Mirror) -> None:
    install(published)
    for path in published.folder.glob("*.nexcage-plugin"):
        path.unlink()
    assert not modules.works("nexcage_plugin", name=NAME, index=published.url)["changed"]
    kept = root(published) / "etc/nexcage/plugins" / f"{NAME}-1.1.0.nexcage-plugin"
    kept.write_bytes(b"tampered with")  # now there is nothing to put it right with
    refused("E_NOT_FOUND", index=published.url)


def test_what_was_tampered_with_is_fetched_again(published: Mirror) -> None:
    install(published)
    kept = root(published) / "etc/nexcage/plugins" / f"{NAME}-1.1.0.nexcage-plugin"
    right = kept.read_bytes()
    kept.write_bytes(b"tampered with")
    assert modules.works("nexcage_plugin", name=NAME, index=published.url)["changed"]
    assert kept.read_bytes() == right


def test_over_https(published: Mirror, tmp_path: pathlib.Path) -> None:
    authority = certificates.Authority(tmp_path)
    with mirror_server.serve(authority.issue()) as server:
        server.files = {f"/{name}": content for name, content in published.files().items()}
        refused("E_HTTP", index=server.url("/"))
        assert install(published, index=server.url("/"), ca_file=str(authority.path))["plugin"]["version"] == "1.1.0"
        address = server.url(f"/{NAME}-1.0.0.nexcage-plugin")
        refused("E_TRUST", src=address, ca_file=str(authority.path))
        parameters = {"index": None, "src": address, "ca_file": str(authority.path), "allow_downgrade": True}
        assert install(published, **parameters)["plugin"]["version"] == "1.0.0"


def test_case_94_replayed(published: Mirror) -> None:
    old = published.files()
    published.add(version="1.2.0")
    published.publish()
    assert install(published)["plugin"]["version"] == "1.2.0"
    for name in (index.FILE, index.SIGNATURE_FILE):
        (published.folder / name).write_bytes(old[name])
    assert "older" in refused("E_TRUST", index=published.url)["msg"]
    assert modules.works("nexcage_plugin_info", name=[NAME])["plugins"][0]["version"] == "1.2.0"


def test_held_to_a_lock_file(published: Mirror, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "lock.json"
    published.publish(lock_file=str(path))
    published.add(version="1.2.0")
    published.publish()
    assert install(published, lock_file=str(path))["plugin"]["version"] == "1.1.0"
    lockfile.write(str(path), {NAME: lockfile.Locked("1.2.0", "sha256:" + "0" * 64)})
    refused("E_TRUST", index=published.url, lock_file=str(path))
    published.publish(lock_file=str(path))
    assert install(published, lock_file=str(path))["plugin"]["version"] == "1.2.0"
    refused("E_INVALID", lock_file=str(path))
    refused("E_INVALID", index=published.url, src="x")


def test_what_is_installed_outlives_its_signers_key(published: Mirror) -> None:
    until = time.strftime("%Y%m%d%H%M%S", time.gmtime(time.time() + 4))
    published.trust.trust(published.key.line(signing.ACME, signing.PLUGIN, f'valid-before="{until}"'))
    package = str(published.folder / f"{NAME}-1.1.0.nexcage-plugin")
    assert modules.works("nexcage_plugin", name=NAME, src=package)["changed"]
    other = published.add(version="1.2.0")
    time.sleep(5)
    assert not modules.works("nexcage_plugin", name=NAME, src=package)["changed"]
    refused("E_TRUST", src=str(other))
    published.trust.write("revoked_keys", published.key.public)
    assert "revoked" in refused("E_TRUST", src=package)["msg"]


def test_a_built_in_plugin_comes_from_nowhere_else(published: Mirror) -> None:
    result = modules.fails("nexcage_plugin", name="crun", index=published.url)
    assert (result["error"]["code"], result["error"]["option"]) == ("E_UNSUPPORTED", "index")


def test_by_a_playbook(published: Mirror, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "play"
    folder.mkdir()
    published.publish(lock_file=str(folder / lockfile.FILE))
    published.add(version="1.2.0")
    published.publish()
    asked = {"name": NAME, "index": published.url, "lock_file": lockfile.FILE}
    play = write_playbook(folder / "play.yml", {"tasks": [{"name": "install", "nexcage.backends.nexcage_plugin": asked}]})
    home = tmp_path / "home"
    assert plays_well(home, play).of("install")["plugin"]["version"] == "1.1.0"
    assert not plays_well(home, play).of("install")["changed"]
    package = f"file://{published.folder}/{NAME}-1.2.0.nexcage-plugin"
    tasks = [{"name": "address", "nexcage.backends.nexcage_plugin": {"name": NAME, "src": package}}]
    assert plays_well(home, write_playbook(folder / "address.yml", {"tasks": tasks})).of("address")["plugin"]["version"] == "1.2.0"
    for content, code in ((b"{", "E_STATE"), (None, "E_NOT_FOUND")):
        path = folder / lockfile.FILE
        path.unlink() if content is None else path.write_bytes(content)
        error = run_playbook(home, play).of("install")["error"]
        assert (error["code"], error["option"]) == (code, "lock_file"), error


def test_the_example(published: Mirror, tmp_path: pathlib.Path, repository: pathlib.Path) -> None:
    folder = tmp_path / "play"
    folder.mkdir()
    for version in ("1.0.0", "2.0.0"):
        published.add("acme-backend", version=version, capabilities=["container_list", "container_info", "logging"])
    published.publish(lock_file=str(folder / lockfile.FILE), yanked={"acme-backend": ["2.0.0"]})
    tasks = [task for task in examples(repository, "nexcage_plugin") if task["name"] in releases.NEED_AN_INDEX]
    assert [task["name"] for task in tasks] == list(releases.NEED_AN_INDEX)
    for task in tasks:
        task["nexcage.backends.nexcage_plugin"]["index"] = published.url
    outcome = plays_well(tmp_path / "home", write_playbook(folder / "play.yml", {"tasks": tasks}))
    assert outcome.of(releases.NEED_AN_INDEX[0])["plugin"]["version"] == "1.0.0"
