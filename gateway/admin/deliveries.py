"""Whether a webhook's delivery is from our MLflow server: the signature, the age, and that it was not here before.

Enters: the headers and the raw body of a request, and the time. Leaves: its id, or a refusal that does not say what is
wrong. Never reads what the body says: a delivery is a hint to look, and the registry is the truth.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

SECRET: Final = "MLFLOW_WEBHOOK_SECRET"  # noqa: S105  the name of a variable
ID_HEADER: Final = "x-mlflow-delivery-id"
TIME_HEADER: Final = "x-mlflow-timestamp"
SIGNATURE_HEADER: Final = "x-mlflow-signature"
AGE_SECONDS_MAX: Final = 300
SEEN_MAX: Final = 10_000
"""Ids remembered; the oldest is forgotten first. One that was forgotten and is sent again costs one look more."""
ID_CHARS_MAX: Final = 128


class Deliveries:
    """The deliveries to one process. An empty `secret` accepts none. Counts what was taken and what was refused."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._seen: dict[str, None] = {}
        self.taken = 0
        self.refused = 0

    @property
    def wanted(self) -> bool:
        """Whether there is a secret to check deliveries by."""
        return bool(self._secret)

    def check(self, headers: Mapping[str, str], body: bytes, now_seconds: float) -> str | None:
        """The id of a delivery that is signed and fresh; None where it is not, which is counted. `headers` have names in
        lower case; `now_seconds` are since the epoch, UTC.
        """
        delivery = headers.get(ID_HEADER, "")
        sent = headers.get(TIME_HEADER, "")
        due = b"v1," + base64.b64encode(_mac(self._secret, delivery, sent, body))
        # the comparison comes first and takes equally long whatever was sent
        genuine = hmac.compare_digest(due, headers.get(SIGNATURE_HEADER, "").encode()) and self.wanted
        known_form = 0 < len(delivery) <= ID_CHARS_MAX and re.fullmatch("[0-9]{1,12}", sent)
        if not (genuine and known_form and abs(now_seconds - int(sent)) <= AGE_SECONDS_MAX):
            self.refused += 1
            return None
        return delivery

    def is_new(self, delivery: str) -> bool:
        """Whether a delivery that passed the check was not taken before."""
        return delivery not in self._seen

    def take(self, delivery: str) -> None:
        """Remember a delivery that was acted upon."""
        self._seen[delivery] = None
        self.taken += 1
        while len(self._seen) > SEEN_MAX:
            del self._seen[next(iter(self._seen))]


def _mac(secret: bytes, delivery: str, sent: str, body: bytes) -> bytes:
    signed = f"{delivery}.{sent}.".encode() + body
    return hmac.new(secret, signed, hashlib.sha256).digest()
