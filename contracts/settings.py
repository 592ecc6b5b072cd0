"""Every setting of every role: its name, default, unit and bounds; relations are checked when it is made.

Enters: plain values (`pointsman/configuration.py` reads them from one TOML file and `POINTSMAN_*` variables).
Leaves: one frozen value that is handed down; nobody reads the environment again.
"""

from pathlib import Path
from typing import Literal

import msgspec

from contracts.errors import InvalidSettings
from contracts.wire import Contract

SETTINGS_MAX = 30
KAFKA_PARTITIONS_MAX = 256
PORT_MAX = 65_535


class KafkaOptions(Contract, frozen=True, kw_only=True):
    """How Kafka is spoken to, and how its topics are made where they are missing. Topics are named `<prefix>.predictions`
    and so on. `partitions` is the law by which ids find their partition: every program of a fleet needs the same. TLS
    and SASL go to the client as they are. `spool_retain_hours` is how long a segment stays on local disk after Kafka has
    all of it; `backlog_bytes_per_second_max` how fast a backlog is sent after an outage (0: as fast as it goes).
    """

    prefix: str = "pointsman"
    partitions: int = 12
    replication_factor: int = 1
    compression: Literal["none", "gzip", "lz4", "zstd"] = "zstd"
    spool_retain_hours: float = 24.0
    backlog_bytes_per_second_max: int = 32 * 2**20
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None

    def __post_init__(self) -> None:
        """Refuse values that are out of bounds."""
        if not 1 <= self.partitions <= KAFKA_PARTITIONS_MAX:
            raise InvalidSettings(f"kafka_options.partitions = {self.partitions}: from 1 to {KAFKA_PARTITIONS_MAX}")
        if self.replication_factor < 1:
            raise InvalidSettings(f"kafka_options.replication_factor = {self.replication_factor}: must be at least 1")
        if self.spool_retain_hours < 0 or self.backlog_bytes_per_second_max < 0:
            raise InvalidSettings(
                "kafka_options: spool_retain_hours and backlog_bytes_per_second_max cannot be negative"
            )


class Settings(Contract, frozen=True, kw_only=True):
    """All settings. Each name is also a `POINTSMAN_<NAME>` variable; `docs/settings.md` says what each is for."""

    registry: str = "models"
    state_dir: Path = Path("pointsman-state")
    host: str = "127.0.0.1"
    http_port: int = 8000
    admin_host: str = "127.0.0.1"
    admin_port: int = 8003
    monitor_host: str = "127.0.0.1"
    monitor_port: int = 8004
    workers: int = 1
    registry_poll_seconds: float = 0.0
    plan_poll_ms: float = 10.0
    request_timeout_ms: float = 5_000.0
    drain_delay_seconds: float = 0.0
    drain_timeout_seconds: float = 20.0
    body_bytes_max: int = 16 * 2**20
    batch_rows_max: int = 256
    quota_requests_per_second: float = 0.0
    inline_run_us_max: float = 2_000.0
    session_threads: int = 1
    log_enabled: bool = True
    log_durability: Literal["process", "power"] = "process"
    log_segment_bytes: int = 64 * 2**20
    log_disk_reserve_bytes: int = 64 * 2**20
    monitor_tick_records_max: int = 5_000
    label_horizon_days: float = 30.0
    model_load_timeout_seconds: float = 60.0
    model_memory_bytes_max: int = 4 * 2**30
    redis: str = ""
    kafka: str = ""
    kafka_options: KafkaOptions = KafkaOptions()

    def __post_init__(self) -> None:
        """Refuse values that are out of bounds or at odds with each other."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
                raise InvalidSettings(f"{name} = {value}: cannot be negative")
        for name in ("workers", "batch_rows_max", "session_threads", "monitor_tick_records_max"):
            if getattr(self, name) < 1:
                raise InvalidSettings(f"{name} = {getattr(self, name)}: must be at least 1")
        if not self.plan_poll_ms:
            raise InvalidSettings("plan_poll_ms = 0: a worker would do nothing else than ask; use 10, or at least 1")
        if self.plan_poll_ms > 50:
            raise InvalidSettings(
                f"plan_poll_ms = {self.plan_poll_ms}: a shift must be seen within 100 ms; use at most 50"
            )
        if self.log_segment_bytes < 4096:
            raise InvalidSettings(f"log_segment_bytes = {self.log_segment_bytes}: must be at least 4096")
        if self.redis and not self.redis.startswith(("redis://", "rediss://", "unix://")):
            # not shown: it may hold a password
            raise InvalidSettings("redis is no URL of a Redis: write one such as redis://host:6379/0")
        _check_ports({"http_port": self.http_port, "admin_port": self.admin_port, "monitor_port": self.monitor_port})


def _check_ports(named: dict[str, int]) -> None:
    for name, port in named.items():
        if port > PORT_MAX:
            raise InvalidSettings(f"{name} = {port}: a port is at most {PORT_MAX}")
    ports = [port for port in named.values() if port]
    if len(set(ports)) != len(ports):
        raise InvalidSettings(f"ports {ports}: each role needs one of its own")


def encode_settings(settings: Settings) -> bytes:
    """Settings as a role's process takes them."""
    return msgspec.json.encode(settings, enc_hook=str)


def decode_settings(data: bytes) -> Settings:
    """The settings that `encode_settings` wrote."""
    return msgspec.json.decode(data, type=Settings, dec_hook=lambda kind, text: kind(text))
