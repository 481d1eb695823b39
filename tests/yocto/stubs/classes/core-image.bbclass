do_image_wic() {
    :
}
addtask do_image_wic after do_install before do_build
