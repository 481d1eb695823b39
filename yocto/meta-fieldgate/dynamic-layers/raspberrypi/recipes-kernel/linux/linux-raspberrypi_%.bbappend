FILESEXTRAPATHS:prepend:fieldgate-os := "${THISDIR}/files:"

SRC_URI:append:fieldgate-os = " file://fieldgate-rauc.cfg"
