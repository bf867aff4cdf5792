#!/bin/sh
# Installs SoftHSM2, and OpenSSH's ssh-agent and ssh-add for the tests, on Debian or Ubuntu where they are not there.
# Does nothing, quickly, if they are.
#
# Needs root or sudo without a password; otherwise says the exact command, and exits 1 if SoftHSM2 is missing. Without an
# SSH agent everything works but the tests of approvals through one.
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

found_agent() {
    command -v ssh-agent >/dev/null 2>&1 && command -v ssh-add >/dev/null 2>&1
}

give_up() {
    echo "Not installed:$missing. It cannot be from here: $1. Run:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    case $missing in *softhsm2*) exit 1 ;; *) exit 0 ;; esac
}

missing=
found || missing=" softhsm2"
found_agent || missing="$missing openssh-client"
[ -n "$missing" ] || exit 0
command -v apt-get >/dev/null 2>&1 || give_up "there is no apt-get"

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true >/dev/null 2>&1; then
    as_root="sudo -n"
else
    give_up "neither root nor sudo without a password"
fi

frontend=${DEBIAN_FRONTEND:-noninteractive}
echo "Installing with apt-get:$missing"
$as_root env DEBIAN_FRONTEND="$frontend" apt-get update -q || echo "apt-get update failed; trying with the lists as they are" >&2
# shellcheck disable=SC2086  # one word for each package
$as_root env DEBIAN_FRONTEND="$frontend" apt-get install -q -y --no-install-recommends $missing || give_up "apt-get install failed"
case $missing in *softhsm2*) found || give_up "the package is there but its module is not" ;; esac
