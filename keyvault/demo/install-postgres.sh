#!/bin/sh
# Installs PostgreSQL's server programs (15 or newer) by apt, if they are not there. Does nothing, quickly, if they are.
# `make test` and `make demo-ha` start servers of their own, in folders of their own.
#
# No server is started: Debian's packages make a cluster and start it when they are installed, unless
# create_main_cluster is off, which it is here for as long as the installation takes.
#
# Needs root or sudo without a password; otherwise says the exact command, and exits 1.
# KEYVAULT_POSTGRES_FOLDERS: other places of the programs, separated by spaces.
set -eu

version_min=15
folders=${KEYVAULT_POSTGRES_FOLDERS:-/usr/lib/postgresql/*/bin}
settings=/etc/postgresql-common/createcluster.conf

found() {
    for folder in $folders; do # a pattern that matches nothing stays as it is, and is no folder
        version=$(basename "$(dirname "$folder")")
        case $version in *[!0-9]*) continue ;; esac
        if [ "$version" -ge "$version_min" ] && [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            echo "PostgreSQL is installed: $folder"
            return 0
        fi
    done
    [ -z "${KEYVAULT_POSTGRES_FOLDERS:-}" ] && command -v initdb >/dev/null 2>&1 && echo "PostgreSQL is installed: $(command -v initdb)"
}

give_up() {
    echo "PostgreSQL's server (version $version_min or newer) is not installed, and cannot be from here: $1. Run:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends postgresql" >&2
    exit 1
}

newest() {
    apt-cache search --names-only '^postgresql-[0-9]+$' | sed -n 's/^\(postgresql-\([0-9]*\)\) .*/\2 \1/p' |
        sort -n | awk -v least="$version_min" '$1 >= least { name = $2 } END { print name }'
}

found && exit 0
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get"

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1; then
    as_root="sudo -n"
else
    give_up "neither root nor sudo without a password"
fi

install() {
    $as_root env DEBIAN_FRONTEND="${DEBIAN_FRONTEND:-noninteractive}" apt-get install -q -y --no-install-recommends "$1" ||
        give_up "apt-get install failed"
}

put_back() {
    if [ -f "$settings.keyvault" ]; then $as_root mv "$settings.keyvault" "$settings"; fi
}

$as_root apt-get update -q || echo "apt-get update failed; trying with the lists as they are" >&2
package=$(newest)
[ -n "$package" ] || give_up "this release has no PostgreSQL $version_min; apt.postgresql.org has"
echo "Installing with apt-get: $package"
install postgresql-common
trap put_back EXIT
$as_root cp -p "$settings" "$settings.keyvault"
echo "create_main_cluster = false" | $as_root tee -a "$settings" >/dev/null
install "$package"
found || give_up "the package is there but its programs are not"
