# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Grants: each name by itself, bound to a scope, and refused with what to paste."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import stat
import tempfile
import typing as t

import pytest
import yaml
from ansible_collections.nexcage.backends.plugins.module_utils.broker import store
from ansible_collections.nexcage.backends.plugins.module_utils.manager import grants
from ansible_collections.nexcage.backends.plugins.module_utils.model import scope
from ansible_collections.nexcage.backends.plugins.module_utils.model.capability import CAPABILITIES
from ansible_collections.nexcage.backends.plugins.module_utils.model.config import Layout
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from ansible_collections.nexcage.backends.tests.support import scopes
from hypothesis import given
from hypothesis import strategies as st

ALL = ["container_info", "container_list", "container_start", "filesystem_read", "host_command", "logging", "network_client"]
DIGEST, OTHER = "sha256:" + "0" * 64, "sha256:" + "1" * 64
MODEST = [name for name in ALL if name != "host_command"]


@pytest.fixture
def layout(tmp_path: pathlib.Path) -> Layout:
    return Layout.for_user(0, {"NEXCAGE_ROOT": str(tmp_path)})


def refused(call: t.Callable[..., object], *arguments: t.Any, code: str = "E_GRANT", **options: t.Any) -> NexcageError:
    with pytest.raises(NexcageError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code, caught.value
    assert caught.value.remedy
    return caught.value


def grant(*changes: scopes.Change) -> grants.Grant:
    return grants.wanted(scopes.manifest(*changes), ALL, True, "a test", 1_700_000_000)


class TestWanted:
    """What a task may grant."""

    def test_a_whole_grant(self) -> None:
        made = grant()
        assert made.capabilities == tuple(ALL) and made.granted_at == "2023-11-14T22:13:20Z"
        assert made.scope_digest == scope.digest(scopes.manifest())
        assert grants.check(scopes.manifest(), made) == set(ALL)

    @pytest.mark.parametrize("names", [[], ["logging"], ["container_list", "logging"], MODEST])
    def test_less_than_declared(self, names: list[str]) -> None:
        manifest = scopes.manifest()
        assert grants.check(manifest, grants.wanted(manifest, names)) == set(names)

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("all", "no such capability"),
            ("*", "no such capability"),
            ("", "no such capability"),
            ("container_*", "no such capability"),
            ("l\u043egging", "no such capability"),
            ("logging ", "no such capability"),
            (5, "no such capability"),
            (["logging"], "no such capability"),
            ("container_delete", "does not declare"),
            ("metrics", "granted to nobody"),
        ],
    )
    def test_what_cannot_be_granted(self, name: t.Any, says: str) -> None:
        error = refused(grants.wanted, scopes.manifest(), ["logging", name], True)
        assert says in error.message and error.option == "grant"
        assert grants.wanted(scopes.manifest(), ["logging"])

    def test_root_equivalent_needs_a_word_of_its_own(self) -> None:
        error = refused(grants.wanted, scopes.manifest(), ALL)
        assert "host_command can become root" in error.message and error.option == "accept_root_equivalent"
        assert grants.wanted(scopes.manifest(), MODEST).root_equivalent_accepted is False
        assert grants.wanted(scopes.manifest(), ALL, True).root_equivalent_accepted is True

    def test_a_root_equivalent_name_that_opens_nothing_needs_none(self) -> None:
        bare = scopes.plain("x-backend", "host_command", "logging")
        made = grants.wanted(bare, ["host_command"])
        assert grants.check(bare, made) == {"host_command"}


