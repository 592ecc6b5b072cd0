"""Bodies that must not become predictions, each with the exact reason; numbered as in the catalogue of bad inputs.

Numbers 22 to 31 are about JSON, 32 to 45 about V2 tensors. A body is refused for the reason it was written for: a test that
only saw a refusal could have met another check.
"""

import json

import pytest

from contracts.errors import InvalidInput
from gateway.models.inputs import check_rows
from gateway.protocol.v2 import decode_infer

GOOD = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}'
DATATYPES = "BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64, BYTES"
INT64_RANGE = "-9223372036854775808 to 9223372036854775807"


def one(data, datatype="FP32", shape="[1]", name='"x"', more=""):
    """A body with one input, of JSON text."""
    return f'{{"inputs":[{{"name":{name},"shape":{shape},"datatype":"{datatype}","data":{data}{more}}}]}}'.encode()


CASES = {
    "22 a bare stack of lists": (
        b"[" * 100_000,
        "the body is nested too deeply: no tensor has more than 32 dimensions",
    ),
    "22 deep objects": (b'{"a":' * 100_000, "the body is nested too deeply: no tensor has more than 32 dimensions"),
    "22 deep data": (
        one("[" * 100_000 + "]" * 100_000),
        "the body is nested too deeply: no tensor has more than 32 dimensions",
    ),
    "22 deep data behind a number that nothing can hold": (
        one("[1e400," + "[" * 100_000 + "]" * 100_001),
        "the body is nested too deeply: no tensor has more than 32 dimensions",
    ),
    "22 data deeper than its shape": (
        one("[" * 40 + "1" + "]" * 40),
        "inputs[0] 'x': data[0] = a list is not an FP32",
    ),
    "23 NaN": (one("[NaN]"), "the body is not JSON: JSON has no NaN (byte 61); a missing value is null"),
    "23 Infinity": (one("[Infinity]"), "the body is not JSON: JSON has no Infinity (byte 61); a missing value is null"),
    "23 -Infinity": (
        one("[-Infinity]"),
        "the body is not JSON: JSON has no Infinity (byte 62); a missing value is null",
    ),
    "23 1e400 for FP64": (
        one("[1e400]", "FP64"),
        "inputs[0] 'x': data[0] = 1e400 is out of range for FP64: its magnitude must be below 1.797693e+308",
    ),
    "23 -1e400 for INT64": (
        one("[-1e400]", "INT64"),
        f"inputs[0] 'x': data[0] = -1e400 is out of range for INT64: {INT64_RANGE}",
    ),
    "23 1e400 where nobody looks": (
        GOOD[:-1] + b',"note":1e400}',
        "the body holds a number beyond the range of FP64",
    ),
    "23 NaN behind 1e400": (
        GOOD[:-1] + b',"note":[1e400,NaN]}',
        "the body is not JSON: JSON has no NaN; a missing value is null",
    ),
    "24 a member twice": (
        one("[1]", more=',"data":[2]'),
        "the member 'data' stands twice in one object: which one counts is anyone's guess",
    ),
    "24 a member twice, spelt differently": (
        one("[1]", more=',"d\\u0061ta":[1]'),
        "the member 'data' stands twice in one object: which one counts is anyone's guess",
    ),
    "24 inputs twice": (
        GOOD[:-1] + b',"inputs":[]}',
        "the member 'inputs' stands twice in one object: which one counts is anyone's guess",
    ),
    "24 a parameter twice": (
        GOOD[:-1] + b',"parameters":{"routing_key":"a","routing_key":"b"}}',
        "the member 'routing_key' stands twice in one object: which one counts is anyone's guess",
    ),
    "24 twice where nobody looks": (
        GOOD[:-1] + b',"note":[{"a":{"b":1,"b":1}}]}',
        "the member 'b' stands twice in one object: which one counts is anyone's guess",
    ),
    "24 twice, hidden behind an escaped colon": (
        GOOD[:-1] + b',"id":"1","id":"\\u003a"}',
        "the member 'id' stands twice in one object: which one counts is anyone's guess",
    ),
    "25 half a pair": (
        one('["\\ud800"]', "BYTES"),
        "the body is not JSON: a string holds half of a surrogate pair (such as \\ud800); send whole characters",
    ),
    "25 the other half": (one('["\\udc00"]', "BYTES"), "the body is not JSON: invalid utf-16 surrogate pair (byte 69)"),
    "25 half a pair in a name": (
        one("[1]", name='"\\ud83d"'),
        "the body is not JSON: unexpected end of escaped utf-16 surrogate pair (byte 26)",
    ),
    "26 byte order mark": (
        b"\xef\xbb\xbf" + GOOD,
        "the body is not JSON: it begins with a byte order mark; send UTF-8 without one",
    ),
    "26 UTF-16": (GOOD.decode().encode("utf-16"), "the body is not JSON: it is UTF-16 or UTF-32; send UTF-8"),
    "26 UTF-16 without a mark": (
        GOOD.decode().encode("utf-16-be"),
        "the body is not JSON: it is UTF-16 or UTF-32; send UTF-8",
    ),
    "26 UTF-32": (GOOD.decode().encode("utf-32-le"), "the body is not JSON: it is UTF-16 or UTF-32; send UTF-8"),
    "26 Latin-1": (one('["\xe9"]', "BYTES").decode().encode("latin-1"), "the body is not JSON: it is not UTF-8"),
    "26 Latin-1 where nobody looks": (GOOD[:-1] + b',"note":"\xe9"}', "the body is not JSON: it is not UTF-8"),
    "27 2^63 for INT64": (
        one(f"[{2**63}]", "INT64"),
        f"inputs[0] 'x': data[0] = 9223372036854775808 is out of range for INT64: {INT64_RANGE}",
    ),
    "27 2^64 for UINT64": (
        one(f"[0,{2**64}]", "UINT64", "[2]"),
        "inputs[0] 'x': data[1] = 18446744073709551616 is out of range for UINT64: 0 to 18446744073709551615",
    ),
    "27 -1 for UINT64": (
        one("[-1]", "UINT64"),
        "inputs[0] 'x': data[0] = -1 is out of range for UINT64: 0 to 18446744073709551615",
    ),
    "28 5,000 digits for INT64": (
        one(f"[{'7' * 5000}]", "INT64"),
        f"inputs[0] 'x': data[0] = {'7' * 77}... is out of range for INT64: {INT64_RANGE}",
    ),
    "28 400 digits for FP64": (
        one(f"[{'7' * 400}]", "FP64"),
        f"inputs[0] 'x': data[0] = {'7' * 77}... is out of range for FP64: its magnitude must be below 1.797693e+308",
    ),
    "28 5,000 digits in the shape": (
        one("[1]", shape=f"[{'7' * 5000}]"),
        f"inputs[0] 'x': shape[0] = {'7' * 77}... must be an integer",
    ),
    "29 a name that languages trip over": (
        one("[1]", more=',"__proto__":{}'),
        "inputs[0] 'x': unknown member '__proto__'; known are name, shape, datatype, parameters, data",
    ),
    "29 a name of 1 MB": (
        one("[1]", more=f',"{"k" * 2**20}":1'),
        f"inputs[0] 'x': unknown member '{'k' * 77}...'; known are name, shape, datatype, parameters, data",
    ),
    "30 nothing": (b"", "the body is empty: send a JSON object with 'inputs'"),
    "30 blanks": (b" \r\n", "the body is empty: send a JSON object with 'inputs'"),
    "30 a list": (b"[]", "the body must be an object, not a list"),
    "30 null": (b"null", "the body must be an object, not null"),
    "30 a string": (b'"inputs"', "the body must be an object, not 'inputs'"),
    "30 trailing junk": (GOOD + b" {}", "the body is not JSON: trailing characters (byte 68)"),
    "30 cut off": (GOOD[:-5], "the body is not JSON: Input data was truncated"),
    "30 a trailing comma": (GOOD[:-1] + b",}", "the body is not JSON: trailing comma in object (byte 66)"),
    "30 no inputs": (b"{}", "'inputs' is missing: a list of tensors with name, shape, datatype and data"),
    "30 inputs of another type": (b'{"inputs":{"x":[1]}}', "'inputs' must be a list, not an object"),
    "30 no input": (b'{"inputs":[]}', "'inputs' is empty: send at least one tensor"),
    "30 an input of another type": (b'{"inputs":[[1]]}', "inputs[0]: a tensor must be an object, not a list"),
    "32 too few values": (one("[1,2,3]", shape="[2,2]"), "inputs[0] 'x': shape [2, 2] has 4 values and 'data' has 3"),
    "32 too many values": (one("[1,2]", shape="[1,1]"), "inputs[0] 'x': shape [1, 1] has 1 values and 'data' has 2"),
    "32 no values": (one("[]", shape="[1]"), "inputs[0] 'x': shape [1] has 1 values and 'data' has 0"),
    "33 -1": (
        one("[1]", shape="[-1]"),
        "inputs[0] 'x': shape[0] = -1 must be at least 1: a request carries real sizes",
    ),
    "33 two negatives that multiply to 1": (
        one("[1]", shape="[-1,-1]"),
        "inputs[0] 'x': shape[0] = -1 must be at least 1: a request carries real sizes",
    ),
    "33 0": (one("[]", shape="[1,0]"), "inputs[0] 'x': shape[1] = 0 must be at least 1: there is nothing to predict"),
    "33 2^62": (
        one("[1]", shape=f"[{2**62}]"),
        "inputs[0] 'x': shape[0] = 4611686018427387904 is too large; at most 2147483647",
    ),
    "33 a product that overflows 64 bits to 1": (
        one("[1]", shape="[641,6700417,4294967297]"),
        "inputs[0] 'x': shape[2] = 4294967297 is too large; at most 2147483647",
    ),
    "33 a product that overflows 64 bits to 0": (
        one("[]", shape=f"[{2**30},{2**30},16]"),
        f"inputs[0] 'x': shape [1073741824, 1073741824, 16] has {2**64} values and 'data' has 0",
    ),
    "33 a fraction": (one("[1]", shape="[1.0]"), "inputs[0] 'x': shape[0] = 1.0 must be an integer"),
    "33 a boolean": (one("[1]", shape="[true]"), "inputs[0] 'x': shape[0] = true must be an integer"),
    "33 text": (one("[1]", shape='["1"]'), "inputs[0] 'x': shape[0] = '1' must be an integer"),
    "33 no list": (one("[1]", shape="1"), "inputs[0] 'x': 'shape' must be a list, not 1"),
    "34 rank 65": (
        one("[1]", shape=f"[{','.join(['1'] * 65)}]"),
        "inputs[0] 'x': 'shape' has 65 dimensions; at most 32",
    ),
    "34 rank 0": (
        one("[1]", shape="[]"),
        "inputs[0] 'x': shape [] has no rows: the first dimension is the batch; send [1] for one value",
    ),
    "35 1.9 for INT64": (one("[1.9]", "INT64"), "inputs[0] 'x': data[0] = 1.9 is not an INT64"),
    "35 1.0 for INT64": (one("[1.0]", "INT64"), "inputs[0] 'x': data[0] = 1.0 is not an INT64"),
    "35 true for UINT8": (one("[true]", "UINT8"), "inputs[0] 'x': data[0] = true is not a UINT8"),
    "35 text for INT64": (one('["1"]', "INT64"), "inputs[0] 'x': data[0] = '1' is not an INT64"),
    "35 2 for BOOL": (one("[2]", "BOOL"), "inputs[0] 'x': data[0] = 2 is not a BOOL: send true or false"),
    "35 text for FP32": (one('["1"]'), "inputs[0] 'x': data[0] = '1' is not an FP32"),
    "35 true for FP32": (one("[true]"), "inputs[0] 'x': data[0] = true is not an FP32"),
    "35 1e39 for FP32": (
        one("[0,1e39]", shape="[2]"),
        "inputs[0] 'x': data[1] = 1e39 is out of range for FP32: its magnitude must be below 3.402824e+38",
    ),
    "35 65520 for FP16": (
        one("[-65520]", "FP16"),
        "inputs[0] 'x': data[0] = -65520 is out of range for FP16: its magnitude must be below 65520",
    ),
    "35 300 for INT8": (one("[300]", "INT8"), "inputs[0] 'x': data[0] = 300 is out of range for INT8: -128 to 127"),
    "35 a number for BYTES": (one("[1]", "BYTES"), "inputs[0] 'x': data[0] = 1 is not a BYTES element: send a string"),
    "35 an object for FP32": (one("[{}]"), "inputs[0] 'x': data[0] = an object is not an FP32"),
    "36 rows of different length": (
        one("[[1,2],[3]]", shape="[2,2]"),
        "inputs[0] 'x': data[1] has 1 items where shape [2, 2] has 2",
    ),
    "36 rows of other length than the shape": (
        one("[[1,2,3],[4,5,6]]", shape="[3,2]"),
        "inputs[0] 'x': data has 2 items where shape [3, 2] has 3",
    ),
    "36 a number among lists": (
        one("[[1,2],3]", shape="[2,2]"),
        "inputs[0] 'x': data[1] = 3 must be a list of 2: shape is [2, 2]",
    ),
    "36 a list among numbers": (one("[1,[2]]", shape="[2]"), "inputs[0] 'x': data[1] = a list is not an FP32"),
    "36 ragged further down": (
        one("[[[1],[2]],[[3],[4,5]]]", shape="[2,2,1]"),
        "inputs[0] 'x': data[1][1] has 2 items where shape [2, 2, 1] has 1",
    ),
    "36 nested, but the sizes swapped": (
        one("[[1,2,3],[4,5,6]]", shape="[2,3,1]"),
        "inputs[0] 'x': data[0][0] = 1 must be a list of 1: shape is [2, 3, 1]",
    ),
    "37 wrong case": (
        one("[1]", "fp32"),
        f"inputs[0] 'x': datatype 'fp32' is unknown; did you mean 'FP32'?; known are {DATATYPES}",
    ),
    "37 BF16": (one("[1]", "BF16"), "inputs[0] 'x': datatype 'BF16' has no JSON form; send FP32"),
    "37 numpy's name": (
        one("[1]", "object"),
        f"inputs[0] 'x': datatype 'object' is unknown; known are {DATATYPES}",
    ),
    "38 no data": (
        b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}',
        "inputs[0] 'x': 'data' is missing",
    ),
    "38 data null": (one("null"), "inputs[0] 'x': 'data' must be a list, not null"),
    "38 a name that is none": (one("[1]", name="1"), "inputs[0]: 'name' = 1 must be a string"),
    "38 no datatype but a misspelt one": (
        b'{"inputs":[{"name":"x","shape":[1],"dtype":"FP32","data":[1]}]}',
        "inputs[0] 'x': unknown member 'dtype'; did you mean 'datatype'?; known are name, shape, datatype, parameters, data",
    ),
    "38 an input twice": (
        GOOD.replace(b"]}]}", b'],"parameters":{}},{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}'),
        "inputs[1] 'x': a tensor of this name stands before it: send each once",
    ),
    "39 10,000 inputs": (
        json.dumps(
            {"inputs": [{"name": f"x{i}", "shape": [1], "datatype": "BOOL", "data": [True]} for i in range(10_000)]}
        ).encode(),
        "'inputs' has 10000 tensors; at most 1024",
    ),
    "39 10,000 requested outputs": (
        GOOD[:-1] + b',"outputs":' + json.dumps([{"name": f"y{i}"} for i in range(10_000)]).encode() + b"}",
        "'outputs' has 10000 tensors; at most 1024",
    ),
    "40 an output twice": (
        GOOD[:-1] + b',"outputs":[{"name":"p"},{"name":"p"}]}',
        "outputs[1] 'p': a tensor of this name stands before it: send each once",
    ),
    "40 an output without a name": (GOOD[:-1] + b',"outputs":[{}]}', "outputs[0]: 'name' is missing"),
    "40 an output by its bare name": (
        GOOD[:-1] + b',"outputs":["p"]}',
        "outputs[0]: an output must be an object, not 'p'",
    ),
    "40 outputs of another type": (GOOD[:-1] + b',"outputs":"p"}', "'outputs' must be a list, not 'p'"),
    "41 no rows": (
        one("[]", shape="[0,3]"),
        "inputs[0] 'x': shape[0] = 0 must be at least 1: there is nothing to predict",
    ),
    "42 inputs of different rows": (
        GOOD.replace(b"]}]}", b']},{"name":"y","shape":[2],"datatype":"FP32","data":[1,2]}]}'),
        "inputs[1] 'y': it has 2 rows and the inputs before it have 1; each needs one for each prediction",
    ),
    "44 a huge timeout": (
        GOOD[:-1] + b',"parameters":{"timeout":18446744073709551616}}',
        "parameters.timeout = 18446744073709551616 must be an integer of microseconds from 1 to 86400000000 (a day)",
    ),
    "44 no timeout": (
        GOOD[:-1] + b',"parameters":{"timeout":0}}',
        "parameters.timeout = 0 must be an integer of microseconds from 1 to 86400000000 (a day)",
    ),
    "44 a timeout as text": (
        GOOD[:-1] + b',"parameters":{"timeout":"1000"}}',
        "parameters.timeout = '1000' must be an integer of microseconds from 1 to 86400000000 (a day)",
    ),
    "44 a negative priority": (
        GOOD[:-1] + b',"parameters":{"priority":-1}}',
        "parameters.priority = -1 must be an integer from 0 to 4294967295",
    ),
    "44 a huge priority": (
        GOOD[:-1] + b',"parameters":{"priority":4294967296}}',
        "parameters.priority = 4294967296 must be an integer from 0 to 4294967295",
    ),
    "45 an id of 1 MB": (
        GOOD[:-1] + b',"id":"' + b"i" * 2**20 + b'"}',
        f"id = '{'i' * 77}...' has 1048576 bytes; at most 256",
    ),
    "45 an id of few characters but many bytes": (
        GOOD[:-1] + ',"id":"{}"}}'.format("東" * 100).encode(),
        f"id = '{'東' * 77}...' has 300 bytes; at most 256",
    ),
    "45 an id that is a number": (GOOD[:-1] + b',"id":1}', "id = 1 must be a non-empty string"),
}


@pytest.mark.parametrize(("content", "reason"), CASES.values(), ids=CASES.keys())
def test_a_bad_body_is_refused_for_its_reason_and_the_next_good_one_is_taken(content, reason):
    with pytest.raises(InvalidInput) as refused:
        decode_infer(content)

    assert str(refused.value) == reason
    assert decode_infer(GOOD).inputs["x"].data == [1.0]


def test_35_null_is_neither_refused_nor_read_as_a_number():
    assert decode_infer(one("[null]")).inputs["x"].data == [None]


def test_42_more_rows_than_a_batch_may_have_are_refused():
    request = decode_infer(one("[1,2,3]", shape="[3]"))

    check_rows(request, 3)
    with pytest.raises(InvalidInput, match=r"^the request has 3 rows; at most 2 at once \(batch_rows_max\): split it$"):
        check_rows(request, 2)


def test_45_an_id_may_come_again_with_other_content():
    first = decode_infer(GOOD[:-1] + b',"id":"i"}')
    second = decode_infer(one("[2]")[:-1] + b',"id":"i"}')

    assert (first.id, first.inputs["x"].data) == ("i", [1.0])
    assert (second.id, second.inputs["x"].data) == ("i", [2.0])
