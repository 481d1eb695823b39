do_bundle() {
    :
}
addtask do_bundle after do_compile before do_build
