"""How a Kafka client is told where the brokers are and who is asking.

Enters: the bootstrap servers and the options of the settings. Leaves: keyword arguments that aiokafka's producer, consumer
and admin client all take. Never connects.
"""

from typing import Any

from aiokafka.helpers import create_ssl_context

from contracts.errors import InvalidSettings
from contracts.settings import KafkaOptions


def client_options(address: str, options: KafkaOptions) -> dict[str, Any]:
    """Bootstrap servers, TLS and SASL. Raises InvalidSettings where a certificate or key cannot be read."""
    result: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in address.split(",") if server.strip()],
        "security_protocol": options.security_protocol,
    }
    if options.security_protocol in {"SSL", "SASL_SSL"}:
        result["ssl_context"] = _ssl_context(options)
    if options.security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
        result["sasl_mechanism"] = options.sasl_mechanism
        result["sasl_plain_username"] = options.sasl_username
        result["sasl_plain_password"] = options.sasl_password
    return result


def _ssl_context(options: KafkaOptions) -> Any:
    files = {"cafile": options.ssl_cafile, "certfile": options.ssl_certfile, "keyfile": options.ssl_keyfile}
    try:
        return create_ssl_context(**{name: str(path) for name, path in files.items() if path is not None})
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        named = ", ".join(f"ssl_{name} = {path}" for name, path in files.items() if path is not None)
        raise InvalidSettings(f"kafka_options: {named or 'no certificates named'}: {error}; see to the files") from None
