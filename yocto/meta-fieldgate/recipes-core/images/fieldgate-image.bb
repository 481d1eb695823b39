SUMMARY = "The gateway: read-only root in two slots, data apart"
DESCRIPTION = "A disk image that boots, serves MQTT and is updated whole. Which machine: see yocto/README.md."

require fieldgate-image.inc
