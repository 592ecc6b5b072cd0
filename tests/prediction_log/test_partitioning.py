"""Keys find the partition that Java's default partitioner would find."""

import random

import pytest
from aiokafka.partitioner import DefaultPartitioner, murmur2

from prediction_log.kafka.partitioning import partitions_of

KNOWN = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
"""What Kafka's own test of its Java code expects (Utils.murmur2, signed)."""


@pytest.mark.parametrize(("key", "hashed"), KNOWN.items())
def test_known_vectors(key, hashed):
    assert partitions_of([key], 2**31 - 1) == [(hashed & 0x7FFFFFFF) % (2**31 - 1)]


def test_any_keys_together_go_where_each_goes_alone():
    seed = random.Random(3)
    keys = [seed.randbytes(seed.randrange(60)) for _ in range(2000)] + [b""]
    for partitions in (1, 2, 7, 12, 256):
        alone = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
        assert partitions_of(keys, partitions) == alone


def test_the_client_s_own_partitioner_agrees():
    numbers = list(range(12))
    keys = [f"key-{number}".encode() for number in range(500)]

    assert partitions_of(keys, 12) == [DefaultPartitioner()(key, numbers, numbers) for key in keys]


def test_no_keys_are_no_partitions():
    assert partitions_of([], 12) == []
