"""What the headers of a request say: the same as its body would."""

import pytest

from contracts.errors import InvalidInput
from gateway.http import headers_of


@pytest.mark.parametrize(
    ("sent", "key"),
    [(b"N14228", "N14228"), ("Zürich-€".encode(), "Zürich-€"), ("Zürich".encode("latin-1"), "Zürich"), (b"", None)],
)
def test_a_unit_is_the_same_whether_its_key_comes_in_a_header_or_in_the_body(sent, key):
    assert headers_of([(b"host", b"t"), (b"x-routing-key", sent)]) == (key, None)
    assert headers_of([(b"x-request-id", sent)]) == (None, key)


@pytest.mark.parametrize("name", [b"content-encoding", b"inference-header-content-length"])
def test_a_coding_that_is_not_undone_is_refused(name):
    with pytest.raises(InvalidInput, match="send"):
        headers_of([(name, b"12")])
