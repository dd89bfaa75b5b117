# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documents that break a rule, met through the module: a manifest in each field and each way, and the files of the host.

The error names the file and the field, in check mode and without, and nothing has changed after it.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.manager import index, packing
from ansible_collections.nexcage.backends.plugins.module_utils.model.manifest import RULES
from ansible_collections.nexcage.backends.tests.support import mirror, modules
from ansible_collections.nexcage.backends.tests.support.signing import INDEX, Key
from ansible_collections.nexcage.backends.tests.support.site import NAME, Site
from ansible_collections.nexcage.backends.tests.unit.model.test_manifest import RICH, SMALLEST, WRONG, changed

pytestmark = pytest.mark.requires("linux", "root", "ssh-keygen")
DEEP = "[" * 100_000 + "]" * 100_000
DEEP_OBJECT = '{"a":' * 10_000 + "1" + "}" * 10_000
TEXTS = {"deep": DEEP, "deep object": DEEP_OBJECT, "a key twice": '{"version": 1, "version": 1}', "NaN": '{"version": NaN}', "cut off": "{", "empty": ""}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("key"))


@pytest.fixture
def site(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, key: Key) -> Site:
    return Site(tmp_path, monkeypatch, "standard", key)


def package(site: Site, text: str | bytes) -> str:
    files = {**site.files(), "plugin.json": text if isinstance(text, bytes) else text.encode()}
    return site.write(packing.pack(files))


def refused(site: Site, text: str | bytes, code: str = "E_MANIFEST") -> dict[str, t.Any]:
    """The error about the ``plugin.json`` of a package, as both runs tell it."""
    path = package(site, text)
    error = site.refused(code, "plugin.json", src=path, trust="unsigned")
    assert error["details"]["file"] == path
    return error


FIELDS: dict[str, list[t.Any]] = {}
for _path, _values in WRONG:
    FIELDS.setdefault(_path, []).extend(_values)
FIELDS["options"] = ["memory", ["speed"], ["memory", "memory"], None]
FIELDS["live"] = [["speed"], ["memory"], {}]


@pytest.mark.parametrize("path", FIELDS)
def test_a_manifest_with_a_field_that_is_wrong(site: Site, path: str) -> None:
    related = {"provides_backend": ("operations", "provides_backend"), "configuration.templates": ("configuration", "filesystem")}
    for value in FIELDS[path]:
        error = refused(site, json.dumps(changed(path, value)))
        places = related.get(path, (path.split(".", maxsplit=1)[0],))
        if error["option"] != str(site.made / f"{NAME}-1.0.0.nexcage-plugin"):
            assert error["option"] is None or error["option"].startswith(places), (path, value, error)


def test_every_field_of_a_manifest_is_tried() -> None:
    assert {path.split(".", maxsplit=1)[0] for path in FIELDS} == set(RULES.fields)


@pytest.mark.parametrize("field", SMALLEST)
def test_a_manifest_without_a_field_that_it_needs(site: Site, field: str) -> None:
    error = refused(site, json.dumps({name: value for name, value in RICH.items() if name != field}))
    assert error["option"] == field and "missing" in error["message"]


@pytest.mark.parametrize("path", ["surprise", "resource_requirements.surprise", "commands.status.surprise", "network.0.surprise", "hooks.0.surprise"])
def test_a_manifest_with_a_field_that_there_is_not(site: Site, path: str) -> None:
    assert str(refused(site, json.dumps(changed(path, 1)))["option"]).endswith("surprise")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_version", 0),
        ("api_version", 99),
        ("nexcage_version", ">=2"),
        ("nexcage_version", ">=1,<1"),
        ("nexcage_version", "1.0.0"),
    ],
)
def test_a_manifest_for_another_collection(site: Site, field: str, value: t.Any) -> None:
    error = refused(site, json.dumps({**SMALLEST, field: value}), "E_VERSION")
    assert (error["option"], error["value"]) == (field, value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff{}", "not UTF-8"),
        (json.dumps(SMALLEST)[:-1] + ', "name": "b"}', "the key is in one object twice"),
        (json.dumps(SMALLEST)[:-1] + ', "x": NaN}', "NaN is no JSON number"),
        (json.dumps(SMALLEST)[:-1] + ', "x": 1e999}', "1e999 is no JSON number"),
        (DEEP, "65536 are allowed"),
        (DEEP_OBJECT, "more than 16 levels deep"),
        ("[]", "not an object"),
    ],
    ids=["nothing", "cut off", "no text", "a key twice", "NaN", "infinity", "100,000 levels", "10,000 levels", "a list"],
)
def test_a_manifest_that_is_no_document(site: Site, text: str | bytes, said: str) -> None:
    assert said in refused(site, text)["message"]


def test_the_counterpart(site: Site) -> None:
    site.installed()
    assert site.ask(src=package(site, json.dumps(site_manifest(site))), trust="unsigned", check=True)["changed"]


def site_manifest(site: Site) -> dict[str, t.Any]:
    document: dict[str, t.Any] = json.loads(site.files()["plugin.json"])
    return {**document, "description": "another one"}


# file below /etc/nexcage -> the module that reads it first, and what it fails with
HOST_FILES: dict[str, tuple[str, dict[str, t.Any], str]] = {
    "config.json": ("nexcage_plugin_info", {}, "E_STATE"),
    "policy.json": ("nexcage_container", {"name": "web", "state": "absent", "backend": "crun"}, "E_STATE"),
    "trust/publishers.json": ("nexcage_plugin", {"name": NAME}, "E_TRUST"),
}


@pytest.mark.requires("crun")
@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize("file", HOST_FILES)
def test_a_file_of_the_host_that_is_no_document(site: Site, file: str, text: str) -> None:
    module, parameters, code = HOST_FILES[file]
    parameters = {**parameters, **({"src": site.package()} if module == "nexcage_plugin" else {})}
    path = pathlib.Path(site.layout.configuration, file)
    right = path.read_text() if path.exists() else None
    path.write_text(text)
    path.chmod(0o600)
    before = site.snapshot()
    for check in (True, False):
        result = modules.fails(module, check=check, **parameters)
        assert result["error"]["code"] == code and str(path) in result["msg"], result
    assert site.snapshot() == before
    path.unlink() if right is None else path.write_text(right)
    modules.works(module, **parameters)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_an_index_and_a_lock_file_that_are_no_document(site: Site, text: str) -> None:
    """Both signed, or the operator's own: what is read in them is still not believed."""
    signer, folder = Key(site.folder, "index"), site.folder / "mirror"
    folder.mkdir()
    site.trust.write("index_signers", signer.line(mirror.PRINCIPAL, INDEX))
    published = mirror.Mirror(folder, site.key, signer, site.trust)
    pathlib.Path(site.package()).rename(folder / f"{NAME}-1.0.0.nexcage-plugin")
    published.publish()
    lock = site.folder / "lock.json"
    lock.write_text(text)
    assert site.refused("E_STATE", str(lock), index=published.url, lock_file=str(lock))
    right = published.files()
    path = folder / index.FILE
    path.write_text(text)
    path.with_name(index.SIGNATURE_FILE).write_bytes(signer.sign(text.encode(), INDEX))
    assert site.refused("E_INTEGRITY", published.url, index=published.url)
    for name in (index.FILE, index.SIGNATURE_FILE):
        (folder / name).write_bytes(right[name])
    assert site.ask(index=published.url, check=True)["changed"]
