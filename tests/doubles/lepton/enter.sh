#!/bin/sh
# The inside of a container: the machine's own files with folders mounted over them, seen by this process alone.
# enter.sh ROOT FOLDER SOURCE:TARGET... -- COMMAND...
set -eu
root=$1 folder=$2
shift 2
if [ "$1" = -- ]; then
    shift
    cd "$folder"
    exec "$@"
fi

open() { # make folder $1 of the root our own, with what the machine has in it
    [ ! -e "$root$1/.ours" ] || return 0
    mkdir -p "$root$1"
    mount -t tmpfs tmpfs "$root$1"
    : > "$root$1/.ours"
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
exec chroot "$root" env -C "$folder" -- "$@"
