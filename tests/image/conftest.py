"""Machines of the tests, and which tests are for the long form."""

import itertools
import os
import random
import sys

import pytest

import bundles
import machine as emulated

LONG = bool(os.environ.get("FIELDGATE_IMAGE_LONG"))
# What somebody writes to the card before the device has ever run.
CARD = {
    "fieldgate/gateway.toml": """\
[[listener]]
name = "site"

[[listener.port]]
port = 8883
authentication = "site"
authorization = "none"
tls = { mode = "Automatic", dns = ["localhost"] }

[authentication.site]
methods = ["password"]

[est]
http = "[::]:8080"
""",
    "fieldgate/users": "press-1:correct horse battery staple\n",
}


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes too long for each change")
    config.addinivalue_line("markers", "minutes(number): how long it takes; those that take longest begin first")


def pytest_collection_modifyitems(items):
    def minutes(item):
        marker = item.get_closest_marker("minutes")
        return marker.args[0] if marker else 1

    left_out = [item for item in items if item.get_closest_marker("long") and not LONG]
    for item in left_out:
        item.add_marker(pytest.mark.skip(reason="part of the long form (scripts/soak image)"))
    taken = sorted((item for item in items if item not in left_out), key=minutes, reverse=True)
    # A process is given one test more than the one that it runs. Where there are some that take no time, they are the ones that wait.
    items[:] = [item for pair in itertools.zip_longest(taken, left_out) for item in pair if item is not None]


def pytest_runtest_logreport(report):
    """Tells of each test when it is over, and why it failed: the others may take hours."""
    if os.environ.get("PYTEST_XDIST_WORKER") or report.when != "call" and not report.failed:
        return
    said = f"\n{report.longreprtext}" if report.failed else ""
    sys.stderr.write(f"{report.nodeid}: {report.outcome}, {report.duration:.0f} s{said}\n")


@pytest.fixture
def chance():
    """Random moments; the seed is printed with whatever fails."""
    seed = int(os.environ.get("FIELDGATE_IMAGE_SEED", random.randrange(1 << 32)))
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.fixture
def device():
    """Makes machines, which have the card of the site in them unless it is said otherwise."""
    made = []
    folder = emulated.IMAGES / "tests"

    def make(name, card=True, **options):
        one = emulated.Machine(folder / name, **options)
        made.append(one)
        if card:
            one.put_on_boot(CARD)
        return one

    yield make
    for one in made:
        one.remove()


@pytest.fixture(scope="session")
def medium():
    """A second disk with every update that the tests need."""
    return bundles.medium("arm64", bundles.BAD if LONG else ["exits"], bundles.REFUSED)


@pytest.fixture(scope="session")
def medium_of_armhf():
    return bundles.medium("armhf", ["exits"], [])
