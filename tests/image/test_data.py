"""A data partition that is full, or damaged."""

import pytest

import book

pytestmark = pytest.mark.long


def machine_with_book(device, name):
    """A machine that serves, and what it has acknowledged."""
    machine = device(name, debug=True)
    machine.start()
    machine.await_serving()
    kept = book.Book(machine)
    kept.write_for(5)
    return machine, kept


@pytest.mark.minutes(5)
def test_data_partition_that_is_full(device):
    machine, kept = machine_with_book(device, "full")
    machine.shell("dd if=/dev/zero of=/data/filler bs=1M; sync", check=False)
    is_full = "fieldgate status | grep -q 'store.* full'"
    machine.until(is_full)
    # What cannot be kept is not acknowledged.
    answers = book.answers_to(machine, kept.root, 20)
    assert {code.value for code in answers} == {0x97}, answers
    machine.cut()
    machine.start()
    machine.until("systemctl is-active --quiet fieldgate.service")
    machine.until(is_full)
    assert kept.missing() == []
    machine.shell("rm /data/filler; sync")
    machine.until(f"! {is_full}")
    machine.await_serving()
    kept.write_for(5)
    assert kept.missing() == []
    machine.cut()
    machine.start()
    machine.await_serving()
    assert kept.missing() == []


@pytest.mark.minutes(4)
def test_data_partition_that_is_damaged(device):
    machine, kept = machine_with_book(device, "damage")
    machine.cut()
    # The first superblock: there are copies of it.
    machine.damage("data", 1024, 1024)
    machine.start()
    machine.await_console("fieldgate-data: repaired")
    machine.await_serving()
    assert kept.missing() == []
    assert machine.shell("ls /run/fieldgate-data") == "repaired"
    machine.cut()
    # All of it: copies of the superblock are 128 MiB apart.
    machine.damage("data", 0, machine.partitions()["data"][1])
    machine.start()
    machine.await_console("fieldgate-data: beyond repair")
    machine.until("systemctl is-active --quiet fieldgate.service && systemctl is-active --quiet multi-user.target")
    assert machine.shell("ls /run/fieldgate-data") == "made-again"
    machine.cut()
    data = machine.data()
    assert (data.block_size, data.bytes_of_inode) == (4096, 16384)
