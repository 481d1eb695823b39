do_deploy() {
    :
}
