# shellcheck shell=bash
# Sourced by the scripts beside it: installs Debian packages for commands that are missing.

# again COMMAND...: up to three times, for what comes over a network and may come a moment later.
again() {
    local pause
    for pause in 10 30; do
        "$@" && return 0
        echo "warning: failed, and is tried once more in $pause s: $*" >&2
        sleep "$pause"
    done
    "$@"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] && return 0
    command -v sudo >/dev/null || return 1
    # Ask for the password only where somebody can answer.
    sudo -n true 2>/dev/null || [ -t 0 ]
}

# missing_packages COMMAND=PACKAGE...: the packages of the commands that are not there.
missing_packages() {
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || printf ' %s' "${pair#*=}"
    done
}

# missing_for_image: the same for all that scripts/image needs. Who runs that twice at a time installs it first.
missing_for_image() {
    missing_packages systemctl=systemd mmdebstrap=mmdebstrap arch-test=arch-test qemu-aarch64-static=qemu-user-static \
        update-binfmts=binfmt-support mkfs.vfat=dosfstools mcopy=mtools sfdisk=fdisk mke2fs=e2fsprogs mkimage=u-boot-tools depmod=kmod \
        cpio=cpio gzip=gzip rauc=rauc mksquashfs=squashfs-tools openssl=openssl python3=python3
}

# fetch_lists APT-GET...: the lists of packages, by apt-get with the words before it. One that cannot be fetched, which apt by itself
# calls a success, stops nobody: what is wanted may be in the others.
fetch_lists() {
    again "$@" -qq -o APT::Update::Error-Mode=any -o DPkg::Lock::Timeout=600 update >&2 ||
        echo "warning: not every list of packages could be fetched; going on with those that are there" >&2
}

# install_packages PACKAGE...
install_packages() {
    echo "installing: $*" >&2
    if ! can_install; then
        echo "error: cannot install packages here (no root, no sudo, or no apt-get)" >&2
        echo "hint: have an administrator run: apt-get install $*" >&2
        return 1
    fi
    fetch_lists as_root apt-get
    # Another program may be using apt just now: wait for it.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q --no-install-recommends "$@" >&2
}

# debian_archive SUITE: where this machine gets a suite of Debian from, however its sources are written, and whether or not it has
# fetched their lists.
debian_archive() {
    local archive
    archive=$(apt-get --print-uris update | awk -v end="/dists/$1/InRelease'" '
        (at = index($1, end)) && !found { found = 1; print substr($1, 2, at - 2) }')
    if [ -n "$archive" ]; then echo "$archive"; return 0; fi
    echo "error: the sources of apt do not name the suite $1 of Debian" >&2
    return 1
}

# needs_root SCRIPT WHY: says before anything is made that it takes root.
needs_root() {
    [ "$(id -u)" = 0 ] && return 0
    echo "error: $2" >&2
    echo "hint: sudo $1" >&2
    return 1
}

# as_caller COMMAND...: as whoever called sudo. Rust is in the home of a person, and root is to leave nothing of its own there.
as_caller() {
    if [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        sudo -H -u "$SUDO_USER" "$@"
    else
        "$@"
    fi
}

find_cargo() {
    local home
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    if ! command -v cargo >/dev/null && [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ]; then
        # The home of root has no Rust; that of whoever called sudo has it.
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        export CARGO_HOME="${CARGO_HOME:-$home/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
        PATH="$PATH:$CARGO_HOME/bin"
    fi
    command -v cargo >/dev/null && return 0
    echo "error: cargo is missing" >&2
    echo "hint: install Rust with rustup, then run this again" >&2
    return 1
}
