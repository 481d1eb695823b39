RAUC_KEYRING_URI ??= "file://${RAUC_KEYRING_FILE}"
SRC_URI = "file://system.conf ${RAUC_KEYRING_URI}"
S = "${UNPACKDIR}"

do_install() {
    install -D -m 0644 ${UNPACKDIR}/system.conf ${D}${nonarch_libdir}/rauc/system.conf
    install -D -m 0644 ${UNPACKDIR}/$(basename ${RAUC_KEYRING_FILE}) ${D}${nonarch_libdir}/rauc/$(basename ${RAUC_KEYRING_FILE})
}
