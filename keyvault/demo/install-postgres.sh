#!/bin/sh
# Installs PostgreSQL's server programs (15 or newer) by apt, if they are not there, and unpacks etcd, which Patroni needs.
# Does nothing, quickly, if both are. `make test` and `make demo-ha` start servers of their own, in folders of their own.
#
# No server is started. Debian's packages make a cluster and start it when they are installed, unless create_main_cluster
# is off, which it is here for as long as the installation takes. etcd's package would start an etcd now and at each boot:
# it is downloaded and checked by apt, but only unpacked, into .etcd beside the Makefile. So is Patroni's client of etcd,
# which has no wheel; Patroni itself is in requirements.lock.
#
# PostgreSQL needs root or sudo without a password; otherwise the exact command is said, and the exit status is 1. Without
# etcd everything works but Patroni; that is said, too, and the exit status is 0.
# KEYVAULT_POSTGRES_FOLDERS: other places of the programs, separated by spaces.
set -eu

version_min=15
folders=${KEYVAULT_POSTGRES_FOLDERS:-/usr/lib/postgresql/*/bin}
settings=/etc/postgresql-common/createcluster.conf
etcd=$(cd "$(dirname "$0")/../.." && pwd)/.etcd
etcd_packages="etcd-server python3-etcd"

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

found_etcd() {
    [ -x "$etcd/usr/bin/etcd" ] && [ -d "$etcd/usr/lib/python3/dist-packages/etcd" ] && echo "etcd is there: $etcd/usr/bin/etcd"
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

become_root() {
    if [ "$(id -u)" -eq 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1; then
        as_root="sudo -n"
    else
        return 1
    fi
}

update() {
    $as_root apt-get update -q || echo "apt-get update failed; trying with the lists as they are" >&2
}

install() {
    $as_root env DEBIAN_FRONTEND="${DEBIAN_FRONTEND:-noninteractive}" apt-get install -q -y --no-install-recommends "$1" ||
        give_up "apt-get install failed"
}

put_back() {
    if [ -f "$settings.keyvault" ]; then $as_root mv "$settings.keyvault" "$settings"; fi
}

install_postgres() {
    command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get"
    become_root || give_up "neither root nor sudo without a password"
    update
    package=$(newest)
    [ -n "$package" ] || give_up "this release has no PostgreSQL $version_min; apt.postgresql.org has"
    echo "Installing with apt-get: $package"
    install postgresql-common
    trap put_back EXIT
    $as_root cp -p "$settings" "$settings.keyvault"
    echo "create_main_cluster = false" | $as_root tee -a "$settings" >/dev/null
    install "$package"
    put_back
    trap - EXIT
    found || give_up "the package is there but its programs are not"
}

# Everything is done by apt and dpkg as whoever calls; only lists of packages that are not there need root.
unpack_etcd() (
    command -v apt-get >/dev/null 2>&1 || exit 1
    # shellcheck disable=SC2086  # one word for each package
    if ! apt-cache show $etcd_packages >/dev/null 2>&1; then
        become_root && update
    fi
    folder=$(mktemp -d)
    trap 'rm -rf "$folder" "$etcd.new"' EXIT
    echo "Unpacking into $etcd: $etcd_packages"
    cd "$folder"
    # shellcheck disable=SC2086
    apt-get -o APT::Sandbox::User=root download -q $etcd_packages || exit 1
    rm -rf "$etcd.new"
    for package in ./*.deb; do dpkg-deb -x "$package" "$etcd.new" || exit 1; done
    rm -rf "$etcd"
    mv "$etcd.new" "$etcd"
)

found || install_postgres
found_etcd || { unpack_etcd && found_etcd; } ||
    echo "There is no etcd: make demo-ha and keyvault bench --failover promote standbys without Patroni." >&2
