# One entry to every task; `just --list` shows them.

# What must pass before anything lands: formatting, lints, tests, licences and bans
check: fmt-check clippy test deny

# Format the code
fmt:
    cargo fmt

# Complain about code that is not formatted
fmt-check:
    cargo fmt --check

# Lints, with the bans of clippy.toml
clippy:
    cargo clippy --all-targets -- --deny warnings

# All tests of the crate; scripts/test also runs foreign clients
test *ARGS:
    cargo test {{ARGS}}

# The rules of the tree alone
tidy:
    cargo test --test tidy

# Licences, duplicates, bans and sources of what the program is made of; `just deny advisories` needs a network
deny *CHECKS:
    scripts/deny {{CHECKS}}

# Write again whatever is generated and committed; the same tests compare it
generate:
    yocto/scripts/gen-crates
    FIELDGATE_BLESS=1 cargo test --quiet --lib -- config:: admin::metrics

# Start a gateway on loopback with state below ./var
run:
    scripts/run

# Measure against mosquitto
bench *ARGS:
    scripts/bench {{ARGS}}

# Man pages and shell completions below target/dist
dist:
    cargo run --quiet -- generate man target/dist/man
    for shell in bash fish zsh; do cargo run --quiet -- generate completions $shell > target/dist/fieldgate.$shell; done
