"""Settings come from a file, variables and options, in that order of rising weight; what is unknown is an error."""

from pathlib import Path

import pytest

from contracts.errors import InvalidSettings
from contracts.settings import KafkaOptions, Settings, decode_settings, encode_settings
from pointsman.configuration import load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def load(environment=None, options=None, file=None):
    return load_settings(file, options, environment or {})


def write(text, name="pointsman.toml"):
    Path(name).write_text(text)
    return Path(name)


def test_without_anything_the_defaults_stand():
    assert load() == Settings()


def test_an_option_wins_over_a_variable_over_the_file_over_the_default():
    write('workers = 2\nhttp_port = 9000\nadmin_port = 9003\nregistry = "here"')
    settings = load({"POINTSMAN_WORKERS": "3", "POINTSMAN_HTTP_PORT": "9001"}, {"workers": 4})

    assert (settings.workers, settings.http_port, settings.admin_port) == (4, 9001, 9003)
    assert (settings.registry, settings.monitor_port) == ("here", 8004)


def test_a_named_file_wins_over_the_one_in_the_environment_over_the_one_in_the_directory():
    write("workers = 2")
    other, named = write("workers = 3", "other.toml"), write("workers = 4", "named.toml")

    assert load().workers == 2
    assert load({"POINTSMAN_CONFIG": str(other)}).workers == 3
    assert load({"POINTSMAN_CONFIG": str(other)}, file=named).workers == 4


def test_values_take_the_types_of_their_settings():
    write('state_dir = "state"\ndrain_timeout_seconds = 5\nlog_durability = "power"\nlog_enabled = false')
    settings = load(
        {"POINTSMAN_PLAN_POLL_MS": "50", "POINTSMAN_LOG_ENABLED": "true", "POINTSMAN_STATE_DIR": "elsewhere"}
    )

    assert settings.drain_timeout_seconds == 5.0
    assert settings.log_durability == "power"
    assert (settings.log_enabled, settings.plan_poll_ms, settings.state_dir) == (True, 50.0, Path("elsewhere"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wrokers = 2", "pointsman.toml: unknown setting 'wrokers'; did you mean 'workers'"),
        ("zzz = 2", "unknown setting 'zzz'; the settings are admin_host, "),
        ("[server]\nworkers = 2", "unknown setting 'server'"),
        ('workers = "2"', "pointsman.toml: workers = '2': expected `int`, got `str`"),
        ("workers = 2.5", "expected `int`"),
        ("workers = true", "expected `int`"),
        ("log_enabled = 1", "expected `bool`"),
        ('log_durability = "never"', "invalid enum value 'never'"),
        ("state_dir = 5", "expected `str`"),
        ("workers = ", "pointsman.toml is not TOML"),
        ("plan_poll_ms = nan", "must be a finite number"),
        ("workers = 0", "must be at least 1"),
        ("http_port = 8003", "each role needs one of its own"),
        ("plan_poll_ms = 60", "use at most 50"),
        ("plan_poll_ms = 0", "a worker would do nothing else than ask"),
        ("http_port = 65536", "http_port = 65536: a port is at most 65535"),
        ("monitor_port = 70000", "monitor_port = 70000: a port is at most 65535"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused_and_says_where(text, message):
    write(text)
    with pytest.raises(InvalidSettings) as refusal:
        load()
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("POINTSMAN_WROKERS", "2", "unknown variable POINTSMAN_WROKERS; did you mean 'POINTSMAN_WORKERS'"),
        ("POINTSMAN_workers", "2", "unknown variable POINTSMAN_workers"),
        ("POINTSMAN_WORKERS", "two", "POINTSMAN_WORKERS='two': expected `int`"),
        ("POINTSMAN_WORKERS", "2.5", "expected `int`"),
        ("POINTSMAN_WORKERS", "", "expected `int`"),
        ("POINTSMAN_LOG_ENABLED", "maybe", "expected `bool`"),
        ("POINTSMAN_PLAN_POLL_MS", "inf", "must be a finite number"),
        ("POINTSMAN_WORKERS", "-2", "cannot be negative"),
        ("POINTSMAN_REDIS", "localhost:6379", "redis is no URL of a Redis: write one such as redis://host:6379/0"),
    ],
)
def test_a_variable_that_cannot_be_meant_is_refused_and_named(variable, value, message):
    with pytest.raises(InvalidSettings) as refusal:
        load({variable: value})
    assert message in str(refusal.value)


def test_a_file_that_is_named_must_be_there():
    with pytest.raises(InvalidSettings, match=r"nowhere.toml cannot be read: No such file"):
        load(file=Path("nowhere.toml"))
    with pytest.raises(InvalidSettings, match="cannot be read"):
        load({"POINTSMAN_CONFIG": "."})
    Path("binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSettings, match="is not TOML"):
        load(file=Path("binary.toml"))
    Path("huge.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(InvalidSettings, match="larger than"):
        load(file=Path("huge.toml"))


def test_what_kubernetes_puts_into_the_environment_for_services_named_alike_is_not_taken_for_settings():
    links = {
        "POINTSMAN_SERVICE_HOST": "10.0.0.7",
        "POINTSMAN_SERVICE_PORT": "8000",
        "POINTSMAN_SERVICE_PORT_HTTP": "8000",
        "POINTSMAN_PORT": "tcp://10.0.0.7:8000",
        "POINTSMAN_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "POINTSMAN_PORT_8000_TCP_ADDR": "10.0.0.7",
        "POINTSMAN_ADMIN_PORT": "tcp://10.0.0.8:8003",
        "POINTSMAN_ADMIN_SERVICE_HOST": "10.0.0.8",
    }
    assert load(links) == Settings()


def test_the_tests_own_variables_and_the_supervisors_are_not_settings():
    assert (
        load({"POINTSMAN_TEST_KAFKA": "localhost:9092", "POINTSMAN_ROLE_SETTINGS": "{}", "PATH": "/bin"}) == Settings()
    )


def test_every_setting_can_be_said_in_the_environment():
    for name in Settings.__struct_fields__:
        value = getattr(Settings(), name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        text = "{}" if isinstance(value, KafkaOptions) else text
        assert getattr(load({f"POINTSMAN_{name.upper()}": text}), name) == value


def test_kafka_options_are_a_table_in_the_file_and_json_in_the_environment():
    write('kafka = "one:9092"\n[kafka_options]\npartitions = 4\nssl_cafile = "ca.pem"')

    settings = load()
    assert (settings.kafka, settings.kafka_options.partitions) == ("one:9092", 4)
    assert settings.kafka_options.ssl_cafile == Path("ca.pem")
    assert load({"POINTSMAN_KAFKA_OPTIONS": '{"partitions": 3}'}).kafka_options.partitions == 3
    assert decode_settings(encode_settings(settings)) == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"partitions": 0}', "kafka_options.partitions = 0: from 1 to 256"),
        ('{"partition": 3}', "unknown field `partition`"),
        ('{"partitions": "3"', "truncated"),
        ('{"security_protocol": "TLS"}', "invalid enum value 'TLS'"),
    ],
)
def test_kafka_options_that_cannot_be_meant_are_refused_and_named(text, message):
    with pytest.raises(InvalidSettings, match="kafka_options|KAFKA_OPTIONS") as refusal:
        load({"POINTSMAN_KAFKA_OPTIONS": text})

    assert message in str(refusal.value)
