"""The page of a card: everything is on it, it needs nothing from elsewhere, and no text of a user becomes markup."""

from html import unescape
from html.parser import HTMLParser

from msgspec.structs import replace

from contracts.plan import VersionRef
from gateway.cards.assembly import Unknown, card_of, with_live
from gateway.cards.page import page
from tests.gateway.cards.made import DAY_US, TWO, changes, files, gate, parts, plan, row, verdict

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "span", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Reader(HTMLParser):
    """Which elements and attributes a browser would see, and the texts."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.open = set(), set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def made(rows=(), **changed):
    return with_live(card_of(parts(**changed), 5 * DAY_US, "0.1.0"), rows)


def test_everything_of_the_card_is_on_the_page():
    text = " ".join(read(page(made([row()]))).texts)

    for word in (
        *("churn version 2", "d2", "2 of 12,345 bytes together", "challenger", "1970-01-02T00:00:00Z"),
        *("who will leave", "team retention", "monthly letters", "not for business customers"),
        *(
            "binary, read from output p, classes stays, leaves, positive is leaves from 0.4",
            "run-7",
            "abc123",
            "2026-01",
        ),
        *("depth", "6", "approved_by", "grace", "0.8125", "[any, 2]", "age, plan", "FP32"),
        *("9,000", "8,000, of them 400 positive", "0.8100", "land=DE", "0.7900", "not recorded", "h" * 64),
        *("revision 3", "canary-2 (canary), 5%", "canary-2 (canary), 1%", "because", "worker-0"),
        *(
            "01890000-0000-7000-8000-000000000001",
            "b" * 12,
            "a" * 12,
            "1 (d1)",
            "inconclusive",
            "0.7500",
            "0.7400 to 0.7600",
            "1,234",
        ),
    ):
        assert word in text, word
    assert "not known" not in text


def test_gaps_are_on_the_page():
    text = " ".join(read(page(made(Unknown("the monitor does not answer at http://m:8004"), reference=None))).texts)

    assert "not known: the monitor does not answer at http://m:8004" in text
    assert "not known: no reference was built" in text


def test_what_nobody_said_is_called_so():
    empty = dict.fromkeys(
        ("description", "owner", "intended_use", "limits", "run_id", "git_commit", "data_version"), ""
    )
    text = page(made(files=files(**empty, task=None)))
    assert text.count("not said") == len(empty) + 2, "the slices were not said either"


def test_a_card_of_almost_nothing_is_a_page():
    away = Unknown("away")
    sources = ("files", "signature", "reference", "aliases", "plan", "changes", "gates", "verdicts", "workers")
    text = " ".join(read(page(made(away, **dict.fromkeys(sources, away)))).texts)
    assert text.count("not known: away") == len(sources) + 1


def test_no_text_of_a_user_becomes_markup():
    evil = dict.fromkeys(("description", "owner", "intended_use", "limits", "run_id", "git_commit"), EVIL)
    found = made(
        [row(EVIL, feature=EVIL, status="alarm", variant=EVIL)],
        files=files(**evil, data_version=EVIL, tags={EVIL: EVIL}, params={EVIL: EVIL}, metrics={EVIL: 1.0}),
        aliases={EVIL: "2"},
        changes=changes(plan(1), plan(2, champion=TWO), reason=EVIL),
        gates=[replace(gate(), who=EVIL, baseline=VersionRef(version=EVIL, digest=EVIL))],
        verdicts=(replace(verdict(), guard=EVIL, variant=EVIL),),
        signature=Unknown(EVIL),
    )
    text = page(replace(found, model=EVIL, made_us=0))
    reader = read(text)

    assert "<script" not in text
    assert reader.tags <= TAGS
    assert reader.attributes <= {"charset", "name", "content", "http-equiv", "lang", "class"}
    assert sum(EVIL in said for said in reader.texts) >= 18
    assert EVIL in unescape(text)


def test_the_page_asks_nobody_for_anything():
    text = page(made([row()]))
    assert "default-src 'none'" in text
    for word in ("src=", "href=", "url(", "@import", "<link"):
        assert word not in text
