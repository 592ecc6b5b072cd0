"""The last good plan on disk: whole or not at all, and never an older one in place of a newer."""

import logging
import os
import threading

import pytest
from msgspec.structs import replace

from contracts.plan import VersionRef
from gateway.traffic import shifts
from gateway.traffic.last_good import LastGood


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "last_good"


@pytest.fixture
def plan():
    return shifts.start("m", VersionRef(version="1", digest="d1"), salt="salt")


def test_a_plan_comes_back_as_it_was_saved(folder, plan):
    assert LastGood(folder).load("m") is None
    LastGood(folder).save(plan)

    assert LastGood(folder).load("m") == plan
    assert LastGood(folder).models() == ["m"]
    assert [path.name for path in folder.iterdir()] == ["m.plan"]


def test_every_cut_and_every_flipped_bit_is_found_and_said(folder, plan, caplog):
    LastGood(folder).save(plan)
    path = folder / "m.plan"
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [
        whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]
        for bit in range(8 * len(whole))
    ]
    damaged += [whole + b"x", b"\0" * len(whole)]
    for content in damaged:
        path.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert LastGood(folder).load("m") is None
        assert "last good plan" in caplog.text
        assert "cannot be used" in caplog.text


def test_a_damaged_file_is_replaced_by_the_next_plan(folder, plan):
    LastGood(folder).save(plan)
    (folder / "m.plan").write_bytes(b"rubbish")
    LastGood(folder).save(plan)

    assert LastGood(folder).load("m") == plan


def test_the_slowest_worker_of_a_host_does_not_take_the_others_back(folder, plan):
    LastGood(folder).save(replace(plan, revision=5))
    LastGood(folder).save(replace(plan, revision=4))

    assert LastGood(folder).load("m").revision == 5


def test_a_file_of_another_release_is_none(folder, plan, caplog):
    LastGood(folder).save(plan)
    path = folder / "m.plan"
    path.write_bytes(path.read_bytes().replace(b"plan 1", b"plan 2", 1))

    assert LastGood(folder).load("m") is None
    assert "of another release" in caplog.text


def test_the_plan_is_on_the_disk_before_it_takes_its_name(folder, plan, monkeypatch):
    events = []
    fsync, rename = os.fsync, type(folder).replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(type(folder), "replace", lambda one, other: (events.append("rename"), rename(one, other))[1])
    LastGood(folder).save(plan)
    LastGood(folder).save(plan)

    assert events == ["fsync", "rename", "fsync"], "and what is there already costs nothing"


def test_of_two_workers_that_save_at_once_the_later_plan_stays(folder, plan, monkeypatch):
    """The slow one has looked what is kept, and has not written yet, when the fast one comes."""
    rename, looked, go_on = type(folder).replace, threading.Event(), threading.Event()

    def late(one, other):
        if threading.current_thread() is slow:
            looked.set()
            assert go_on.wait(60)
        return rename(one, other)

    monkeypatch.setattr(os, "getpid", threading.get_ident)  # each its own process
    monkeypatch.setattr(type(folder), "replace", late)
    slow = threading.Thread(target=LastGood(folder).save, args=(replace(plan, revision=4),))
    fast = threading.Thread(target=LastGood(folder).save, args=(replace(plan, revision=5),))
    slow.start()
    assert looked.wait(60)
    fast.start()
    fast.join(0.5)
    go_on.set()
    slow.join()
    fast.join()

    assert LastGood(folder).load("m").revision == 5
