"""The crates of the recipe are those of Cargo.lock, and the recipe has the version of the program."""

import importlib.machinery
import importlib.util
import tomllib

import pytest

import support

INCLUDE = "yocto/meta-fieldgate/recipes-fieldgate/fieldgate/fieldgate-crates.inc"
HINT = "run yocto/scripts/gen-crates and commit what it wrote"


def generator():
    loader = importlib.machinery.SourceFileLoader("gen_crates", str(support.ROOT / "yocto/scripts/gen-crates"))
    spec = importlib.util.spec_from_loader("gen_crates", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


GENERATOR = generator()


def faults(tree):
    sentences = GENERATOR.differences((tree / "Cargo.lock").read_text(), (tree / INCLUDE).read_text())
    version = tomllib.loads((tree / "Cargo.toml").read_text())["package"]["version"]
    recipes = [recipe.name for recipe in (tree / INCLUDE).parent.glob("fieldgate_*.bb")]
    if recipes != [f"fieldgate_{version}.bb"]:
        sentences.append(f"the program is {version} and the recipes are {recipes}")
    distro = (tree / support.LAYER / "conf/distro/fieldgate-os.conf").read_text()
    if f'DISTRO_VERSION = "{version}"' not in distro:
        sentences.append(f"the program is {version} and the distro is not")
    return sentences


def test_crates_of_the_recipe_are_those_of_the_lock_file(tree):
    assert faults(tree) == [], HINT


# A crate that the program will not lose, so that the mutations stay possible when Cargo.lock changes.
CRATE = next(crate for crate in GENERATOR.crates_of((support.ROOT / "Cargo.lock").read_text()) if crate[0] == "tokio")
LINE = f"crate://crates.io/{CRATE[0]}/{CRATE[1]} \\\n"


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (INCLUDE, LINE, "\\\n", f"tokio {CRATE[1]} is in Cargo.lock and not in the recipe"),
        (INCLUDE, LINE, LINE + "    crate://crates.io/left-pad/1.0.0 \\\n", "left-pad 1.0.0 is in the recipe and not in Cargo.lock"),
        (INCLUDE, CRATE[2], "0" * 64, f"tokio {CRATE[1]} has another checksum in the recipe than in Cargo.lock"),
        ("Cargo.lock", CRATE[2], "0" * 64, f"tokio {CRATE[1]} has another checksum in the recipe than in Cargo.lock"),
        (INCLUDE, "# Made by", "# Written by", "the file was not written by gen-crates"),
        ("Cargo.toml", 'version = "0.1.0"', 'version = "0.9.0"', "the program is 0.9.0 and the recipes are"),
    ],
)
def test_difference_is_named(broken, path, old, new, said):
    support.change(broken, path, old, new)
    assert any(said in sentence for sentence in faults(broken)), faults(broken)


@pytest.mark.parametrize("source", ["git+https://example.org/x#abc", "registry+https://example.org/index"])
def test_crates_of_elsewhere_are_refused(broken, source):
    support.change(broken, "Cargo.lock", GENERATOR.REGISTRY, source)
    with pytest.raises(GENERATOR.Refused, match="only crates of crates.io"):
        faults(broken)
