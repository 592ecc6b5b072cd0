"""Messages read together, as columns, are what each of them is when it is looked at alone."""

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from prediction_log.kafka.decoding import BLOCK_RECORDS, Decoder, empty_batch
from prediction_log.kafka.message import Control, Place, control_headers, headers_of, read_message
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, OTHER_LOG, prediction, prediction_id

PARTITIONS = 2
PLACE = TopicPartition("t.predictions", 1)
LAWFUL = [n for n in range(3000) if partitions_of([prediction_id(n).encode()], PARTITIONS) == [PLACE.partition]]
FIRST_OFFSET = 1000


def message(number, seq=1, after=0, log=LOG):
    """A record as our forwarder sends it: (key, value, headers)."""
    headers = headers_of("worker-0", Kind.PREDICTION, Place(log, 3, seq, after, 1))
    return prediction_id(number).encode(), prediction(number), headers


def with_header(header, value):
    """What makes a message of one whose header says something else."""
    return lambda one: (*one[:2], [(name, value if name == header else own) for name, own in one[2]])


def with_key(key):
    """What makes a message of one with another key."""
    return lambda one: (key, *one[1:])


def with_value(value):
    """What makes a message of one with another value."""
    return lambda one: (one[0], value, one[2])


SEAL = control_headers("worker-0", "seal", "seal/1", Place(LOG, 1, 9, 8, 1))
ODDITIES = [
    *[
        with_header("seq", value)
        for value in (b"", b" 7", b"+7", b"1_0", b"07", b"x", None, b"9" * 19, b"9" * 70, b"0")
    ],
    *[with_header("after", value) for value in (b"", b"99", b"-1", None)],
    *[with_header("segment", value) for value in (b"", b"1.5")],
    *[with_header("log_id", value) for value in (b"", b"AB" * 16, b"ab" * 15, None)],
    *[with_header("ce_type", value) for value in (b"pointsman.label.v1", b"", None)],
    *[with_key(key) for key in (None, b"", b"another")],
    *[with_value(value) for value in (None, b"")],
    lambda one: (*one[:2], one[2][::-1]),
    lambda one: (*one[:2], one[2][:9]),
    lambda one: (*one[:2], [*one[2], ("traceparent", b"00")]),
    lambda one: (*one[:2], []),
    lambda one: (one[0], b"{}", SEAL),
]


def records_of(messages):
    """These messages as the client gives them when it has fetched them."""
    made = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**24,
    )
    for offset, (key, value, headers) in enumerate(messages):
        assert made.append(offset, 1_700_000_000_000, key, value, headers) is not None
    raw = bytearray(made.build())
    raw[:8] = FIRST_OFFSET.to_bytes(8, "big")
    return PartitionRecords(PLACE, MemoryRecords(bytes(raw)), None, FIRST_OFFSET, None, None, True, READ_COMMITTED)


def expected(key, value, headers):
    """What one message is, by `read_message` and the law alone: an entry, a control message, or null for a dead letter."""
    found = read_message(Kind.PREDICTION, key, value, [(name, own or b"") for name, own in headers])
    if isinstance(found, Control):
        return found
    lawful = bool(key) and partitions_of([key], PARTITIONS) == [PLACE.partition] and key in (value or b"")
    if not lawful or not isinstance(found, Entry) or found.seq >= 2**63:
        return None
    return found._replace(log_id=f"p:{found.log_id}")


@settings(deadline=None)
@given(
    numbers=st.lists(st.one_of(st.sampled_from(LAWFUL), st.integers(0, 40)), min_size=1, max_size=12),
    odd=st.dictionaries(st.integers(0, 11), st.sampled_from(ODDITIES), max_size=3),
    block=st.sampled_from([1, 3, BLOCK_RECORDS]),
)
def test_a_block_is_what_its_messages_are(numbers, odd, block):
    messages = [message(n, seq, seq - 1, (LOG, OTHER_LOG)[seq % 2]) for seq, n in enumerate(numbers, 1)]
    messages = [odd[at](one) if at in odd else one for at, one in enumerate(messages)]
    told = [expected(*one) for one in messages]
    decoder, batch, records = Decoder(PARTITIONS, lambda: 0), empty_batch(), list(records_of(messages))

    for start in range(0, len(records), block):
        some = records[start : start + block]
        read = decoder.read(Kind.PREDICTION, PLACE, some)
        decoder.decode(Kind.PREDICTION, PLACE, some, batch)
        assert read is None or read == told[start : start + block]

    assert batch.entries == [one for one in told if isinstance(one, Entry)]
    assert [control for _, control in batch.controls] == [one for one in told if isinstance(one, Control)]
    assert [letter.offset - FIRST_OFFSET for letter in batch.undecodable] == [
        n for n, one in enumerate(told) if one is None
    ]
    assert all((letter.topic, letter.partition) == PLACE for letter in batch.undecodable)


def test_what_our_forwarder_sends_is_read_as_columns():
    messages = [message(n, seq, seq - 1) for seq, n in enumerate(LAWFUL[:BLOCK_RECORDS], 1)]

    read = Decoder(PARTITIONS, lambda: 0).read(Kind.PREDICTION, PLACE, list(records_of(messages)))

    assert read == [expected(*one) for one in messages]
