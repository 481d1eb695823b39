SUMMARY = "The gateway that also hosts k3s"
DESCRIPTION = "fieldgate-image with a k3s server, whose state is on the data partition."

require recipes-core/images/fieldgate-image.inc

inherit features_check
REQUIRED_DISTRO_FEATURES = "virtualization seccomp"

IMAGE_INSTALL += " \
    k3s-server \
    fieldgate-k3s \
    cni \
"
