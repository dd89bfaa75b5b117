# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be written as ``image``."""

from __future__ import annotations

import pytest
from ansible_collections.nexcage.backends.plugins.module_utils.broker.image_reference import FORMS, mask, parse
from ansible_collections.nexcage.backends.plugins.module_utils.model.errors import NexcageError
from hypothesis import given
from hypothesis import strategies as st

PIN = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "transport", "location", "tag", "pin", "skopeo"),
    [
        ("docker://r.example.org/a/b:1", "docker", "r.example.org/a/b", "1", None, "docker://r.example.org/a/b:1"),
        ("docker://r.example.org:5000/a", "docker", "r.example.org:5000/a", None, None, "docker://r.example.org:5000/a:latest"),
        ("docker://localhost/a", "docker", "localhost/a", None, None, "docker://localhost/a:latest"),
        ("docker://[::1]:5000/a:x", "docker", "[::1]:5000/a", "x", None, "docker://[::1]:5000/a:x"),
        ("r.example.org/a_b.c-d__e:V1.0-x", "docker", "r.example.org/a_b.c-d__e", "V1.0-x", None, "docker://r.example.org/a_b.c-d__e:V1.0-x"),
        ("host:5000/a", "docker", "host:5000/a", None, None, "docker://host:5000/a:latest"),
        (f"r.example.org/a@{PIN}", "docker", "r.example.org/a", None, PIN, f"docker://r.example.org/a@{PIN}"),
        (f"docker://r.example.org/a:1@{PIN}", "docker", "r.example.org/a", "1", PIN, f"docker://r.example.org/a@{PIN}"),
        ("oci:/srv/image", "oci", "/srv/image", None, None, "oci:/srv/image"),
        ("oci:/srv/image/:1", "oci", "/srv/image", "1", None, "oci:/srv/image:1"),
        ("oci:/:1", "oci", "/", "1", None, "oci:/:1"),
        (f"oci:/srv/a b@{PIN}", "oci", "/srv/a b", None, PIN, "oci:/srv/a b"),
        ("oci:/srv/image:a:b", "oci", "/srv/image", "a:b", None, "oci:/srv/image:a:b"),
        ("oci-archive:/srv/i.tar:1", "oci-archive", "/srv/i.tar", "1", None, "oci-archive:/srv/i.tar:1"),
        ("docker-archive:/srv/i.tar:busybox:1", "docker-archive", "/srv/i.tar", "busybox:1", None, "docker-archive:/srv/i.tar:busybox:1"),
    ],
)
def test_forms(text: str, transport: str, location: str, tag: str | None, pin: str | None, skopeo: str) -> None:
    reference = parse(text)
    assert reference == (text, transport, location, tag, pin)
    assert reference.for_skopeo() == skopeo
    assert reference.registry() == (location.split("/", maxsplit=1)[0] if transport == "docker" else "")


@pytest.mark.parametrize(
    ("text", "message", "remedy"),
    [
        ("busybox:1", "short names are never guessed", "docker://docker.io/library/busybox:1 if"),
        ("busybox", "short names", "docker://docker.io/library/busybox if"),
        ("docker://busybox", "short names", "docker://docker.io/library/busybox if"),
        ("team/busybox:1", "short names", "docker://docker.io/team/busybox:1 if"),
        ("Busy Box", "short names", FORMS),
        ("", "one line of printable text", FORMS),
        ("oci:/a\nb", "one line", FORMS),
        ("oci:/a\0", "one line", FORMS),
        ("oci:/" + "a" * 5000, "one line", FORMS),
        (7, "one line", FORMS),
        ("oci:image:1", "absolute", "oci:/full/path"),
        ("oci-archive:", "absolute", "oci-archive:/full/path"),
        ("/srv/image", "names no registry", FORMS),
        ("docker:r.example.org/a", "'docker://'", FORMS),
        ("dir:/srv/x", "'dir' is not supported", FORMS),
        ("containers-storage:x", "not supported", FORMS),
        ("https://r.example.org/a", "'https' is not supported", FORMS),
        ("-r.example.org/a", "'-r.example.org' is no registry", FORMS),
        ("docker://r.example.org:x/a", "no registry", FORMS),
        ("docker://r..example/a", "no registry", FORMS),
        ("docker://r.example.org/A", "in lower case", FORMS),
        ("docker://r.example.org/../a", "no image's name", FORMS),
        ("docker://r.example.org/", "no image's name", FORMS),
        ("docker://r.example.org/" + "a" * 256, "no image's name", FORMS),
        ("docker://r.example.org/a:" + "t" * 129, "no image's name", FORMS),
        ("docker://r.example.org/a@sha256:12", "no image's name", FORMS),
        ("docker://r.example.org/a@sha512:" + "0" * 128, "no image's name", FORMS),
        ("docker://r.example.org/a --x", "no image's name", FORMS),
    ],
)
def test_refusals(text: str, message: str, remedy: str) -> None:
    with pytest.raises(NexcageError) as caught:
        parse(text)
    error = caught.value
    assert (error.code, error.option) == ("E_INVALID", "image")
    assert message in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize("text", ["docker://me:geheim@r.example.org/a", "me:geheim@r.example.org/a:1", "docker://me:geheim@r.example.org/a@" + PIN])
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(NexcageError) as caught:
        parse(text)
    assert "no credentials" in caught.value.message
    assert "geheim" not in str(caught.value) + repr(caught.value.as_dict())


def test_mask_leaves_digests_alone() -> None:
    text = f"https://u:p@proxy/ said no to r.example.org:5000/a:1@{PIN}"
    assert mask(text) == f"https://***@proxy/ said no to r.example.org:5000/a:1@{PIN}"


@given(st.text(max_size=60) | st.from_regex(r"[a-z]{0,8}:?/{0,2}[a-z./:@-]{0,40}"))
def test_anything_is_taken_apart_or_refused(text: str) -> None:
    try:
        reference = parse(text)
    except NexcageError as error:
        assert error.code == "E_INVALID"
    else:
        assert reference.text == text
        assert reference.for_skopeo().split(":")[0] == reference.transport
