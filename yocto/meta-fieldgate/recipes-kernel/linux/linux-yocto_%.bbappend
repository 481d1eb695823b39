FILESEXTRAPATHS:prepend:fieldgate-os := "${THISDIR}/files:"

# The counters of U-Boot are in the flash of the emulated machine.
SRC_URI:append:fieldgate-os:qemuall = " file://fieldgate-flash.cfg"
