"""Laws of V2 JSON decoding: exact values or a refusal, one meaning however it is written, and no member lost."""

import json
import random
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.datatypes import NUMPY_OF
from contracts.errors import InvalidInput
from gateway.protocol.v2 import decode_infer
from gateway.protocol.v2_careful import decode_carefully

DATATYPES = sorted(NUMPY_OF)
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
REFUSED = object()

EDGES = [2**bits + step for bits in (7, 8, 15, 16, 31, 32, 53, 63, 64, 70, 1023, 1024) for step in (-1, 0, 1)]
LIMITS = [
    65503.9,
    65504.0,
    65519.99,
    65520.0,
    3.4028234663852886e38,
    3.4028235677973362e38,
    3.4028235677973366e38,
    1.797e308,
]


def outcome(decode, content):
    """The request, or the reason why there is none."""
    try:
        return decode(content)
    except InvalidInput as error:
        return str(error)


def one(datatype, token):
    return f'{{"inputs":[{{"name":"x","shape":[1],"datatype":"{datatype}","data":[{token}]}}]}}'.encode()


def oracle(datatype, token):
    """What a strict reader makes of one JSON token, written without a look at the decoder."""
    if token == "null":
        return None
    kind = NUMPY_OF[datatype].kind
    if kind == "b":
        return {"true": True, "false": False}.get(token, REFUSED)
    if kind == "O":
        return json.loads(token) if token.startswith('"') else REFUSED
    if kind in "iu":
        limits = np.iinfo(NUMPY_OF[datatype])
        return int(token) if INTEGER.fullmatch(token) and int(limits.min) <= int(token) <= int(limits.max) else REFUSED
    if not NUMBER.fullmatch(token):
        return REFUSED
    with np.errstate(over="ignore", under="ignore"):
        return float(token) if np.isfinite(np.float64(token).astype(NUMPY_OF[datatype])) else REFUSED


def tokens():
    integers = st.one_of(st.integers(), st.sampled_from(EDGES), st.sampled_from(EDGES).map(lambda edge: -edge))
    floats = st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.sampled_from(LIMITS),
        st.sampled_from(LIMITS).map(lambda limit: -limit),
    )
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    return st.one_of(
        integers.map(str),
        floats.map(repr),
        st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
        st.tuples(st.integers(-99, 99), st.sampled_from(["e", "E", "e+", "e-"]), st.integers(0, 400)).map(
            lambda parts: "".join(map(str, parts))
        ),
        st.builds(json.dumps, texts, ensure_ascii=st.booleans()),
        st.sampled_from(["true", "false", "null", "-0", "-0.0", "[1]", "{}", "[]", '{"a":1}']),
        st.sampled_from(
            ["NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "1e", "0x1", "", "nul", "True", "'a'", "1,", "--1"]
        ),
    )


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=80)
@given(token=tokens())
@example(token="9007199254740993")
@example(token="1e400")
@example(token="-" + "9" * 309)
@example(token="1" * 4000)
@example(token='"\\u0041:"')
def test_a_value_is_taken_exactly_or_refused(datatype, token):
    expected = oracle(datatype, token)

    decoded = outcome(decode_infer, one(datatype, token))

    if expected is REFUSED:
        assert isinstance(decoded, str), f"{token} was taken as {decoded}"
    else:
        (value,) = decoded.inputs["x"].data
        assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=30)
@given(token=tokens())
def test_both_paths_agree_on_every_value(datatype, token):
    assert outcome(decode_infer, one(datatype, token)) == outcome(decode_carefully, one(datatype, token))


class Written:
    """A JSON object as pairs, so that a member can stand in it twice."""

    def __init__(self, pairs):
        self.pairs = list(pairs)


def written(value):
    """The same value with every object as pairs."""
    if isinstance(value, dict):
        return Written((key, written(member)) for key, member in value.items())
    return [written(item) for item in value] if isinstance(value, list) else value


def objects(value):
    """Every object inside a value that has members."""
    if isinstance(value, Written):
        return [value] * bool(value.pairs) + [found for _, member in value.pairs for found in objects(member)]
    return [found for item in value for found in objects(item)] if isinstance(value, list) else []


def text_of(value, style):
    """JSON text with blanks and escapes in places that do not matter."""
    blank = style.choice(["", "", "", " ", "\n\t"])
    if isinstance(value, Written):
        members = (f"{string_of(key, style)}{blank}:{blank}{text_of(member, style)}" for key, member in value.pairs)
        return "{" + f"{blank},{blank}".join(members) + blank + "}"
    if isinstance(value, list):
        return "[" + f"{blank},".join(text_of(item, style) for item in value) + "]"
    return string_of(value, style) if isinstance(value, str) else json.dumps(value)


def string_of(text, style):
    if style.random() < 0.8:
        return json.dumps(text, ensure_ascii=style.random() < 0.5)
    return '"' + "".join(f"\\u{ord(char):04x}" if ord(char) < 0x80 else json.dumps(char)[1:-1] for char in text) + '"'


