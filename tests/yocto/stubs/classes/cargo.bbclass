CARGO_BUILD_FLAGS = "--frozen --release"

cargo_do_install() {
    install -D -m 0755 ${B}/target/release/fieldgate ${D}${bindir}/fieldgate
}

EXPORT_FUNCTIONS do_install
