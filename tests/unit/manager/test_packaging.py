# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""nexcage_plugin_package, run as a module: what it writes, predicts, shows and refuses."""

from __future__ import annotations

import builtins
import gzip
import json
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import archive, package, packing, schema_check, signature
from ansible_collections.nexcage.backends.tests.support import packages
from ansible_collections.nexcage.backends.tests.support.modules import Result, fails, snapshot, works
from ansible_collections.nexcage.backends.tests.unit.manager.test_packing import fill

MODULE = "nexcage_plugin_package"
NAME = "sample-backend-1.0.0.nexcage-plugin"


class Place(t.NamedTuple):
    """A plugin's folder, and where its package goes."""

    src: pathlib.Path
    dest: pathlib.Path

    @property
    def file(self) -> pathlib.Path:
        return self.dest / NAME

    def make(self, **parameters: t.Any) -> Result:
        """Check mode first, then twice for real: the prediction comes true, and then nothing is left to do."""
        before = snapshot(self.dest)
        predicted = works(MODULE, src=str(self.src), dest=str(self.dest), check=True, **parameters)
        assert snapshot(self.dest) == before
        result = works(MODULE, src=str(self.src), dest=str(self.dest), **parameters)
        assert {**predicted} == {**result}
        after = snapshot(self.dest)
        assert result["changed"] == (before != after)
        again = works(MODULE, src=str(self.src), dest=str(self.dest), **parameters)
        assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]
        assert again["package"] == result["package"]
        assert snapshot(self.dest) == after
        return result


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    (tmp_path / "out").mkdir()
    return Place(fill(tmp_path / "plugin", packages.files(README__md=b"# Sample\n")), tmp_path / "out")


def test_a_package_is_made_and_then_left_alone(place: Place) -> None:
    (place.src / "notes.txt").write_bytes(b"")
    result = place.make()
    assert result["changed"] and result["notes"] == []
    assert place.file.stat().st_mode & 0o7777 == 0o644
    found = package.load(str(place.file), 1 << 20)
    assert result["package"] == {
        "path": str(place.file),
        "name": "sample-backend",
        "version": "1.0.0",
        "digest": found.digest,
        "files": ["README.md", "plugin.json", "plugin.py"],
        "left_out": ["notes.txt"],
        "signed_by": None,
    }
    assert place.file.read_bytes() == packing.build(str(place.src))


def test_a_change_shows_in_the_diff(place: Place) -> None:
    diff = place.make()["diff"]
    sums = packing.sums({entry.name: entry.read_bytes() for entry in place.src.iterdir()}).decode()
    assert (diff["before"], diff["after"]) == ("", sums + "# not signed\n")
    (place.src / "plugin.py").write_bytes(b"X = 1\n")
    result = place.make()
    assert result["changed"] and result["diff"]["before"] == diff["after"] != result["diff"]["after"]
    assert result["diff"]["before_header"] == str(place.file)


def test_dest_as_a_path(place: Place) -> None:
    works(MODULE, src=str(place.src), dest=str(place.file))
    assert not works(MODULE, src=str(place.src), dest=f"{place.dest}/")["changed"]
    error = fails(MODULE, src=str(place.src), dest=str(place.dest / "other.nexcage-plugin"))["error"]
    assert (error["code"], error["option"]) == ("E_INVALID", "dest") and NAME in error["remedy"]
    for gone in (place.dest / "gone" / NAME, f"{place.dest}/gone/"):
        assert fails(MODULE, src=str(place.src), dest=str(gone))["error"]["code"] == "E_NOT_FOUND"


def test_another_version_lies_beside_it(place: Place) -> None:
    place.make()
    (place.src / "plugin.json").write_text(json.dumps(packages.manifest(version="1.1.0")))
    assert place.make()["package"]["path"].endswith("/sample-backend-1.1.0.nexcage-plugin")
    assert len(list(place.dest.iterdir())) == 2


