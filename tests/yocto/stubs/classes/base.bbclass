base_do_fetch() {
    :
}
base_do_configure() {
    :
}
base_do_compile() {
    :
}
base_do_install() {
    :
}
base_do_build() {
    :
}
EXPORT_FUNCTIONS do_fetch do_configure do_compile do_install do_build

addtask do_fetch
addtask do_configure after do_fetch
addtask do_compile after do_configure
addtask do_install after do_compile
addtask do_build after do_install
