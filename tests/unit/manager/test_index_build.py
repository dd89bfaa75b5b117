# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nexcage_plugin_index: the index of a folder of packages, made, signed and left alone when it is right."""

from __future__ import annotations

import json
import os
import pathlib
import time
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, index_build, lockfile, signature
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import mirror, modules, signing
from ansible_collections.nexcage.backends.tests.support.mirror import DAY, Mirror

pytestmark = pytest.mark.requires("linux", "ssh-keygen")
POWERFUL: dict[str, t.Any] = {
    "capabilities": ["logging", "host_command", "container_start"],
    "commands": {"x": {"binary": "true", "argv": []}},
    "binary_dependencies": [{"name": "true"}],
}


@pytest.fixture
def published(tmp_path: pathlib.Path) -> Mirror:
    made = mirror.make(tmp_path)
    made.add()
    return made


def content(published: Mirror) -> dict[str, t.Any]:
    read: dict[str, t.Any] = json.loads((published.folder / index.FILE).read_text())
    return read


def check_then_run(published: Mirror, **options: t.Any) -> modules.Result:
    """Check mode writes nothing and says what the run then does; the run after that changes nothing."""
    before = modules.snapshot(published.folder)
    predicted = published.run(check=True, **options)
    assert modules.snapshot(published.folder) == before
    result = published.run(**options)
    assert [predicted.get(key) for key in ("changed", "plan", "diff")] == [result.get(key) for key in ("changed", "plan", "diff")], result
    if not result.get("failed"):
        after = modules.snapshot(published.folder)
        again = published.run(**options)
        assert (again["changed"], again["plan"]) == (False, []) and again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]
        assert modules.snapshot(published.folder) == after
    return result


def test_the_first_index(published: Mirror) -> None:
    result = check_then_run(published)
    assert result["changed"] and result.actions == ["index", "sign"] and result["diff"]["before"] == {}
    assert (result["index"]["version"], result["index"]["plugins"]) == (1, {"acme-sample": ["1.0.0"]})
    written = content(published)
    package = published.folder / "acme-sample-1.0.0.nexcage-plugin"
    assert index.seconds(written["expires"]) - index.seconds(written["generated"]) == 30 * DAY
    [release] = written["plugins"]["acme-sample"]["releases"]
    assert (release["url"], release["size"], release["class"], release["yanked"]) == (package.name, package.stat().st_size, "contained", False)
    assert published.read().version == 1
    assert {oct(path.stat().st_mode) for path in published.folder.glob("index.json*")} == {"0o100644"}


def test_facts_of_releases(published: Mirror) -> None:
    published.add(version="1.10.0", api_version=2, nexcage_version=">=9")
    published.add(version="1.9.0", **POWERFUL)
    published.add(version="1.8.0", capabilities=["container_start"])
    published.publish()
    found = {release["version"]: release for release in content(published)["plugins"]["acme-sample"]["releases"]}
    assert list(found) == ["1.10.0", "1.9.0", "1.8.0", "1.0.0"]
    assert {version: release["class"] for version, release in found.items()} == {
        "1.10.0": "contained",
        "1.9.0": "root-equivalent",
        "1.8.0": "scoped",
        "1.0.0": "contained",
    }
    assert (found["1.10.0"]["api_version"], found["1.10.0"]["nexcage_version"]) == (2, ">=9")
    assert found["1.9.0"]["capabilities"] == ["container_start", "host_command", "logging"]
    assert index.resolve(published.read(), "acme-sample")["version"] == "1.9.0"


def test_new_and_gone_releases_raise_the_counter(published: Mirror) -> None:
    published.publish()
    published.add(version="1.1.0")
    result = check_then_run(published)
    assert result["index"]["version"] == 2 and result["plan"][0]["reason"] == "acme-sample 1.1.0 is new"
    (published.folder / "acme-sample-1.0.0.nexcage-plugin").unlink()
    result = check_then_run(published)
    assert result["index"]["version"] == 3 and "1.0.0 is gone" in result["plan"][0]["reason"]
    assert published.read().version == 3