@pytest.mark.requires("ssh-keygen")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_signing(place: Place, keys: dict[str, str], kind: str) -> None:
    """An ECDSA signature is another one each time; it stays nevertheless."""
    result = place.make(key_file=keys[kind])
    listed = subprocess.run(["ssh-keygen", "-l", "-f", keys[kind]], check=True, capture_output=True, text=True).stdout
    assert result["package"]["signed_by"] == listed.split()[1]
    assert result["diff"]["after"].endswith(f"# signed by {listed.split()[1]}\n")
    found = package.load(str(place.file), 1 << 20)
    assert found.signature is not None
    signers = b"test " + pathlib.Path(keys[kind] + ".pub").read_bytes()
    assert signature.verify(found.archive.sums, found.signature, signers, signature.PLUGIN, lambda name: name == "test", str(place.dest)) == "test"


@pytest.mark.requires("ssh-keygen")
def test_a_signature_stays_where_no_key_is_given(place: Place, keys: dict[str, str]) -> None:
    place.make(key_file=keys["ed25519"])
    kept = place.file.read_bytes()
    assert not place.make()["changed"]
    assert place.file.read_bytes() == kept
    (place.src / "README.md").write_bytes(b"# Another\n")
    result = place.make()
    assert result["changed"] and result["package"]["signed_by"] is None


@pytest.mark.requires("ssh-keygen")
def test_another_key_signs_anew(place: Place, keys: dict[str, str]) -> None:
    unsigned = place.make()
    first = place.make(key_file=keys["ecdsa"])
    second = place.make(key_file=keys["ed25519"])
    assert first["changed"] and second["changed"]
    assert first["package"]["signed_by"] != second["package"]["signed_by"]
    assert unsigned["package"]["digest"] == first["package"]["digest"] == second["package"]["digest"]


@pytest.mark.requires("ssh-keygen")
@pytest.mark.parametrize("broken", [b"no signature", b""])
def test_a_signature_that_is_none(place: Place, keys: dict[str, str], broken: bytes) -> None:
    place.file.write_bytes(packing.pack(packing.collect(str(place.src)).files, broken))
    assert place.make()["package"]["signed_by"] == "unreadable"
    result = place.make(key_file=keys["ecdsa"])
    assert result["changed"] and result["package"]["signed_by"].startswith("SHA256:")


@pytest.mark.requires("ssh-keygen")
def test_a_signature_of_the_same_key_over_something_else(place: Place, keys: dict[str, str]) -> None:
    for namespace, signed in (("nexcage-index", packing.sums(packing.collect(str(place.src)).files)), (signature.PLUGIN, b"other")):
        wrong = signature.sign(signed, keys["ecdsa"], namespace)
        place.file.write_bytes(packing.pack(packing.collect(str(place.src)).files, wrong))
        assert place.make(key_file=keys["ecdsa"])["changed"]
        found = archive.read(place.file.read_bytes())
        assert found.signature is not None and found.signature != wrong


@pytest.mark.requires("ssh-keygen")
def test_a_key_that_cannot_sign_is_refused_in_check_mode_too(place: Place, tmp_path: pathlib.Path) -> None:
    (tmp_path / "key").write_bytes(b"no key")
    (tmp_path / "key").chmod(0o600)
    for check in (True, False):
        error = fails(MODULE, src=str(place.src), dest=str(place.dest), key_file=str(tmp_path / "key"), check=check)["error"]
        assert error["code"] == "E_SIGNATURE"
    assert list(place.dest.iterdir()) == []


@pytest.mark.parametrize("before", [b"", b"no package", gzip.compress(bytes(1024), mtime=1), packages.package()])
def test_what_lies_there_and_is_no_such_package(place: Place, before: bytes) -> None:
    place.file.write_bytes(before)
    result = place.make()
    assert result["changed"] and place.file.read_bytes() == packing.build(str(place.src))
    if before != packages.package():
        assert result["diff"]["before"] == f"# {len(before)} bytes that are no package\n"


def test_the_same_content_packed_in_another_way(place: Place) -> None:
    place.file.write_bytes(packages.package(packages.members(packing.collect(str(place.src)).files)))
    result = place.make()
    assert result["changed"]
    assert result["diff"]["before"] == result["diff"]["after"] + "# packed in another way\n"


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_dest_that_is_no_file(place: Place, kind: str) -> None:
    {"link": lambda: place.file.symlink_to("elsewhere"), "folder": place.file.mkdir, "pipe": lambda: os.mkfifo(place.file)}[kind]()
    dest = str(place.dest)
    assert fails(MODULE, src=str(place.src), dest=dest)["error"]["code"] == "E_INVALID"


