"""Fixtures of the checks: the tree as it is, and copies that a test may break."""

import sys
import pathlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import support


@pytest.fixture
def tree():
    return support.ROOT


@pytest.fixture
def broken(tmp_path):
    return support.copy_of_tree(tmp_path)
