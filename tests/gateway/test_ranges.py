"""Taking and giving back buckets: the arithmetic under every share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidInput
from contracts.plan import BUCKETS
from gateway.traffic.ranges import RANGES_MAX, gaps, give_back, resized, take, width
from gateway.traffic.shares import buckets_of, checked_share, parse_share, share_text

HALF = BUCKETS // 2


@st.composite
def disjoint_ranges(draw):
    cuts = sorted(draw(st.sets(st.integers(0, BUCKETS), min_size=2, max_size=24)))
    pieces = list(zip(cuts[::2], cuts[1::2], strict=False))
    owners = draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))
    mine = [piece for piece, is_mine in zip(pieces, owners, strict=True) if is_mine]
    others = [piece for piece, is_mine in zip(pieces, owners, strict=True) if not is_mine]
    return tuple(draw(st.permutations(mine))), others


def covered(ranges):
    return sorted(ranges)


def contains(outer, inner):
    return all(any(a <= start and end <= b for a, b in merged(outer)) for start, end in inner)


def merged(ranges):
    whole = []
    for start, end in sorted(ranges):
        if whole and whole[-1][1] == start:
            whole[-1] = (whole[-1][0], end)
        else:
            whole.append((start, end))
    return whole


def test_the_first_challenger_begins_at_the_first_bucket():
    assert take((), 100, []) == ((0, 100),)


def test_a_second_challenger_begins_where_both_have_room_to_grow():
    second = take((), 100, [(0, 100)])

    assert second == (((BUCKETS + 100) // 2, (BUCKETS + 100) // 2 + 100),)
    assert len(take(((0, 100),), HALF - 200, second)) == 1
    assert len(take(second, HALF - 200, [(0, 100)])) == 1


def test_growing_extends_the_range_in_place():
    assert take(((0, 100), (500, 600)), 50, []) == ((0, 100), (500, 650))


def test_a_share_that_does_not_fit_in_one_gap_falls_into_pieces():
    grown = take(((0, 10),), BUCKETS - 20, [(10, 20)])

    assert width(grown) == BUCKETS - 10
    assert gaps([*grown, (10, 20)]) == []


def test_what_is_not_free_is_refused_and_the_message_says_how_much_is():
    with pytest.raises(InvalidInput, match=r"30% more do not fit: the champion has 25% to give; ask for at most 50%"):
        take(((0, BUCKETS // 4),), buckets_of(0.3), [(HALF, BUCKETS)])


def test_the_last_taken_is_given_back_first():
    taken = ((500, 600), (0, 100))

    assert give_back(taken, 50) == ((500, 600), (0, 50))
    assert give_back(taken, 100) == ((500, 600),)
    assert give_back(taken, 150) == ((500, 550),)
    assert give_back(taken, 200) == ()


def test_more_pieces_than_the_bound_are_refused():
    checkered = [(n * 16, n * 16 + 8) for n in range(1, RANGES_MAX + 2)]
    last = checkered[-1][1]
    others = [*checkered, (last, BUCKETS)]

    with pytest.raises(InvalidInput, match=r"pieces of share, at most 256"):
        take((), BUCKETS - width(others), others)


@given(disjoint_ranges(), st.integers(0, BUCKETS))
def test_resizing_is_exact_keeps_apart_from_others_and_only_adds_or_only_takes_away(owned, wanted):
    mine, others = owned
    if wanted > BUCKETS - width(others):
        with pytest.raises(InvalidInput):
            resized(mine, wanted, others)
        return
    after = resized(mine, wanted, others)

    assert width(after) == wanted
    assert width(gaps([*after, *others])) == BUCKETS - wanted - width(others)  # gaps() refuses overlaps
    if wanted >= width(mine):
        assert contains(after, mine)
    else:
        assert contains(mine, after)


@given(disjoint_ranges(), st.integers(0, BUCKETS))
def test_giving_back_undoes_taking(owned, more):
    mine, others = owned
    more = min(more, BUCKETS - width(mine) - width(others))

    assert merged(give_back(take(mine, more, others), more)) == merged(mine)


@given(disjoint_ranges())
def test_gaps_and_owned_ranges_are_everything(owned):
    mine, others = owned

    assert merged([*mine, *others, *gaps([*mine, *others])]) == [(0, BUCKETS)]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("5%", 0.05),
        ("0.5 %", 0.005),
        (" 100% ", 1.0),
        ("0.05", 0.05),
        ("0%", 0.0),
        ("0", 0.0),
        ("1e-3", 0.001),
        (".5", 0.5),
    ],
)
def test_a_share_is_a_percentage_or_a_fraction(text, share):
    assert parse_share(text) == share


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("5", r"ambiguous: write \"5%\""),
        ("1", r"ambiguous: write \"1%\""),
        ("1.0", r"ambiguous: write \"1.0%\""),
        ("five", "write a percentage"),
        ("", "write a percentage"),
        ("5%%", "write a percentage"),
        ("5% now", "write a percentage"),
        ("nan", "write a percentage"),
        ("Infinity%", "write a percentage"),
        ("1e9999999%", "write a percentage"),
        ("101%", "between 0% and 100%"),
        ("-1%", "between 0% and 100%"),
        ("-0.1", "between 0% and 100%"),
    ],
)
def test_a_share_that_could_mean_two_things_or_nothing_is_refused(text, advice):
    with pytest.raises(InvalidInput, match=advice):
        parse_share(text)


@pytest.mark.parametrize("share", [-0.1, 1.1, 5, float("nan"), float("inf")])
def test_a_number_outside_the_unit_interval_is_no_share(share):
    with pytest.raises(InvalidInput, match="between 0% and 100%"):
        checked_share(share)


@given(st.floats(0, 1))
def test_buckets_are_the_share_to_one_bucket_and_never_none_of_some(share):
    buckets = buckets_of(share)

    assert abs(buckets - share * BUCKETS) <= 1
    assert (buckets > 0) == (share > 0)


@given(st.integers(1, 100))
def test_equal_shares_that_add_up_to_everything_fit(parts):
    assert parts * buckets_of(1 / parts) <= BUCKETS


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0%"),
        (0.05, "5%"),
        (1, "100%"),
        (1 / 3, "33.3333%"),
        (1e-10, "<0.0001%"),
        (1 - 1e-10, ">99.9999%"),
        (0.0001, "0.01%"),
    ],
)
def test_shares_read_as_people_write_them(share, text):
    assert share_text(share) == text
