# shellcheck shell=bash
# Sourced by the scripts beside it, after packages.sh: Debian packages of other architectures and suites, unpacked into a folder
# of their own, and programs of other machines. Nothing is installed, and the configuration of the machine's own apt stays as it
# is.

# foreign_apt FOLDER: the lists of amd64, arm64 and armhf of this machine's suite, below FOLDER; the other commands take it.
foreign_apt() {
    local folder=$1 suite main security keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    main=$(debian_archive "$suite")
    security=$(debian_archive "$suite-security" 2>/dev/null) || security=""
    mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
    : >"$folder/status"
    {
        echo "deb [arch=amd64,arm64,armhf signed-by=$keyring] $main $suite main"
        # A mirror of the security suite was seen without its armhf part, and one such part spoils the whole suite.
        [ -z "$security" ] || echo "deb [arch=amd64,arm64 signed-by=$keyring] $security $suite-security main"
        # What that leaves out of armhf, the next release has.
        [ "$suite" != bookworm ] || echo "deb [arch=armhf signed-by=$keyring] $main trixie main"
    } >"$folder/sources.list"
    cat >"$folder/apt.conf" <<CONF
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder/cache";
APT::Architectures { "amd64"; "arm64"; "armhf"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
CONF
    again env "APT_CONFIG=$folder/apt.conf" apt-get -qq -o APT::Update::Error-Mode=any update >&2
}

# foreign_version FOLDER PACKAGE BEGINNING: the newest version that begins so.
foreign_version() {
    APT_CONFIG=$1/apt.conf apt-cache madison "$2" |
        awk -F'|' -v beginning="$3" '{ gsub(/ /, "", $2) } index($2, beginning) == 1 && !found { print $2; found = 1 }'
}

# foreign_unpack FOLDER INTO PACKAGE[:ARCHITECTURE][=VERSION]...
foreign_unpack() {
    local folder=$1 into=$2 archive
    shift 2
    mkdir -p "$into" "$folder/debs"
    rm -f "$folder"/debs/*.deb
    (cd "$folder/debs" && APT_CONFIG=$folder/apt.conf apt-get -qq download "$@" >&2)
    for archive in "$folder"/debs/*.deb; do dpkg -x "$archive" "$into"; done
    rm -f "$folder"/debs/*.deb
}

# split_symbols TOOLS PROGRAM FOLDER: the program without its symbols, and the symbols with the name that debuggers look for.
# TOOLS is what the names of the binutils begin with.
split_symbols() {
    local tools=$1 program=$2 folder=$3
    mkdir -p "$folder"
    "${tools}objcopy" --only-keep-debug --compress-debug-sections=zlib "$program" "$folder/fieldgate.debug"
    chmod 0644 "$folder/fieldgate.debug"
    "${tools}strip" --strip-all -o "$folder/fieldgate" "$program"
    (cd "$folder" && "${tools}objcopy" --add-gnu-debuglink=fieldgate.debug fieldgate)
}

# glibc_of TOOLS PROGRAM: the oldest glibc that the program runs with; nothing for a static one. Relocations in their short form
# ask for 2.36 by a name without a number.
glibc_of() {
    "${1}readelf" --version-info --wide "$2" 2>/dev/null |
        sed -n 's/.*Name: GLIBC_\([^ ]*\).*/\1/p' | sed 's/^ABI_DT_RELR$/2.36/' | sort -Vu | tail -n 1
}

build_id_of() { "${1}readelf" --notes "$2" | sed -n 's/.*Build ID: //p'; }