class TestCheck:
    """Whether a grant covers a manifest."""

    def test_without_a_grant_nothing(self) -> None:
        assert "nothing was granted" in refused(grants.check, scopes.manifest(), None).message

    def test_whoever_asks_for_nothing_needs_no_grant(self) -> None:
        assert grants.check(scopes.plain("x-backend"), None) == frozenset()
        assert grants.check(scopes.plain("x-backend", "metrics", "host_command"), None) == frozenset()
        refused(grants.check, scopes.plain("x-backend", "logging"), None)

    def test_a_grant_is_for_one_plugin(self) -> None:
        other = grants.wanted(scopes.plain("other-backend", "logging"), ["logging"])
        error = refused(grants.check, scopes.plain("x-backend", "logging"), other)
        assert "other-backend" in error.message

    @pytest.mark.parametrize("change", scopes.UNRELATED.values(), ids=list(scopes.UNRELATED))
    def test_an_update_within_the_scope_needs_no_new_grant(self, change: scopes.Change) -> None:
        assert grants.check(scopes.manifest(change), grant()) == set(ALL)

    @pytest.mark.parametrize("change", scopes.NARROWINGS.values(), ids=list(scopes.NARROWINGS))
    def test_an_update_that_asks_for_less_needs_none_either(self, change: scopes.Change) -> None:
        assert grants.check(scopes.manifest(change), grant())

    def test_a_hook_alone_needs_a_grant_of_no_name(self) -> None:
        def hooks(document: dict[str, t.Any]) -> None:
            document["hooks"] = [{"event": "container.pre_delete", "strategy": "abort"}]

        bare = scopes.manifest(lambda d: [d.pop(key) for key in ("oci", "commands", "filesystem", "network", "secrets", "operations")], hooks)
        bare = type(bare)({**bare.as_dict(), "capabilities": []})
        error = refused(grants.check, bare, None)
        assert "grant: []" in error.details["grant"] and "container.pre_delete" in error.details["grant"]
        assert grants.check(bare, grants.wanted(bare, [])) == frozenset()

    def test_acceptance_is_asked_for_when_a_harmless_name_becomes_root_equivalent(self) -> None:
        """An update that fills ``commands`` widens the scope; a new grant without acceptance does not help."""
        before = scopes.manifest(lambda d: d["commands"].clear())
        old = grants.wanted(before, ALL)
        assert grants.check(before, old)
        refused(grants.check, scopes.manifest(), old)
        refused(grants.wanted, scopes.manifest(), ALL)


class TestBlock:
    """What to paste."""

    def test_it_can_be_pasted_as_it_is(self) -> None:
        manifest = scopes.manifest()
        error = refused(grants.check, manifest, None)
        text = error.details["grant"]
        assert f"\n{text}\n" in error.message and f"\n{text}\n" in str(error)
        pasted = yaml.safe_load(text)
        assert pasted == {"grant": ALL, "accept_root_equivalent": True}
        made = grants.wanted(manifest, pasted["grant"], pasted["accept_root_equivalent"])
        assert grants.check(manifest, made) == set(ALL)

    def test_every_entry_stands_in_it_with_its_class(self) -> None:
        manifest = scopes.manifest()
        text = grants.block(manifest)
        for entry in scope.entries(manifest):
            (line,) = (line for line in text.splitlines() if line.endswith((entry.detail, f"{entry.detail} [{entry.level}]")))
            assert entry.level in line
        assert "# metrics: opens nothing" in text

    def test_details_for_machines(self) -> None:
        error = refused(grants.check, scopes.manifest(), None)
        json.dumps(error.as_dict())
        assert {"capability": "logging", "detail": "opens log", "level": "contained"} in error.details["entries"]
        assert error.details["scope_digest"] == scope.digest(scopes.manifest())

    def test_without_root_equivalent_entries_nothing_is_accepted(self) -> None:
        text = grants.block(scopes.plain("x-backend", "logging"))
        assert yaml.safe_load(text) == {"grant": ["logging"]}

    @pytest.mark.parametrize("argument", ["\u2028  - host_mount", "\u2029grant: []", "\u202eevil", "# x", "a\u0085b"[:1] + "\u2028"])
    def test_no_argument_gets_out_of_its_comment(self, argument: str) -> None:
        """To YAML 1.1 more characters end a line than to others."""
        text = grants.block(scopes.manifest(lambda d: d["commands"]["status"]["argv"].append(argument)))
        assert yaml.safe_load(text) == {"grant": ALL, "accept_root_equivalent": True}
        assert text.isascii()


