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
do_install[vardeps] += "FIELDGATE_DISK FIELDGATE_PARTITION FIELDGATE_DATA_FORMAT FIELDGATE_RESET_GPIO"
do_install[file-checksums] += "${FIELDGATE_SOURCE}/systemd/appliance:True ${FIELDGATE_SOURCE}/systemd/install:True"

SYSTEMD_PACKAGES = "${PN}"
SYSTEMD_SERVICE:${PN} = "fieldgate-health-gate.service"
# systemd/appliance/system-preset says what is started.
SYSTEMD_AUTO_ENABLE:${PN} = "preset"

do_install() {
    SYSTEMD=${systemd_unitdir} UNITS=${systemd_system_unitdir} LIB=${nonarch_libdir} LIBEXEC=${libexecdir} \
        sh ${S}/systemd/install appliance ${D}

    install -d ${D}${nonarch_libdir}/fieldgate
    echo "FIELDGATE_DISK=/dev/${FIELDGATE_DISK}" > ${D}${nonarch_libdir}/fieldgate/appliance.conf
    echo "FIELDGATE_DATA=${FIELDGATE_PARTITION}4" >> ${D}${nonarch_libdir}/fieldgate/appliance.conf
    echo 'FIELDGATE_DATA_FORMAT="${FIELDGATE_DATA_FORMAT}"' >> ${D}${nonarch_libdir}/fieldgate/appliance.conf
    if [ -n "${FIELDGATE_RESET_GPIO}" ]; then
        echo "FIELDGATE_RESET_GPIO=${FIELDGATE_RESET_GPIO}" >> ${D}${nonarch_libdir}/fieldgate/appliance.conf
    fi
}

FILES:${PN} = " \
    /data \
    ${systemd_system_unitdir} \
    ${systemd_unitdir}/system-preset \
    ${nonarch_libdir}/systemd \
    ${nonarch_libdir}/fieldgate \
    ${libexecdir}/fieldgate \
    ${sysconfdir}/issue.d \
    ${localstatedir}/log/journal \
"

RDEPENDS:${PN} = " \
    dosfstools \
    e2fsprogs-e2fsck \
    e2fsprogs-mke2fs \
    fieldgate \
    libubootenv-bin \
    util-linux-blkid \
    util-linux-fstrim \
    util-linux-nsenter \
    util-linux-partx \
    util-linux-sfdisk \
"
