#!/bin/sh
# Installs SoftHSM2 on Debian or Ubuntu if it is not there. Does nothing, quickly, if it is.
#
# Needs root or sudo without a password; otherwise says the exact command and exits 1.
# KEYVAULT_SOFTHSM_MODULES: other places of the module, separated by spaces.
set -eu

modules=${KEYVAULT_SOFTHSM_MODULES:-/usr/lib/softhsm/libsofthsm2.so
/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so
/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so}

found() {
    for module in $modules; do
        if [ -f "$module" ]; then
            echo "SoftHSM2 is installed: $module"
            return 0
        fi
    done
    return 1
}

give_up() {
    echo "SoftHSM2 is not installed, and cannot be from here: $1. Run:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends softhsm2" >&2
    exit 1
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

frontend=${DEBIAN_FRONTEND:-noninteractive}
echo "Installing SoftHSM2 with apt-get"
$as_root env DEBIAN_FRONTEND="$frontend" apt-get update -q || echo "apt-get update failed; trying with the lists as they are" >&2
$as_root env DEBIAN_FRONTEND="$frontend" apt-get install -q -y --no-install-recommends softhsm2 || give_up "apt-get install failed"
found || give_up "the package is there but its module is not"