NAMES = st.text(st.sampled_from('abc:"\\é,{}'), max_size=4)
PARAMETERS = st.dictionaries(
    st.one_of(st.sampled_from(["routing_key", "variant", "timeout", "event_time", "priority"]), NAMES),
    st.one_of(NAMES, st.integers(-5, 5), st.booleans(), st.just("2013-04-01T12:00:00Z")),
    max_size=3,
)
VALUES = {
    "FP32": st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.none()),
    "INT8": st.integers(-129, 128),
    "UINT64": st.one_of(st.integers(0, 9), st.integers(2**64 - 1, 2**64)),
    "BOOL": st.booleans(),
    "BYTES": NAMES,
}


def nest(values, shape):
    if len(shape) == 1:
        return values
    step = len(values) // shape[0]
    return [nest(values[start : start + step], shape[1:]) for start in range(0, len(values), step)]


@st.composite
def tensors(draw, rows):
    datatype = draw(st.sampled_from(sorted(VALUES)))
    shape = [rows, *draw(st.lists(st.integers(1, 3), max_size=2))]
    size = int(np.prod(shape))
    data = draw(st.lists(VALUES[datatype], min_size=size, max_size=size))
    tensor = {"name": draw(NAMES), "shape": shape, "datatype": datatype, "data": data}
    if draw(st.booleans()):
        tensor["data"] = nest(data, shape)
    if draw(st.integers(0, 3)) == 0:
        tensor["parameters"] = draw(PARAMETERS)
    return tensor


@st.composite
def requests(draw):
    rows = draw(st.integers(1, 3))
    request = {"inputs": draw(st.lists(tensors(rows), min_size=1, max_size=4))}
    if draw(st.booleans()):
        request["parameters"] = draw(PARAMETERS)
    if draw(st.booleans()):
        request["id"] = draw(NAMES)
    if draw(st.integers(0, 3)) == 0:
        request["outputs"] = [{"name": name} for name in draw(st.lists(NAMES, max_size=3))]
    if draw(st.integers(0, 5)) == 0:
        request["model_name"] = draw(st.one_of(NAMES, st.just({"a": [":"]})))
    members = list(request)
    draw(st.randoms(use_true_random=False)).shuffle(members)
    return {member: request[member] for member in members}


@settings(max_examples=200)
@given(request=requests(), seed=st.integers(0, 2**32))
def test_both_paths_agree_on_every_request_however_it_is_written(request, seed):
    plain = json.dumps(request).encode()
    styled = text_of(written(request), random.Random(seed)).encode()

    reading = outcome(decode_infer, plain)

    assert outcome(decode_carefully, plain) == reading
    assert outcome(decode_infer, styled) == reading
    assert outcome(decode_carefully, styled) == reading


@settings(max_examples=200)
@given(request=requests(), seed=st.integers(0, 2**32))
def test_a_member_that_stands_twice_is_found_wherever_it_is(request, seed):
    style = random.Random(seed)
    tree = written(request)
    pairs = style.choice(objects(tree)).pairs
    key, value = style.choice(pairs)
    pairs.insert(style.randrange(len(pairs) + 1), (key, style.choice([value, 1, "a:", ":", None, []])))
    content = text_of(tree, style).encode()

    for decode in (decode_infer, decode_carefully):
        with pytest.raises(InvalidInput, match="stands twice in one object"):
            decode(content)


@settings(max_examples=200)
@given(request=requests())
def test_nesting_does_not_change_what_is_meant(request):
    flat = json.loads(json.dumps(request))
    nested = json.loads(json.dumps(request))
    for tensor, other in zip(flat["inputs"], nested["inputs"], strict=True):
        values = np.array(tensor["data"], object).reshape(-1).tolist()
        tensor["data"], other["data"] = values, nest(values, tensor["shape"])

    def meant(content):
        return re.sub(r"data[\[\]\d]+", "data", str(outcome(decode_infer, json.dumps(content).encode())))

    assert meant(flat) == meant(nested)


@settings(max_examples=150)
@given(content=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_arbitrary_bytes_are_refused_with_a_short_reason(content):
    reason = outcome(decode_infer, content)

    assert isinstance(reason, str)
    assert 0 < len(reason) < 500


@settings(max_examples=150)
@given(request=requests(), seed=st.integers(0, 2**32))
def test_a_damaged_request_is_refused_or_means_what_it_says(request, seed):
    style = random.Random(seed)
    content = bytearray(json.dumps(request).encode())
    for _ in range(style.randrange(1, 3)):
        content[style.randrange(len(content))] = style.choice(b'0129.-e:,"[]{}\\nxt \x00\xff')

    reading = outcome(decode_infer, bytes(content))

    assert outcome(decode_carefully, bytes(content)) == reading
    assert isinstance(reading, str) or reading.rows >= 1