def test_yanked(published: Mirror) -> None:
    published.add(version="1.1.0")
    published.publish()
    result = check_then_run(published, yanked={"acme-sample": ["1.1.0"]})
    assert "yanked: False -> True" in result["plan"][0]["reason"]
    assert index.resolve(published.read(), "acme-sample")["version"] == "1.0.0"
    published.add(version="1.2.0")
    check_then_run(published)  # left as it is where not given
    (published.folder / "acme-sample-1.2.0.nexcage-plugin").unlink()
    check_then_run(published)
    assert index.resolve(published.read(), "acme-sample")["version"] == "1.0.0"
    check_then_run(published, yanked={})
    assert index.resolve(published.read(), "acme-sample")["version"] == "1.1.0"
    check_then_run(published, yanked={"acme-sample": "1.1.0"})
    (published.folder / "acme-sample-1.1.0.nexcage-plugin").unlink()
    assert check_then_run(published)["changed"]
    error = check_then_run(published, yanked={"acme-sample": ["1.1.0"]})["error"]
    assert (error["code"], error["option"], error["value"]) == ("E_INVALID", "yanked.acme-sample", "1.1.0")
    assert published.run(yanked={"other": ["1.0.0"]})["error"]["option"] == "yanked.other"


def test_renewed_in_time(published: Mirror) -> None:
    published.publish(valid_days=30)
    assert not published.publish(renew_days=29)["changed"]
    result = check_then_run(published, valid_days=60, renew_days=30)
    assert (result["index"]["version"], result["plan"][0]["reason"]) == (2, "it expires soon")
    assert "longer than 10 days" in check_then_run(published, valid_days=10)["plan"][0]["reason"]
    published.rewrite(lambda written: written.update(expires="2020-01-01T00:00:00Z"))
    assert check_then_run(published)["plan"][0]["reason"] == "it has expired"
    assert published.read().version == 4


def test_counter_and_name(published: Mirror) -> None:
    assert check_then_run(published, version=41)["index"]["version"] == 41
    assert check_then_run(published, version=7)["index"]["version"] == 41
    assert check_then_run(published, version=50)["plan"][0]["reason"] == "its counter: 41 -> 50"
    assert check_then_run(published, name="other")["index"]["version"] == 51


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_signed_anew_only_where_needed(published: Mirror, tmp_path: pathlib.Path, kind: str) -> None:
    published.index_key = signing.Key(tmp_path, kind, kind)  # what ecdsa signs differs from one time to the next
    published.trust.write("index_signers", published.index_key.line(mirror.PRINCIPAL, signing.INDEX))
    check_then_run(published)
    path = published.folder / index.SIGNATURE_FILE
    right = path.read_bytes()
    other = signing.Key(tmp_path, "other", kind).sign((published.folder / index.FILE).read_bytes(), signing.INDEX)
    for flaw in (b"", b"garbage", published.index_key.sign(b"{}", signing.INDEX), published.index_key.sign(right, signing.PLUGIN), other):
        path.write_bytes(flaw)
        result = check_then_run(published)
        assert result.actions == ["sign"] and result["index"]["version"] == 1
        assert published.read().version == 1
    path.unlink()
    assert check_then_run(published).actions == ["sign"]


def test_a_lock_file(published: Mirror, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "nexcage-plugins.lock.json"
    published.add(version="1.1.0")
    published.add(name="acme-future", api_version=2)
    result = check_then_run(published, lock_file=str(path), yanked={"acme-sample": ["1.1.0"]})
    assert result.actions == ["index", "sign", "lock"] and "1.0.0" in result["diff"]["after"]["lock_file"]
    locked = lockfile.read(path.read_bytes(), str(path))
    assert list(locked) == ["acme-sample"] and locked["acme-sample"].version == "1.0.0"
    assert index.resolve(published.read(), "acme-sample", None, locked["acme-sample"])["version"] == "1.0.0"
    path.write_text("changed")
    assert check_then_run(published, lock_file=str(path)).actions == ["lock"]
    assert check_then_run(published, lock_file=str(path), yanked={}).actions == ["index", "sign", "lock"]
    assert lockfile.read(path.read_bytes(), str(path))["acme-sample"].version == "1.1.0"


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"valid_days": 0, "renew_days": 0}, "valid_days"),
        ({"valid_days": 4000}, "valid_days"),
        ({"renew_days": -1}, "renew_days"),
        ({"valid_days": 7}, "renew_days"),
        ({"version": 0}, "version"),
        ({"path": "/nowhere"}, "path"),
    ],
)
def test_wrong_options(published: Mirror, options: dict[str, t.Any], option: str) -> None:
    error = check_then_run(published, **options)["error"]
    assert error["option"] == option and error["remedy"]
    assert not (published.folder / index.FILE).exists()
    published.publish()