class TestFiles:
    """What lies on disk."""

    def test_written_and_read(self, layout: Layout) -> None:
        assert grants.read(layout, "acme-backend") is None
        grants.write(layout, grant())
        path = pathlib.Path(grants.path(layout, "acme-backend"))
        assert path == pathlib.Path(layout.configuration, "grants/acme-backend.json")
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
        assert grants.read(layout, "acme-backend") == grant()
        content = json.loads(path.read_text())
        assert (content["schema_version"], content["scope_digest"]) == (1, grant().scope_digest)
        assert (content["capabilities"], content["root_equivalent_accepted"], content["granted_by"]) == (ALL, True, "a test")
        assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL)
        grants.remove(layout, "acme-backend")
        grants.remove(layout, "acme-backend")
        assert grants.read(layout, "acme-backend") is None

    @pytest.mark.parametrize("name", ["../policy", "a/b", "", ".", "x\0", "/etc/passwd", "\u0430cme"])
    def test_a_name_is_no_path(self, layout: Layout, name: str) -> None:
        refused(grants.read, layout, name, code="E_MANIFEST")
        assert grants.read(layout, "a.b") is None

    @pytest.mark.parametrize("mode", [0o622, 0o606, 0o660])
    def test_a_file_that_others_can_write(self, layout: Layout, mode: int) -> None:
        grants.write(layout, grant())
        path = grants.path(layout, "acme-backend")
        os.chmod(path, mode)
        assert path in refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_INTEGRITY").message
        os.chmod(path, 0o644)
        assert grants.granted(layout, scopes.manifest(), DIGEST)

    def test_a_folder_that_others_can_write(self, layout: Layout) -> None:
        grants.write(layout, grant())
        for folder in (layout.configuration + "/grants", layout.configuration):
            mode = stat.S_IMODE(os.stat(folder).st_mode)
            os.chmod(folder, 0o777)
            refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_INTEGRITY")
            os.chmod(folder, mode)
        assert grants.granted(layout, scopes.manifest(), DIGEST)

    @pytest.mark.requires("root")
    def test_a_file_of_somebody_else(self, layout: Layout) -> None:
        grants.write(layout, grant())
        os.chown(grants.path(layout, "acme-backend"), 65534, -1)
        refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_INTEGRITY")

    def test_a_link(self, layout: Layout, tmp_path: pathlib.Path) -> None:
        grants.write(layout, grant())
        path = pathlib.Path(grants.path(layout, "acme-backend"))
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_INTEGRITY")

    CHANGES: t.ClassVar[dict[str, t.Callable[[dict[str, t.Any]], object]]] = {
        "of a later schema": lambda c: c.update(schema_version=2),
        "of no schema": lambda c: c.pop("schema_version"),
        "of the schema true": lambda c: c.update(schema_version=True),
        "with one key more": lambda c: c.update(versions="*"),
        "with one key less": lambda c: c.pop("granted_by"),
        "of another plugin": lambda c: c.update(plugin="other-backend"),
        "with a text for capabilities": lambda c: c.update(capabilities="logging"),
        "with a number for acceptance": lambda c: c.update(root_equivalent_accepted=1),
        "with everything": lambda c: c["capabilities"].append("all"),
        "with a list for a name": lambda c: c["capabilities"].append([]),
        "with another scope": lambda c: c["scope"]["hooks"].clear(),
        "with another digest": lambda c: c.update(scope_digest="sha256:" + "0" * 64),
        "with no scope": lambda c: c.update(scope={"network": [{}]}),
        "with a strange scope": lambda c: c.update(scope={"capabilities": ["all"]}),
    }

    @pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
    def test_a_damaged_file_grants_nothing(self, layout: Layout, change: t.Callable[[dict[str, t.Any]], object]) -> None:
        grants.write(layout, grant())
        path = pathlib.Path(grants.path(layout, "acme-backend"))
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content))
        assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL)
        change(content)
        path.write_text(json.dumps(content))
        assert str(path) in refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_STATE").message

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"plugin": 1, "plugin": 2}', '{"schema_version": NaN}', "[" * 100_000, "\udcff"])
    def test_what_is_no_such_json(self, layout: Layout, text: str) -> None:
        grants.write(layout, grant())
        pathlib.Path(grants.path(layout, "acme-backend")).write_bytes(text.encode("utf-8", "surrogateescape"))
        refused(grants.granted, layout, scopes.manifest(), DIGEST, code="E_STATE")

    def test_killed_while_writing_the_old_one_counts(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        grants.write(layout, grant())

        def fail(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store, "_write_all", fail)
        refused(grants.write, layout, grant()._replace(capabilities=("logging",)), code="E_SPACE")
        assert grants.read(layout, "acme-backend") == grant()
        assert os.listdir(layout.configuration + "/grants") == ["acme-backend.json"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["logging", "id", "hosts"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(["hosts", "requests", "id"]), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from([*grants.KEYS, *scope.normal(scopes.manifest())]), JSON, max_size=3), st.booleans())
def test_whatever_a_file_says_it_is_refused_or_a_grant(changes: dict[str, t.Any], inside: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout.for_user(0, {"NEXCAGE_ROOT": folder})
        grants.write(layout, grant())
        path = pathlib.Path(grants.path(layout, "acme-backend"))
        content = json.loads(path.read_text())
        part = content["scope"] if inside else content
        part.update({key: value for key, value in changes.items() if key in part})
        if inside:
            with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
                content["scope_digest"] = scope.digest(content["scope"])
        path.write_text(json.dumps(content))
        try:
            assert grants.granted(layout, scopes.manifest(), DIGEST) <= set(ALL) | set(CAPABILITIES)
        except NexcageError as error:
            assert error.code in ("E_STATE", "E_GRANT")


class TestStaged:
    """A grant for a package that is not there yet."""

    def test_each_package_has_its_grant_whenever_the_run_is_killed(self, layout: Layout) -> None:
        old, new = scopes.manifest(), scopes.manifest(scopes.WIDENINGS["another host"])
        grants.write(layout, grant())
        refused(grants.granted, layout, new, OTHER)
        wider = grants.wanted(new, ["logging"])
        grants.stage(layout, "acme-backend", wider, OTHER)
        assert grants.granted(layout, old, DIGEST) == set(ALL) and grants.granted(layout, new, OTHER) == {"logging"}
        assert grants.read(layout, "acme-backend") == grant()
        grants.settle(layout, "acme-backend", OTHER)
        assert grants.read(layout, "acme-backend") == wider
        grants.settle(layout, "acme-backend", OTHER)
        assert os.listdir(layout.configuration + "/grants") == ["acme-backend.json"]

    def test_less_for_a_package_that_asks_for_the_same(self, layout: Layout) -> None:
        """The old grant would do for it as well, but is not what was granted."""
        grants.write(layout, grant())
        grants.stage(layout, "acme-backend", grants.wanted(scopes.manifest(), ["logging"]), OTHER)
        assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL) and grants.granted(layout, scopes.manifest(), OTHER) == {"logging"}

    def test_one_for_a_package_that_never_came(self, layout: Layout) -> None:
        grants.write(layout, grant())
        grants.stage(layout, "acme-backend", grants.wanted(scopes.manifest(), ["logging"]), OTHER)
        grants.settle(layout, "acme-backend", DIGEST)
        assert grants.granted(layout, scopes.manifest(), OTHER) == set(ALL) and grants.staged(layout, "acme-backend") == []

    def test_back_to_what_is_stored(self, layout: Layout) -> None:
        grants.write(layout, grant())
        for staged in (grants.wanted(scopes.manifest(), ["logging"]), grant()):
            grants.stage(layout, "acme-backend", staged, DIGEST)
        assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL) and grants.staged(layout, "acme-backend") == []

    def test_it_takes_its_place_while_it_is_looked_for(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        grants.stage(layout, "acme-backend", grant(), DIGEST)

        def there(_path: str) -> bool:
            grants.settle(layout, "acme-backend", DIGEST)
            return True

        monkeypatch.setattr(os.path, "lexists", there)
        assert grants.effective(layout, "acme-backend", DIGEST) == grant()

    def test_a_staged_grant_that_does_not_fit_either(self, layout: Layout) -> None:
        grants.stage(layout, "acme-backend", grant(), DIGEST)
        refused(grants.granted, layout, scopes.manifest(scopes.WIDENINGS["another host"]), DIGEST)
        assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL)
        grants.remove(layout, "acme-backend")
        refused(grants.granted, layout, scopes.manifest(), DIGEST)

    def test_one_that_cannot_take_its_place(self, layout: Layout) -> None:
        grants.stage(layout, "acme-backend", grant(), DIGEST)
        os.mkdir(grants.path(layout, "acme-backend"))
        refused(grants.settle, layout, "acme-backend", DIGEST, code="E_STATE")


