#!/bin/sh
# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes a small OCI image out of this machine's busybox, without a registry: make_demo_image.sh LAYOUT TAG
# Use it as image: oci:LAYOUT:TAG. A tag that is there already is left alone. Needs umoci and a static busybox.
set -eu

if [ $# != 2 ]; then
    echo "usage: $0 LAYOUT TAG, such as $0 /srv/images/web 1" >&2
    exit 2
fi
layout=$1
tag=$2
case $layout in
/*) ;;
*)
    echo "$0: $layout is not an absolute path, and oci:LAYOUT:TAG needs one" >&2
    exit 2
    ;;
esac
if [ -e "$layout/index.json" ] && umoci ls --layout "$layout" | grep -qxF "$tag"; then
    echo "unchanged: $layout:$tag"
    exit 0
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"
umask 022
mkdir -p "$root/bin" "$root/etc" "$root/root" "$root/proc" "$root/sys" "$root/dev" "$root/tmp"
chmod 1777 "$root/tmp"
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"

mkdir -p "$(dirname "$layout")"
[ -e "$layout/index.json" ] || umoci init --layout "$layout"
# The tag appears last, so that it never stands for half an image.
umoci new --image "$layout:$tag.new"
umoci insert --image "$layout:$tag.new" "$root" / >/dev/null
umoci config --image "$layout:$tag.new" --config.cmd /bin/sh --config.workingdir / --config.stopsignal SIGTERM \
    --config.env PATH=/bin --config.label org.opencontainers.image.title=nexcage-demo
umoci tag --image "$layout:$tag.new" "$tag"
umoci rm --image "$layout:$tag.new"
umoci gc --layout "$layout"
echo "made: $layout:$tag"
