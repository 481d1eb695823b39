SUMMARY = "Configuration of the broker"
DESCRIPTION = "Apart from the program, so that a site brings its own without building the program again: set \
FIELDGATE_CONFIG_FILE to a file of yours. On a device /data holds the copy that is edited; this is what it starts from."
HOMEPAGE = "https://example.invalid/fieldgate"
SECTION = "net"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit allarch

# The commented default of the checkout serves on loopback only.
FIELDGATE_CONFIG_EXAMPLE = "${FIELDGATE_LAYERDIR}/../../config/gateway.toml"
FIELDGATE_CONFIG_FILE ??= "${FIELDGATE_CONFIG_EXAMPLE}"

INHIBIT_DEFAULT_DEPS = "1"
S = "${UNPACKDIR}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[file-checksums] += "${FIELDGATE_CONFIG_FILE}:True ${FIELDGATE_CONFIG_EXAMPLE}:True"

do_install() {
    if cmp -s ${FIELDGATE_CONFIG_FILE} ${FIELDGATE_CONFIG_EXAMPLE}; then
        bbwarn "The example configuration is built in, which serves this device alone. Set FIELDGATE_CONFIG_FILE to the file of your site."
    fi
    install -d ${D}${sysconfdir}/fieldgate/conf.d
    install -m 0644 ${FIELDGATE_CONFIG_FILE} ${D}${sysconfdir}/fieldgate/gateway.toml
}

FILES:${PN} = "${sysconfdir}/fieldgate"
CONFFILES:${PN} = "${sysconfdir}/fieldgate/gateway.toml"