@pytest.mark.parametrize("change", scopes.WIDENINGS.values(), ids=list(scopes.WIDENINGS))
def test_case_88_an_update_that_widens_the_scope(layout: Layout, change: scopes.Change) -> None:
    grants.write(layout, grant())
    update = scopes.manifest(change)
    error = refused(grants.granted, layout, update, DIGEST)
    lines = error.details["difference"]
    assert lines and lines == scope.difference(scopes.manifest(), update)
    assert all(line in error.message for line in lines)
    assert grants.granted(layout, scopes.manifest(), DIGEST) == set(ALL), "the old version goes on"
    names = yaml.safe_load(error.details["grant"])["grant"]
    grants.write(layout, grants.wanted(update, names, True))
    assert grants.granted(layout, update, DIGEST) == set(names)


def test_a_version_that_asks_for_nothing_is_not_told_what_was_a_secret() -> None:
    told = {**scopes.plain(), "configuration": {"token": {"type": "string"}}}
    assert "+ network_client: the setting token, which was a secret" in refused(grants.check, told, grant()).details["difference"][0]
    assert grants.check(told, grants.wanted(told, [])) == grants.check(told, None) == grants.check(scopes.plain(), grant()) == frozenset()


@pytest.mark.parametrize("number", [0, 1, 2, len(MODEST)])
def test_case_89_any_number_of_entries_in_any_order_and_twice(layout: Layout, number: int) -> None:
    names = MODEST[:number]
    manifest = scopes.manifest()
    for order in itertools.islice(itertools.permutations(names), 24):
        assert grants.wanted(manifest, [*order, *order[:1]], now=0) == grants.wanted(manifest, names, now=0)
    grants.write(layout, grants.wanted(manifest, names))
    assert grants.granted(layout, manifest, DIGEST) == set(names)
    rest = [name for name in MODEST if name not in names]
    assert grants.granted(layout, manifest, DIGEST).isdisjoint(rest)
