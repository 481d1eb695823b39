SUMMARY = "Choice of the slot, and where its counters are"
DESCRIPTION = "The boot script of U-Boot, which counts a try of a slot before it makes it, and fw_env.config for RAUC."
HOMEPAGE = "https://example.invalid/fieldgate"
SECTION = "bootloaders"
LICENSE = "MIT | Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

DEPENDS = "u-boot-mkimage-native"
INHIBIT_DEFAULT_DEPS = "1"

PROVIDES += "u-boot-default-script"
PACKAGE_ARCH = "${MACHINE_ARCH}"
COMPATIBLE_MACHINE = "^(qemuall|rpi)$"

SRC_URI = "file://boot.cmd.in \
           file://fw_env.config.in"

S = "${UNPACKDIR}"
B = "${WORKDIR}/build"

inherit kernel-arch deploy

do_configure[noexec] = "1"

python do_render() {
    import os
    values = {
        'TRIES': 'FIELDGATE_TRIES',
        'DISK': 'FIELDGATE_UBOOT_DISK',
        'PARTITION': 'FIELDGATE_PARTITION',
        'ARGS': 'FIELDGATE_BOOT_ARGS',
        'FDT': 'FIELDGATE_BOOT_FDT',
        'COMMAND': 'FIELDGATE_BOOT_COMMAND',
        'KERNEL': 'KERNEL_IMAGETYPE',
        'LOAD': 'FIELDGATE_BOOT_LOAD',
        'SAVE': 'FIELDGATE_BOOT_SAVE',
        'ENV_DEVICE': 'FIELDGATE_ENV_DEVICE',
        'ENV_OFFSET': 'FIELDGATE_ENV_OFFSET',
        'ENV_OFFSET_REDUND': 'FIELDGATE_ENV_OFFSET_REDUND',
        'ENV_SIZE': 'FIELDGATE_ENV_SIZE',
        'ENV_SECTOR': 'FIELDGATE_ENV_SECTOR',
    }
    for name in ('boot.cmd', 'fw_env.config'):
        with open(os.path.join(d.getVar('UNPACKDIR'), name + '.in')) as template:
            text = template.read()
        for key, variable in values.items():
            value = d.getVar(variable)
            if value is None:
                bb.fatal('%s is not set for %s' % (variable, d.getVar('MACHINE')))
            text = text.replace('@%s@' % key, value)
        with open(os.path.join(d.getVar('B'), name), 'w') as rendered:
            rendered.write(text)
}
do_render[dirs] = "${B}"
do_render[vardeps] += "FIELDGATE_TRIES FIELDGATE_UBOOT_DISK FIELDGATE_PARTITION FIELDGATE_BOOT_ARGS FIELDGATE_BOOT_FDT \
    FIELDGATE_BOOT_COMMAND FIELDGATE_BOOT_LOAD FIELDGATE_BOOT_SAVE KERNEL_IMAGETYPE FIELDGATE_ENV_DEVICE FIELDGATE_ENV_OFFSET FIELDGATE_ENV_OFFSET_REDUND \
    FIELDGATE_ENV_SIZE FIELDGATE_ENV_SECTOR"
addtask render after do_configure before do_compile

do_compile() {
    mkimage -A ${UBOOT_ARCH} -T script -C none -n "Fieldgate slots" -d ${B}/boot.cmd ${B}/boot.scr
}

do_install() {
    install -D -m 0644 ${B}/fw_env.config ${D}${sysconfdir}/fw_env.config
}

do_deploy() {
    install -m 0644 ${B}/boot.scr ${DEPLOYDIR}/boot.scr
}
# QEMU keeps the counters in its second flash, which has to exist.
do_deploy:append:qemuall() {
    truncate -s 64M ${DEPLOYDIR}/fieldgate-flash1.img
}
addtask deploy after do_compile before do_build

FILES:${PN} = "${sysconfdir}/fw_env.config"
