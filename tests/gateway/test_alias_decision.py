"""What a move of the alias champion asks for, as a table; and what becomes of the book."""

import pytest
from msgspec.structs import replace

from contracts.plan import CHAMPION, VersionRef
from contracts.promotion import ALIASES_MAX, MOVES_MAX, PROMOTIONS_MAX, AliasBook, AliasMove, AliasTarget, Promotion
from gateway.traffic.alias_decision import Facts, decide, moved, settled

ONE, TWO = VersionRef(version="1", digest="d1"), VersionRef(version="2", digest="d2")
TO_TWO = AliasTarget(version="2", digest="d2")
TEMPLATE = AliasMove(
    alias_move="", model="m", alias="", before=None, after=None, first_seen_us=5, seen_by="w", policy=None, revision=3
)
NO_GATE = "version '2' has no passing gate"


@pytest.mark.parametrize(
    ("policy", "by_hand", "challenged", "ungated", "wish"),
    [
        (None, False, False, "", "shift"),
        (None, True, False, "", "leave"),
        (None, False, True, "", "leave"),
        (None, False, False, NO_GATE, "request"),
        (None, True, False, NO_GATE, "leave"),
        ("follow", False, False, "", "shift"),
        ("follow", True, False, "", "shift"),
        ("follow", True, True, "", "shift"),
        ("follow", True, True, NO_GATE, "request"),
        ("request", False, False, "", "request"),
        ("request", True, True, NO_GATE, "request"),
        ("ignore", False, False, "", "leave"),
        ("ignore", True, True, NO_GATE, "leave"),
    ],
)
def test_what_a_move_to_another_version_asks_for(policy, by_hand, challenged, ungated, wish):
    decision = decide(Facts(policy, ONE, TO_TWO, by_hand, challenged, ungated))

    assert (decision.wish, decision.waiting) == (wish, "superseded")
    assert decision.why.startswith("the alias champion moved to version 2")
    if wish == "request" and ungated and policy != "request":
        assert NO_GATE in decision.why


@pytest.mark.parametrize("policy", [None, "follow", "request", "ignore"])
@pytest.mark.parametrize(
    "target", [None, AliasTarget(version="1", digest="d1"), AliasTarget(version="1")], ids=["deleted", "back", "unread"]
)
def test_a_deleted_alias_or_one_at_the_champion_asks_for_nothing_and_withdraws(policy, target):
    decision = decide(Facts(policy, ONE, target))

    assert (decision.wish, decision.waiting) == ("leave", "withdrawn")


def test_other_bytes_under_the_champion_s_number_are_another_version():
    assert decide(Facts("follow", ONE, AliasTarget(version="1", digest="other"))).wish == "shift"


def test_a_look_tells_what_was_set_moved_and_deleted_and_nothing_else():
    one = AliasTarget(version="1")
    book = AliasBook(model="m", number=4, aliases={"champion": one, "old": one, "same": one})

    after, moves = moved(book, {"champion": TO_TWO, "new": TO_TWO, "same": one}, TEMPLATE)

    assert [(move.alias, move.before, move.after) for move in moves] == [
        ("champion", one, TO_TWO),
        ("new", None, TO_TWO),
        ("old", one, None),
    ]
    assert len({move.alias_move for move in moves}) == 3
    assert after.number == 5
    assert after.unsettled == moves[0]
    assert after.says({"champion": "2", "new": "2", "same": "1"})
    assert set(after.moves) == set(moves)


def test_a_move_of_another_alias_leaves_the_unsettled_one_of_the_champion():
    waiting = replace(TEMPLATE, alias=CHAMPION, after=TO_TWO)
    book = AliasBook(model="m", aliases={"champion": TO_TWO}, unsettled=waiting)

    after, _ = moved(book, {"champion": TO_TWO, "new": TO_TWO}, TEMPLATE)

    assert after.unsettled == waiting


def test_the_book_is_bounded_and_the_champion_is_always_watched():
    many = {f"a{number:04}": TO_TWO for number in range(ALIASES_MAX + 50)} | {CHAMPION: TO_TWO}
    book = AliasBook(model="m")

    book, moves = moved(book, many, TEMPLATE)
    assert len(book.aliases) == len(moves) == ALIASES_MAX
    assert CHAMPION in book.aliases
    assert book.says(dict.fromkeys(many, "2"))
    assert len(book.moves) == MOVES_MAX
    for number in range(PROMOTIONS_MAX + 5):
        book, _ = settled(book, decide(Facts("request", ONE, TO_TWO)), promotion(str(number)), 9)
    assert len(book.promotions) == PROMOTIONS_MAX
    assert [one.promotion_id for one in book.promotions if one.state == "pending"] == [str(PROMOTIONS_MAX + 4)]


def promotion(promotion_id="p"):
    return Promotion(
        promotion_id=promotion_id, model="m", candidate=TWO, champion=ONE, why="because", requested_us=1, seen_by="w"
    )


@pytest.mark.parametrize(
    ("policy", "target", "state"),
    [
        ("request", AliasTarget(version="3"), "superseded"),
        ("ignore", AliasTarget(version="3"), "superseded"),
        ("request", AliasTarget(version="1"), "withdrawn"),
        ("request", None, "withdrawn"),
    ],
)
def test_what_becomes_of_a_promotion_that_waited(policy, target, state):
    book = AliasBook(model="m", number=1, promotions=(promotion(),), unsettled=TEMPLATE)

    after, changed = settled(book, decide(Facts(policy, ONE, target)), None, 9)

    assert [(one.state, one.decided_us) for one in after.promotions] == [(state, 9)]
    assert changed == after.promotions
    assert (after.unsettled, after.pending, after.number) == (None, None, 2)
