do_configure() {
    :
}
do_compile() {
    :
}
do_install() {
    :
}
do_fetch() {
    :
}
do_build() {
    :
}
addtask do_fetch
addtask do_configure after do_fetch
addtask do_compile after do_configure
addtask do_install after do_compile
addtask do_build after do_install
