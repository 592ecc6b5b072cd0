"""The demo over a fleet's parts: which Kafka and which Redis, under names that nobody else uses.

Enters: addresses as the user gave them. Leaves: settings for the system's environment. Never creates or removes anything.
"""

import json
from typing import NamedTuple

PARTITIONS = 4


class Fleet(NamedTuple):
    """`kafka` and `redis` are empty where the embedded parts do. Topics are named `<prefix>.predictions` and so on."""

    kafka: str = ""
    redis: str = ""
    prefix: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The settings that make `pointsman up` and `pointsman log verify` use them."""
        settings = {}
        if self.kafka:
            settings["POINTSMAN_KAFKA"] = self.kafka
            settings["POINTSMAN_KAFKA_OPTIONS"] = json.dumps({"prefix": self.prefix, "partitions": PARTITIONS})
        if self.redis:
            settings["POINTSMAN_REDIS"] = self.redis
        return settings

    @property
    def words(self) -> str:
        """Where the log and the plans go, for the view."""
        log = f"the log goes to Kafka at {self.kafka}, topics {self.prefix}.*" if self.kafka else "the log stays here"
        plans = f"plans are in Redis at {self.redis}" if self.redis else "plans are in a file"
        return f"{log}; {plans}"
