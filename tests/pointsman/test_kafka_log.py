"""`pointsman log verify --kafka`: the certificate as people and programs read it."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidSettings
from contracts.settings import KafkaOptions
from pointsman.kafka_log import spell, with_options
from pointsman.log import log_app
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, Host, prediction, small


@pytest.fixture
def fill(kafka):
    """Ten records of one log but those left out; the prefix."""

    def run(*, leave_out=(), again=()):
        async def send():
            async with Host(kafka.address, small(kafka.prefix())) as host:
                for seq in [*range(1, 11), *again]:
                    if seq in leave_out:
                        host.place(Kind.PREDICTION, prediction(seq), seq)
                    else:
                        await host.send(Kind.PREDICTION, prediction(seq), seq)
                await host.seal()
            return host.options.prefix

        return asyncio.run(send())

    return run


@pytest.fixture
def verify(kafka, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(prefix, *more, **environment):
        options = ["--kafka-option", f"prefix={prefix}", "--kafka-option", "partitions=4", "--wait", "0"]
        arguments = ["verify", "--kafka", kafka.address, *options, *more]
        return CliRunner().invoke(log_app, arguments, env={"COLUMNS": "200"} | environment)

    return run


def test_a_whole_log_is_one_green_sentence(fill, verify):
    result = verify(fill(again=[4]))

    assert result.exit_code == 0, result.output
    assert "10 of 10 records in Kafka, no gap, 1 duplicates dropped" in result.stdout
    assert LOG[:8] in result.stdout
    assert "the hosts' part is not certified" in result.stdout
    assert "the monitor's part is not certified" in result.stdout


def test_what_is_missing_is_named_and_the_exit_code_says_it(fill, verify):
    result = verify(fill(leave_out={3, 4}))

    assert result.exit_code == 1
    assert "MISSING worker-0/abababab: seq 3 to 4: 2 records are nowhere in Kafka" in result.stdout
    assert "NOT COMPLETE: 8 of 10 records in Kafka, 2 missing" in result.stdout


def test_json_is_the_whole_certificate(fill, verify):
    result = verify(fill(leave_out={3}), "--json")

    assert result.exit_code == 1
    certificate = json.loads(result.stdout)
    assert certificate["logs"][0]["missing"] == [[3, 3]]
    assert (certificate["records"], certificate["counted"], certificate["complete"]) == (9, None, False)


def test_address_and_options_may_come_from_the_environment(kafka, fill, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = json.dumps({"prefix": fill(), "partitions": 4})

    result = CliRunner().invoke(
        log_app,
        ["verify", "--json", "--wait", "0"],
        env={"POINTSMAN_KAFKA": kafka.address, "POINTSMAN_KAFKA_OPTIONS": options},
    )

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["records"] == 10


def test_a_state_directory_without_a_spool_is_wrong_usage(fill, verify, tmp_path):
    result = verify(fill(), "--state-dir", str(tmp_path / "nowhere"))

    assert result.exit_code == 2
    assert "there is no spool in" in result.stderr


def test_several_state_directories_only_make_sense_with_kafka(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(log_app, ["verify", "--state-dir", "a", "--state-dir", "b"])

    assert result.exit_code == 2


def test_single_options_replace_those_of_the_settings():
    options = with_options(KafkaOptions(prefix="fleet"), ["partitions=3", "ssl_cafile=/ca.pem"])

    assert (options.prefix, options.partitions, str(options.ssl_cafile)) == ("fleet", 3, "/ca.pem")


@pytest.mark.parametrize("given", ["partitions", "partition=3", "partitions=many", "partitions=0"])
def test_an_option_that_is_none_is_refused(given):
    with pytest.raises(InvalidSettings):
        with_options(KafkaOptions(), [given])


def test_many_ranges_are_cut_short():
    assert spell([(1, 1), (3, 9)]) == "1, 3 to 9"
    assert spell([(n, n) for n in range(0, 60, 2)]).endswith("and 10 more ranges")
