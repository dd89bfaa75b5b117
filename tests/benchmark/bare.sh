#!/usr/bin/env bash
# Copyright (c) 2026 NexCage contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The floor under a container engine: what has to be called to bring containers up and down, and nothing else.
#
#   bare.sh up|down RUNTIME FOLDER BUNDLE COUNT
#
# BUNDLE is a generation that the engine has made; its config.json is used with other paths and another name.
set -eu -o pipefail
action=$1 runtime=$2 folder=$3 bundle=$4 count=$5

creator=("$runtime" --root "$folder/runtime")
# crun refuses to create where the v2 tree beside v1 has controllers.
if [ "${runtime##*/}" = crun ] && grep -qs . /sys/fs/cgroup/unified/cgroup.controllers; then
  # shellcheck disable=SC2016
  creator=(/usr/bin/unshare -m --propagation private /bin/sh -c 'umount "$0" && exec "$@"' /sys/fs/cgroup/unified "${creator[@]}")
fi
arguments=()
for argument in "${creator[@]:1}"; do arguments+=(--runtime-arg "$argument"); done

up() {
  local id=$1 place=$2 lower=$3 line
  mkdir -p "$place/upper" "$place/work" "$place/rootfs"
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$place/upper,workdir=$place/work" "$place/rootfs"
  cp "$bundle/hosts" "$bundle/hostname" "$bundle/resolv.conf" "$place/"
  sed -e "s#$bundle#$place#g" -e "s#${bundle##*/}#$id#g" "$bundle/config.json" >"$place/config.json"
  mkfifo "$place/sync"
  exec 9<>"$place/sync"
  _OCI_SYNCPIPE=9 conmon --api-version 1 -c "$id" -u "$id" -n "$id" -r "${creator[0]}" "${arguments[@]}" \
    -b "$place" -p "$place/pid" -P "$place/conmon.pid" --full-attach --exit-dir "$folder/exits" --persist-dir "$place" \
    --log-level error -l "k8s-file:$place/container.log" </dev/null >/dev/null 2>&1
  read -r -t 20 line <&9
  exec 9>&-
  case $line in *'"data": -1'* | '') echo "$line" >&2 && return 1 ;; esac
  "$runtime" --root "$folder/runtime" start "$id"
}

down() {
  local id=$1 place=$2
  "$runtime" --root "$folder/runtime" kill "$id" 9
  until [ -e "$folder/exits/$id" ]; do read -r -t 0.001 <>"$place/sync" || true; done
  "$runtime" --root "$folder/runtime" delete "$id"
  umount "$place/rootfs"
  rm -rf -- "$place" "${folder:?}/exits/$id"
}

mkdir -p "$folder/exits" "$folder/runtime"
lower=$(sed -n 's/.*"lower":"\([^"]*\)".*/\1/p' "$bundle/record.json")
for ((number = 0; number < count; number++)); do
  id=$(printf 'bare%012x' "$number")
  case $action in
    up) up "$id" "$folder/$id" "$lower" ;;
    down) down "$id" "$folder/$id" ;;
  esac
done
