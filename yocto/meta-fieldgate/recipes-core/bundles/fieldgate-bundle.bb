SUMMARY = "Signed update of the gateway"
DESCRIPTION = "The root of the other slot, its kernel with it. Signed with RAUC_KEY_FILE and RAUC_CERT_FILE, which come from the \
build environment: a path, or a pkcs11: URI."
HOMEPAGE = "https://example.invalid/fieldgate"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit bundle

COMPATIBLE_MACHINE = "^(qemuall|rpi)$"

FIELDGATE_BUNDLE_IMAGE ??= "fieldgate-image"

RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_COMPATIBLE = "${FIELDGATE_COMPATIBLE}"
RAUC_BUNDLE_VERSION = "${DISTRO_VERSION}"
RAUC_BUNDLE_DESCRIPTION = "Fieldgate OS ${DISTRO_VERSION} for ${MACHINE}"
# Not the time of day: the same source makes the same bundle.
RAUC_BUNDLE_BUILD = "${SOURCE_DATE_EPOCH}"
RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "${FIELDGATE_BUNDLE_IMAGE}"
RAUC_SLOT_rootfs[fstype] = "ext4"
# Only blocks that differ from either slot are written.
RAUC_SLOT_rootfs[adaptive] = "block-hash-index"

do_bundle:prepend() {
    if [ -f "${RAUC_CERT_FILE}" ] && grep -q '^# Fieldgate development CA' "${RAUC_CERT_FILE}"; then
        bbwarn "This bundle is signed by a development CA. No device of a product should accept it."
    fi
}
