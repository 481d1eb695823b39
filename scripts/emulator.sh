# shellcheck shell=bash
# Sourced by tests, after packages.sh: the emulator of the boards.
#
# The emulated flash of QEMU 7.2, which Debian 12 has, gives up half way through what U-Boot saves; the one of the backports
# does not. They are asked for in a private configuration, so that nothing else of the machine changes its source.

install_emulator_if_old() {
    local version
    # None at all is no fault of this script, whose callers have pipefail.
    version=$(qemu-system-aarch64 --version 2>/dev/null | sed -n '1s/.*version \([0-9]*\).*/\1/p') || version=0
    if [ "${version:-0}" -lt 9 ]; then install_emulator; fi
}

install_emulator() {
    if [ "$(. /etc/os-release && echo "$VERSION_CODENAME")" != bookworm ]; then
        install_packages qemu-system-arm
        return
    fi
    local folder archive
    folder=$(mktemp -d)
    archive=$(debian_archive bookworm)
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    for suite in bookworm bookworm-backports; do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main"
    done >"$folder/sources.list"
    cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$folder/lists";
Dir::Cache "$folder/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
    echo "installing: qemu-system-arm of the backports" >&2
    fetch_lists as_root env "APT_CONFIG=$folder/apt.conf" apt-get
    as_root env APT_CONFIG="$folder/apt.conf" DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -q \
        --no-install-recommends qemu-system-arm/bookworm-backports qemu-system-common/bookworm-backports \
        qemu-system-data/bookworm-backports >&2
    as_root rm -rf "$folder"
}
