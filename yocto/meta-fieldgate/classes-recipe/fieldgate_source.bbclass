# Where the source of Fieldgate comes from: this checkout, or a release by its commit.
#
# For a release FIELDGATE_SOURCE is empty, FIELDGATE_SRC_URI is like "git://HOST/fieldgate;protocol=https;branch=main;tag=v0.1.0"
# and FIELDGATE_SRCREV the commit of that tag.

inherit externalsrc

FIELDGATE_SRC_URI ??= ""
FIELDGATE_SRCREV ??= ""

SRC_URI += "${FIELDGATE_SRC_URI}"
SRCREV = "${FIELDGATE_SRCREV}"
EXTERNALSRC = "${FIELDGATE_SOURCE}"
EXTERNALSRC_BUILD = "${WORKDIR}/build"
# Nothing is left in the checkout.
EXTERNALSRC_SYMLINKS = ""

python () {
    if not d.getVar('FIELDGATE_SOURCE') and not d.getVar('FIELDGATE_SRCREV'):
        raise bb.parse.SkipRecipe('neither FIELDGATE_SOURCE nor FIELDGATE_SRC_URI with FIELDGATE_SRCREV is set')
}
