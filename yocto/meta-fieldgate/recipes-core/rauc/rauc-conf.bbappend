FILESEXTRAPATHS:prepend:fieldgate-os := "${THISDIR}/files:"

# Partitions are named as this machine has them.
do_install:append:fieldgate-os() {
    sed -i -e 's!@COMPATIBLE@!${FIELDGATE_COMPATIBLE}!' \
           -e 's!@PARTITION@!${FIELDGATE_PARTITION}!' \
           -e 's!@TRIES@!${FIELDGATE_TRIES}!' \
           -e 's!@TRIES_PROVEN@!${FIELDGATE_TRIES_PROVEN}!' \
           -e 's!@KEYRING@!${@os.path.basename(d.getVar('RAUC_KEYRING_FILE'))}!' \
           ${D}${nonarch_libdir}/rauc/system.conf
    if grep -q '^# Fieldgate development CA' ${D}${nonarch_libdir}/rauc/*.pem; then
        bbwarn "Devices will accept bundles of a development CA, whose key is not kept secret. Set RAUC_KEYRING_FILE to the certificates of your product."
    fi
}
do_install[vardeps] += "FIELDGATE_COMPATIBLE FIELDGATE_PARTITION FIELDGATE_TRIES FIELDGATE_TRIES_PROVEN"

PACKAGE_ARCH:fieldgate-os = "${MACHINE_ARCH}"
