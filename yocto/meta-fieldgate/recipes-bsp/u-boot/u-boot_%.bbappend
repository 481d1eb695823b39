FILESEXTRAPATHS:prepend:fieldgate-os := "${THISDIR}/files:"

SRC_URI:append:fieldgate-os = " ${FIELDGATE_UBOOT_FRAGMENTS}"
