SUMMARY = "What makes an appliance of the broker"
DESCRIPTION = "Mounts of the data partition, first start, host name, health gate, watchdog and journal: the units of \
systemd/appliance, and where the partitions of this machine are."
HOMEPAGE = "https://example.invalid/fieldgate"
SECTION = "base"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

inherit fieldgate_source systemd features_check

REQUIRED_DISTRO_FEATURES = "systemd rauc"
PACKAGE_ARCH = "${MACHINE_ARCH}"
COMPATIBLE_MACHINE = "^(qemuall|rpi)$"
INHIBIT_DEFAULT_DEPS = "1"

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[vardeps] += "FIELDGATE_DISK FIELDGATE_PARTITION"
do_install[file-checksums] += "${FIELDGATE_SOURCE}/systemd/appliance:True"

SYSTEMD_PACKAGES = "${PN}"
SYSTEMD_SERVICE:${PN} = "fieldgate-health-gate.service"
# systemd/appliance/system-preset says what is started.
SYSTEMD_AUTO_ENABLE:${PN} = "preset"

APPLIANCE = "${S}/systemd/appliance"

do_install() {
    for unit in ${APPLIANCE}/*.service ${APPLIANCE}/*.mount; do
        install -D -m 0644 "$unit" ${D}${systemd_system_unitdir}/$(basename "$unit")
    done
    for preset in ${APPLIANCE}/system-preset/*.preset; do
        install -D -m 0644 "$preset" ${D}${systemd_unitdir}/system-preset/$(basename "$preset")
    done
    for program in ${APPLIANCE}/libexec/*; do
        install -D -m 0755 "$program" ${D}${libexecdir}/fieldgate/$(basename "$program")
    done
    for entry in ${APPLIANCE}/drop-ins/*.service.d/*.conf; do
        install -D -m 0644 "$entry" ${D}${systemd_system_unitdir}/$(basename $(dirname "$entry"))/$(basename "$entry")
    done
    for folder in system journald; do
        for entry in ${APPLIANCE}/drop-ins/$folder.conf.d/*.conf; do
            install -D -m 0644 "$entry" ${D}${nonarch_libdir}/systemd/$folder.conf.d/$(basename "$entry")
        done
    done

    install -d ${D}${nonarch_libdir}/fieldgate
    echo "FIELDGATE_DISK=/dev/${FIELDGATE_DISK}" > ${D}${nonarch_libdir}/fieldgate/appliance.conf
    echo "FIELDGATE_DATA=${FIELDGATE_PARTITION}4" >> ${D}${nonarch_libdir}/fieldgate/appliance.conf

    # Where /data and the journal are mounted: the root is read-only, so the folders have to be in it.
    install -d ${D}/data ${D}${localstatedir}/log/journal
}

FILES:${PN} = " \
    /data \
    ${systemd_system_unitdir} \
    ${systemd_unitdir}/system-preset \
    ${nonarch_libdir}/systemd \
    ${nonarch_libdir}/fieldgate \
    ${libexecdir}/fieldgate \
    ${localstatedir}/log/journal \
"

RDEPENDS:${PN} = " \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    fieldgate \
    libubootenv-bin \
    util-linux-fstrim \
    util-linux-partx \
    util-linux-sfdisk \
"