def test_an_unsigned_package(published: Mirror) -> None:
    signing.make_package(published.folder, name="acme-plain")
    error = check_then_run(published)["error"]
    assert error["code"] == "E_SIGNATURE" and "acme-plain-1.0.0" in error["message"]


def test_wrong_packages(published: Mirror) -> None:
    path = published.folder / "acme-sample-1.0.0.nexcage-plugin"
    right = path.read_bytes()
    path.write_bytes(right[:-100])
    error = check_then_run(published)["error"]
    assert error["code"] == "E_INTEGRITY" and str(path) in error["message"]
    path.unlink()
    wrong = published.folder / "acme-sample-2.0.0.nexcage-plugin"
    wrong.write_bytes(right)
    error = check_then_run(published)["error"]
    assert error["code"] == "E_INTEGRITY" and path.name in error["remedy"]
    wrong.rename(path)
    published.publish()


def test_other_bytes_for_what_is_out(published: Mirror) -> None:
    published.publish()
    published.add(description="changed")
    error = check_then_run(published)["error"]
    assert error["code"] == "E_EXISTS" and "another version" in error["remedy"]
    (published.folder / "acme-sample-1.0.0.nexcage-plugin").unlink()
    published.add(version="1.0.1", description="changed")
    assert check_then_run(published)["changed"]


def test_a_damaged_index(published: Mirror) -> None:
    published.publish()
    path = published.folder / index.FILE
    path.write_text("{")
    error = check_then_run(published)["error"]
    assert error["code"] == "E_STATE" and "'version'" in error["remedy"] and path.read_text() == "{"
    path.unlink()
    assert check_then_run(published, version=2)["index"]["version"] == 2


def test_a_key_that_does_not_sign(published: Mirror) -> None:
    assert check_then_run(published, key="/nowhere")["error"]["code"] == "E_SIGNATURE"
    assert os.listdir(published.folder) == ["acme-sample-1.0.0.nexcage-plugin"]


@pytest.mark.parametrize("step", ["index:written", "index:signed"])
def test_ended_in_between(published: Mirror, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    published.publish()
    published.add(version="1.1.0")

    def stop(name: str) -> None:
        if name == step:
            raise OSError(5, "cut")

    monkeypatch.setattr(store, "CHECKPOINT", stop)
    assert published.run()["failed"]
    monkeypatch.setattr(store, "CHECKPOINT", None)
    check_then_run(published)
    assert published.read().version == 2


def test_an_error_of_another_kind_is_not_taken_for_a_wrong_signature(published: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    published.publish()
    (published.folder / index.SIGNATURE_FILE).write_bytes(b"")

    def late(*_arguments: t.Any, **_options: t.Any) -> str:
        raise NexcageError("E_TIMEOUT", "late")

    monkeypatch.setattr(signature, "verify", late)
    assert published.run()["error"]["code"] == "E_TIMEOUT"


def test_an_empty_folder(published: Mirror) -> None:
    (published.folder / "acme-sample-1.0.0.nexcage-plugin").unlink()
    assert check_then_run(published)["index"]["plugins"] == {}
    assert index_build.newest(published.read()) == {} and published.read().expires > time.time()


def test_an_index_that_nobody_would_read(published: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SIZE_LIMIT", 500)
    assert check_then_run(published)["error"]["code"] == "E_LIMIT" and not (published.folder / index.FILE).exists()
    monkeypatch.setattr(index, "SIZE_LIMIT", 5000)
    assert check_then_run(published)["changed"]


def test_two_at_a_time(published: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    published.publish()
    [lock] = (published.folder.parent / "publisher/run/nexcage/locks").glob(".index-*")
    monkeypatch.setattr(index_build, "LOCK_SECONDS", 0.05)
    with store.Lock(str(lock), 1.0, "the other one"):
        assert "the other one" in published.run()["msg"]
        assert not published.run(check=True)["changed"]
    assert not published.publish()["changed"]
