"""The type that prediction records are decoded as: of a record what is counted, of its features those that some version
counts, each a field of its own.

Enters: names of features, as versions become known. Leaves: records. Decoding into fields that are known beforehand, and
leaving out the rest, takes a third less time than decoding every record whole into dictionaries. What is decoded is held
to the types of `contracts.prediction`; what is left out is only skipped. Nearly all records have one value of every feature:
these are decoded as tuples of one, of which columns are made without a look at any.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import msgspec

from contracts.prediction import Output, Status

NAMES_MAX: Final = 10_000
"""Names that one type has; a name more, and it starts over with those that are needed now."""

_NEEDS_ESCAPE: Final = re.compile(r'["\\\x00-\x1f]')


class Record(msgspec.Struct, kw_only=True, gc=False):
    """A prediction record, as far as it is counted. `features` has one attribute `field_of(name)` for every name learned:
    a column with one value a row, or null where the record has no such feature. The others are as in
    `contracts.prediction.Prediction`.
    """

    schema: Literal[1]
    prediction_id: str
    received_us: int
    event_us: int
    model: str
    version: str
    digest: str
    variant: str
    answered: bool
    rows: int
    features: Any
    outputs: dict[str, Output]
    status: Status
    fallback_from: str | None


class SingleFeatures(msgspec.Struct, gc=False):
    """Features each of which is null or a tuple of one value."""


class RecordDecoder:
    """Decodes records; knows only the features that it has learned. `decode_single` refuses records that have not exactly
    one value of every feature they have; their `features` are `SingleFeatures`, with the fields in the order learned.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self.decode: Callable[[bytes], Record] = _decoder(self._names, single=False)
        self.decode_single: Callable[[bytes], Record] = _decoder(self._names, single=True)

    def learn(self, names: Iterable[str]) -> bool:
        """Decode these features too from now on. True where one of them is new: then decode again."""
        wanted = tuple(dict.fromkeys(names))
        both = tuple(dict.fromkeys((*self._names, *wanted)))
        if both == self._names:
            return False
        self._names = both if len(both) <= NAMES_MAX else wanted
        self.decode = _decoder(self._names, single=False)
        self.decode_single = _decoder(self._names, single=True)
        return True


def field_of(name: str) -> str:
    """The attribute that holds a feature: any text can be a feature's name, only identifiers can be attributes."""
    return f"f{name.encode().hex()}"


def _decoder(names: Sequence[str], *, single: bool) -> Callable[[bytes], Record]:
    if any(_NEEDS_ESCAPE.search(name) for name in names):
        return _decoder_by_dictionary(names)
    column: Any = tuple[Any] if single else list[Any]
    fields = [(field_of(name), column | None, None) for name in names]
    bases = (SingleFeatures,) if single else ()
    renamed = {field_of(name): name for name in names}
    return _decoder_of(msgspec.defstruct("Features", fields, bases=bases, rename=renamed, gc=False))


def _decoder_by_dictionary(names: Sequence[str]) -> Callable[[bytes], Record]:
    """The slow way, for names that JSON has to escape: they cannot be names of fields."""
    features = msgspec.defstruct("Features", [(field_of(name), Any, None) for name in names], gc=False)
    decode_plain, fields = _decoder_of(dict[str, list[Any] | None]), {name: field_of(name) for name in names}

    def decode(payload: bytes) -> Record:
        record = decode_plain(payload)
        given = record.features.items()
        record.features = features(**{fields[name]: column for name, column in given if name in fields})
        return record

    return decode


def _decoder_of(features: Any) -> Callable[[bytes], Record]:
    record = msgspec.defstruct("KnownRecord", [("features", features)], bases=(Record,), kw_only=True, gc=False)
    decoder: Any = msgspec.json.Decoder(record)
    decode: Callable[[bytes], Record] = decoder.decode
    return decode
