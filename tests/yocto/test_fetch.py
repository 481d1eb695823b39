"""BitBake fetches the crates of the recipe without a network, checks and unpacks them, and cargo finds all that it needs there:
and the Rust of the release takes it."""

import os
import pathlib
import shutil
import subprocess
import tomllib

import pytest

import layer
import support

RUST_OF_THE_RELEASE = "1.94.1"
# What the machines of the layer run on, and who compiles the C of it here. Of the two the one whose types have other widths, and the
# other as well where there is time for it: it is minutes of compiling.
TARGETS = {"armv7-unknown-linux-gnueabihf": "arm-linux-gnueabihf-gcc"}
if os.environ.get("FIELDGATE_YOCTO_LONG"):
    TARGETS["aarch64-unknown-linux-gnu"] = "aarch64-linux-gnu-gcc"
INCLUDE = "yocto/meta-fieldgate/recipes-fieldgate/fieldgate/fieldgate-crates.inc"
BUILD = support.ROOT / "target/yocto"


@pytest.fixture(scope="session")
def downloads(tmp_path_factory):
    """A download folder, filled by cargo, the client that this registry is for; BitBake is then given no network."""
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=support.ROOT, check=True)
    folder = tmp_path_factory.mktemp("downloads")
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    wanted = {f"{package['name']}-{package['version']}.crate" for package in tomllib.loads((support.ROOT / "Cargo.lock").read_text())["package"]}
    for crate in home.glob("registry/cache/*/*.crate"):
        if crate.name in wanted:
            shutil.copy(crate, folder / crate.name)
    return folder


def unpack(tree, work, downloads):
    """What do_fetch and do_unpack do; gives the folder that cargo looks into."""
    data = layer.parse(tree, "qemuarm64", work, "fieldgate", {"DL_DIR": str(downloads)})
    fetch = layer.bb.fetch2.Fetch(data.getVar("SRC_URI").split(), data)
    fetch.download()
    root = data.getVar("UNPACKDIR")
    layer.bb.utils.mkdirhier(root)
    fetch.unpack(root)
    return pathlib.Path(root) / "cargo_home/bitbake"


def cargo(crates, folder, *arguments, toolchain=None, environment=None):
    """Cargo as do_compile runs it: frozen, and with the unpacked crates for a registry."""
    command = ["cargo"] + ([f"+{toolchain}"] if toolchain else [])
    command += ["--config", 'source.crates-io.replace-with="bitbake"', "--config", f'source.bitbake.directory="{crates}"']
    return support.run(command + list(arguments), cwd=folder, env={**os.environ, **(environment or {})})


@pytest.fixture(scope="session")
def crates(tmp_path_factory, downloads):
    return unpack(support.ROOT, tmp_path_factory.mktemp("fetch"), downloads)


def test_list_of_crates_is_complete(crates):
    code, output = cargo(crates, support.ROOT, "metadata", "--frozen", "--format-version=1", "--quiet")
    assert code == 0, output[-2000:]


def program_in(folder):
    for part in ("Cargo.toml", "Cargo.lock"):
        shutil.copy(support.ROOT / part, folder / part)
    for part in ("src", "benches"):
        shutil.copytree(support.ROOT / part, folder / part, ignore=shutil.ignore_patterns("target", "mqttload"))
    return folder


def test_missing_crate_is_noticed_by_cargo(broken, tmp_path_factory, downloads):
    lines = (broken / INCLUDE).read_text().splitlines(keepends=True)
    (broken / INCLUDE).write_text("".join(line for line in lines if "crate://crates.io/toml/" not in line))
    found = unpack(broken, tmp_path_factory.mktemp("missing"), downloads)
    code, output = cargo(found, support.ROOT, "metadata", "--frozen", "--format-version=1", "--quiet")
    assert code != 0 and "toml" in output, output[-2000:]


def test_other_checksum_is_refused_by_bitbake(broken, tmp_path_factory, downloads):
    text = (broken / INCLUDE).read_text()
    line = next(line for line in text.splitlines() if line.startswith("SRC_URI[toml-"))
    support.change(broken, INCLUDE, line, line.split('"')[0] + '"' + "0" * 64 + '"')
    own = tmp_path_factory.mktemp("own-downloads")
    for crate in downloads.iterdir():
        if crate.suffix == ".crate":
            os.link(crate, own / crate.name)
    with pytest.raises(layer.bb.fetch2.NetworkAccess):
        unpack(broken, tmp_path_factory.mktemp("checksum"), own)
    assert [file.name for file in own.glob("*_bad-checksum_*")], "the crate was not set aside"


def test_crate_that_is_not_there_is_not_fetched_without_a_network(tmp_path_factory):
    with pytest.raises(layer.bb.fetch2.NetworkAccess):
        unpack(support.ROOT, tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("no-downloads"))


def test_rust_of_the_release_takes_the_program(crates):
    compilers = {f"CC_{target.replace('-', '_')}": compiler for target, compiler in TARGETS.items()}
    targets = [f"--target={target}" for target in TARGETS]
    code, output = cargo(
        crates, support.ROOT, "check", "--frozen", "--quiet", "--bin", "fieldgate", *targets,
        "--target-dir", str(BUILD), toolchain=RUST_OF_THE_RELEASE, environment=compilers,
    )
    assert code == 0, output[-4000:]


def test_newer_rust_than_that_of_the_release_is_noticed(crates, tmp_path):
    support.change(program_in(tmp_path), "Cargo.toml", 'rust-version = "1.94"', 'rust-version = "1.95"')
    code, output = cargo(crates, tmp_path, "check", "--frozen", "--quiet", "--bin", "fieldgate", toolchain=RUST_OF_THE_RELEASE)
    assert code != 0 and "1.95" in output, output[-2000:]