def test_all_faults_of_a_manifest_at_once(place: Place) -> None:
    document = packages.manifest(name="a b", extra=1, capabilities=["fly"], resource_requirements={"max_memory_mb": 0})
    del document["version"]
    (place.src / "plugin.json").write_text(json.dumps(document))
    error = fails(MODULE, src=str(place.src), dest=str(place.dest))["error"]
    assert error["code"] == "E_MANIFEST"
    faults = error["details"]["violations"]
    assert {fault.split(":")[0] for fault in faults} == {"manifest", "name", "capabilities[0]", "resource_requirements.max_memory_mb"}
    assert 'name: "a b" is not: A name of 1 to 64 letters' in "".join(faults)
    assert any("'version' is a required property" in fault for fault in faults) and any("'extra'" in fault for fault in faults)


@pytest.mark.parametrize("text", [b"[" * 60_000, b"[" * 100_000, b"{", b'{"a": 1, "a": 2}', b"\xff", b"null", b"[" * 500 + b"]" * 500])
def test_manifests_that_are_none(place: Place, text: bytes) -> None:
    (place.src / "plugin.json").write_bytes(text)
    error = fails(MODULE, src=str(place.src), dest=str(place.dest))["error"]
    assert error["code"] == "E_MANIFEST" and str(place.src / "plugin.json") in error["message"]
    assert list(place.dest.iterdir()) == []


def test_many_faults_are_cut(place: Place) -> None:
    faults = schema_check.violations(json.dumps(packages.manifest(capabilities=["x" * 9000] * 60)).encode())
    assert len(faults) == schema_check.SHOWN and all(len(fault) < 2000 for fault in faults)


def test_the_schema_has_its_say(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it stricter than the parser, what it refuses would not be packed."""
    monkeypatch.setattr(schema_check, "violations", lambda _text: ["name: not my kind of name"])
    error = fails(MODULE, src=str(place.src), dest=str(place.dest))["error"]
    assert (error["code"], error["details"]["violations"]) == ("E_MANIFEST", ["name: not my kind of name"])


def test_without_the_library(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: t.Any, **named: t.Any) -> t.Any:
        if name == "jsonschema":
            raise ImportError("No module named 'jsonschema'")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    result = fails(MODULE, src=str(place.src), dest=str(place.dest))
    assert "jsonschema" in result["msg"]
    assert result["error"]["code"] == "E_BINARY" and "jsonschema" in result["error"]["remedy"]


def test_a_folder_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: t.Any) -> None:
        raise OSError(28, "No space left on device", str(place.file))

    monkeypatch.setattr(os, "rename", full)
    assert fails(MODULE, src=str(place.src), dest=str(place.dest))["error"]["code"] == "E_SPACE"
    assert list(place.dest.iterdir()) == []


def test_what_the_author_should_know(place: Place) -> None:
    (place.src / "README.md").unlink()
    (place.src / "plugin.json").write_text(json.dumps(packages.manifest(capabilities=["host_command"])))
    notes = place.make()["notes"]
    assert len(notes) == 2 and "README.md" in notes[0] and "host_command" in notes[1]


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("plugin.py", None, "E_NOT_FOUND"),
        ("plugin.py", b"def", "E_INVALID"),
        ("plugin.py", b"#" * (archive.FILE_LIMIT + 1), "E_LIMIT"),
        ("plugin.json", json.dumps(packages.manifest(api_version=9)).encode(), "E_VERSION"),
        ("no-module.py", b"", "E_INTEGRITY"),
    ],
)
def test_what_cannot_be_packaged(place: Place, file: str, content: bytes | None, code: str) -> None:
    (place.src / file).write_bytes(content or b"")
    if content is None:
        (place.src / file).unlink()
    for check in (True, False):
        assert fails(MODULE, src=str(place.src), dest=str(place.dest), check=check)["error"]["code"] == code
    assert list(place.dest.iterdir()) == []
