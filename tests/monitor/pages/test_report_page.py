"""The report: one self-contained page that says the same as the summaries and lets nobody else's text become markup."""

import asyncio
from html import escape, unescape
from html.parser import HTMLParser

import msgspec
import pytest

from contracts.errors import NotFound
from monitor.pages.question import Question
from monitor.pages.report import index, page
from monitor.pages.report_content import LogNote
from monitor.pages.report_words import figure
from monitor.pages.rows import find

VOID = {"meta", "br", "hr", "img", "input", "link"}


class Outline(HTMLParser):
    """Checks that every tag is closed in order; keeps tags, attributes, text and the cells of tables."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts, self.headings = [], set(), [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings.append(data)


@pytest.fixture
def content(answers, world):
    return answers.content(Question(model=world.MODEL))


@pytest.fixture
def html(content):
    return page(content)


@pytest.fixture
def outline(html):
    return Outline(html)


def test_the_page_is_well_formed_and_has_its_sections(outline):
    assert outline.open == []
    assert outline.headings == [
        "flight-delay",
        "Versions and variants",
        "Over time",
        "champion (version 1)",
        "canary-2 (version 2)",
        "shadow-3 (version 3)",
        "Slices: AUC",
        "Input quality",
        "Labels",
        "Prediction log",
        "How to read the statuses",
    ]


def test_the_page_needs_nothing_from_anywhere(outline, html):
    assert not outline.tags & {"script", "link", "img", "iframe", "object"}
    assert not [name for name, _ in outline.attributes if name.startswith("on") or name == "src"]
    assert [value for name, value in outline.attributes if name == "href" and "//" in value] == []
    assert "url(" not in html
    assert "@import" not in html


def test_a_hostile_feature_name_is_only_ever_text(html, world):
    assert world.HOSTILE not in html
    assert escape(world.HOSTILE) in html


def test_the_figures_are_those_of_the_summaries(html, answers):
    for row in answers.rows(Question(slice="", statistic="auc")):
        assert figure("auc", row.value) in html
        assert f"[{row.low:.3f}, {row.high:.3f}]" in html


def test_drift_that_was_put_in_is_the_first_thing_to_look_at(html):
    first = unescape(html.partition("What to look at first")[2].partition("</div>")[0])
    assert "champion (version 1): 3 alarms: PSI of distance" in first


def test_a_variant_shows_its_worst_features_first(content):
    assert [feature.name for feature in content.variants[0].features][:2] == ["distance", "origin"]


def test_shares_of_the_variants_add_up(content, world):
    assert sum(sheet.rows for sheet in content.variants) == world.DAYS * world.PER_DAY * 2
    assert sum(sheet.share for sheet in content.variants) == pytest.approx(1)


def test_a_series_has_one_line_a_variant_whose_points_add_up(content):
    lines = content.series["predictions"]
    assert [line.name for line in lines] == [sheet.name for sheet in content.variants]
    assert [sum(point.value for point in line.points if point.value) for line in lines] == [
        sheet.rows for sheet in content.variants
    ]


def test_every_status_is_explained_in_words(outline):
    said = " ".join(outline.texts)
    assert "too few observations to say anything: neither good nor bad news, and never a pass" in said


def test_a_period_without_predictions_is_not_a_page(answers, world):
    with pytest.raises(NotFound, match="in this period"):
        answers.content(Question(model=world.MODEL, from_us=world.NOW_US))


def test_a_damaged_log_is_told_at_the_top_and_a_torn_tail_is_not(content):
    damaged = content._replace(notes=[LogNote(True, "records 3 to 5 of <log>")])
    assert "log is not complete: records 3 to 5 of &lt;log&gt;" in page(damaged)
    torn = page(content._replace(notes=[LogNote(False, "torn tail in log ab")]))
    assert "log is not complete" not in torn
    assert "Nothing that was answered is missing" in torn


def test_labels_and_odd_inputs_are_told_in_words(content):
    told = page(
        content._replace(
            labels={("received", ""): 12, ("orphaned", ""): 3, ("invalid", "not_a_class"): 4},
            odd_inputs={("wrong_type", "temp<"): 7},
        )
    )
    assert "their prediction never came" in told
    assert "are no truth of the task (not_a_class)" in told
    assert "temp&lt;: of a type that its bins cannot take in 7 rows" in told


def test_the_index_links_models_by_quoted_names():
    html = index([("a/b & <c>", 3)])
    Outline(html)
    assert 'href="report?model=a%2Fb%20%26%20%3Cc%3E"' in html
    assert "a/b &amp; &lt;c&gt;" in html


def test_a_version_without_reference_and_task_still_has_a_page(tmp_path, world):
    asyncio.run(world.write_log(tmp_path / "spool", world.make_history(days=2)))
    world.count_log(tmp_path, {})
    answers = world.make_answers(tmp_path)
    html = page(answers.content(Question(model=world.MODEL)))
    answers.close()
    assert Outline(html).open == []
    assert "champion (version 1)" in html


def test_another_reference_later_leaves_the_totals_whole_and_is_told(tmp_path, world, references):
    spool = tmp_path / "spool"
    asyncio.run(world.write_log(spool, world.make_history(days=2)))
    world.count_log(tmp_path, {})
    asyncio.run(world.write_log(spool, world.make_history(days=3), "worker-1"))
    world.count_log(tmp_path, references)
    answers = world.make_answers(tmp_path)
    rows = answers.rows(Question(variant="champion", slice=""))
    content = answers.content(Question(model=world.MODEL))
    answers.close()
    champion = content.variants[0]
    assert find(rows, "predictions").value == champion.rows == 2 * 32 + 3 * 32
    assert find(rows, "label_coverage").n == champion.rows
    assert find(rows, "psi", "distance").n == 3 * 32
    assert champion.earlier == 2 * 32
    assert "were counted under an earlier reference" in page(content)


def test_rows_survive_json(answers):
    rows = answers.rows(Question(slice=""))
    assert msgspec.json.decode(msgspec.json.encode(rows), type=list[type(rows[0])]) == rows
