#!/bin/sh
# Runs a command in a root directory that consists of the machine's files and further mounts.
# enter.sh ROOT WORK_DIR SOURCE:TARGET... -- COMMAND...
set -eu
root=$1 work_dir=$2
shift 2
if [ "$1" = -- ]; then
    shift
    cd "$work_dir"
    exec "$@"
fi

open() { # create directory $1 below the root, with bind mounts of the entries that the machine has in it
    [ ! -e "$root$1/.opened" ] || return 0
    mkdir -p "$root$1"
    mount -t tmpfs tmpfs "$root$1"
    : > "$root$1/.opened"
    for entry in "$1"/* "$1"/.[!.]*; do
        if [ -L "$entry" ]; then
            cp -P "$entry" "$root$entry"
        elif [ -d "$entry" ]; then
            mkdir "$root$entry" && mount --rbind "$entry" "$root$entry"
        elif [ -f "$entry" ]; then
            : > "$root$entry" && mount --bind "$entry" "$root$entry"
        fi
    done
}

open ""
while [ "$1" != -- ]; do
    source=${1%%:*} target=${1#*:} above=
    shift
    rest=${target#/}
    while [ "$rest" != "${rest#*/}" ]; do
        above=$above/${rest%%/*} rest=${rest#*/}
        open "$above"
    done
    mkdir -p "$root$target"
    mount --bind "$source" "$root$target"
done
shift
exec chroot "$root" env -C "$work_dir" -- "$@"
