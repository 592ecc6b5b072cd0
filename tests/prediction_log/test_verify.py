"""The certificate: n of n, or the name of every gap."""

import asyncio

import msgspec
import pytest

from prediction_log.certificate.spool import Certificate, compare, verify
from prediction_log.finding import FindingKind
from prediction_log.spool.places import log_directories, segment_path
from prediction_log.spool.segment import Kind

pytestmark = pytest.mark.anyio


@pytest.fixture
def written(open_log):
    async def write(number=10, *, closed=True, slot="worker-0"):
        writer = await open_log(slot)
        for _ in range(number):
            await writer.append(Kind.PREDICTION, b'{"p":1}')
        await asyncio.gather(writer.append(Kind.LABEL, b"{}"), writer.append(Kind.AUDIT, b"{}"))
        await writer._world.background.settle()
        if closed:
            await writer.aclose()
        return writer

    return write


def test_a_spool_without_a_log_is_complete(tmp_path):
    assert verify(tmp_path) == Certificate(logs=[], vanished=[], records=0, missing=0, counted=None, ok=True)


async def test_a_whole_log_is_certified_with_its_records_by_kind(written, tmp_path):
    writer = await written()

    certificate = verify(tmp_path / "spool")

    (log,) = certificate.logs
    assert (log.slot, log.log_id, log.state) == ("worker-0", writer.log_id, "sealed")
    assert (log.first_seq, log.last_seq, log.records) == (1, 12, 12)
    assert log.kinds == {"prediction": 10, "label": 1, "audit": 1}
    assert (log.gaps, log.refused, log.findings, log.chain_ok, log.ok) == ([], [], [], True, True)
    assert (certificate.records, certificate.missing, certificate.counted, certificate.ok) == (12, 0, None, True)
    assert msgspec.json.decode(msgspec.json.encode(certificate), type=Certificate) == certificate


async def test_a_log_that_is_open_and_one_whose_writer_was_killed_are_told_apart(written, die, tmp_path):
    writer = await written(closed=False)
    assert [log.state for log in verify(tmp_path / "spool").logs] == ["open"]

    await die(writer)

    (log,) = verify(tmp_path / "spool").logs
    assert (log.state, log.records, log.ok) == ("ended", 12, True)


async def test_a_lost_record_is_named_and_spoils_the_certificate(written, tmp_path):
    await written()
    (log,) = log_directories(tmp_path / "spool")
    path = segment_path(log.path, 1)
    content = path.read_bytes()
    at = content.index(b'{"p":1}', content.index(b'{"p":1}') + 1)
    path.write_bytes(content[:at] + b"?" + content[at + 1 :])

    certificate = verify(tmp_path / "spool")

    (log,) = certificate.logs
    assert (log.gaps, log.records, log.chain_ok, log.ok) == ([(2, 2)], 11, False, False)
    assert (certificate.records, certificate.missing, certificate.ok) == (11, 1, False)


async def test_a_batch_put_in_by_another_hand_breaks_the_chain(small_log, tmp_path):
    """Somebody who knows the log_id rewrites the second batch, checksums and all."""
    from prediction_log.spool.segment import encode_batch

    log = small_log()
    forged = encode_batch(log.seed, 2, 2, 7, [(1, b"", b'{"ccc":999}'), (1, b"", b'{"d":4}')], bytes(32)).data
    content = log.bytes[: log.ends[0]] + forged + log.bytes[log.ends[1] :]
    directory = tmp_path / "slot" / bytes(range(16)).hex()
    directory.mkdir(parents=True)
    (directory / "00000001.seg").write_bytes(content)

    (certified,) = verify(tmp_path).logs

    assert {finding.kind for finding in certified.findings} == {FindingKind.CHAIN_BROKEN}
    assert (certified.records, certified.chain_ok, certified.ok) == (5, False, False)


@pytest.mark.parametrize(
    ("counted", "missing", "twice", "unknown"),
    [
        ([(1, 12)], [], [], []),
        ([(1, 5), (6, 12)], [], [], []),
        ([], [(1, 12)], [], []),
        ([(1, 3), (7, 12)], [(4, 6)], [], []),
        ([(1, 7), (5, 12)], [], [(5, 7)], []),
        ([(1, 14)], [], [], [(13, 14)]),
        ([(2, 6), (6, 6), (8, 13)], [(1, 1), (7, 7)], [(6, 6)], [(13, 13)]),
    ],
)
async def test_every_record_was_counted_exactly_once_or_the_certificate_says_which(
    written, tmp_path, counted, missing, twice, unknown
):
    writer = await written()

    certificate = verify(tmp_path / "spool", {writer.log_id: counted})

    (log,) = certificate.logs
    assert (log.counted.missing, log.counted.twice, log.counted.unknown) == (missing, twice, unknown)
    assert certificate.ok == log.ok == (not missing and not twice and not unknown)


async def test_what_was_counted_of_an_open_log_after_it_was_read_here_is_no_mistake(written, tmp_path):
    writer = await written(closed=False)
    certificate = verify(tmp_path / "spool")

    assert compare(certificate, {writer.log_id: [(1, 20)]}).ok
    assert not compare(certificate, {writer.log_id: [(1, 11)]}).ok

    await writer.aclose()


async def test_a_counted_log_whose_directory_is_gone_is_named(written, tmp_path):
    writer = await written()

    certificate = verify(tmp_path / "spool", {writer.log_id: [(1, 12)], "ab" * 16: [(1, 3)]})

    assert (certificate.vanished, certificate.ok, certificate.logs[0].ok) == (["ab" * 16], False, True)


async def test_reading_for_the_certificate_changes_nothing(written, tmp_path):
    writer = await written(closed=False)
    before = {path: path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()}

    verify(tmp_path / "spool")

    assert {path: path.read_bytes() for path in (tmp_path / "spool").rglob("*") if path.is_file()} == before
    await writer.aclose()
