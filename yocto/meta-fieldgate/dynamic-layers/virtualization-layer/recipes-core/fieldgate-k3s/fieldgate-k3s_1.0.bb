SUMMARY = "State of k3s on the data partition"
DESCRIPTION = "Bind mounts of the folders of k3s, and a data partition that containers may run from."
HOMEPAGE = "https://example.invalid/fieldgate"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

SRC_URI = " \
    file://var-lib-rancher.mount \
    file://etc-rancher.mount \
    file://fieldgate-k3s-folders.service \
    file://50-containers.conf \
    file://50-fieldgate.conf \
"
S = "${UNPACKDIR}"

inherit allarch systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd virtualization"
INHIBIT_DEFAULT_DEPS = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

SYSTEMD_SERVICE:${PN} = "var-lib-rancher.mount etc-rancher.mount"

do_install() {
    for unit in var-lib-rancher.mount etc-rancher.mount fieldgate-k3s-folders.service; do
        install -D -m 0644 ${UNPACKDIR}/$unit ${D}${systemd_system_unitdir}/$unit
    done
    install -D -m 0644 ${UNPACKDIR}/50-containers.conf ${D}${systemd_system_unitdir}/data.mount.d/50-containers.conf
    install -D -m 0644 ${UNPACKDIR}/50-fieldgate.conf ${D}${systemd_system_unitdir}/k3s.service.d/50-fieldgate.conf
    install -d ${D}${sysconfdir}/rancher
}

FILES:${PN} = "${systemd_system_unitdir} ${sysconfdir}/rancher"
RDEPENDS:${PN} = "fieldgate-appliance k3s-server"
