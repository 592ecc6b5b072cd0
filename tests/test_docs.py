"""The documentation is true: settings, metrics, commands and files are all in it, and its examples run."""

import doctest
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.settings import SETTINGS_MAX, KafkaOptions, Settings
from pointsman.main import app

HOUSE = Path(__file__).parent.parent
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").glob("*.md"))]
ROOMS = ("pointsman", "examples", "gateway", "monitor", "prediction_log", "registry_client", "contracts")


def test_every_setting_is_documented_with_its_default_and_there_are_not_too_many():
    text = (HOUSE / "docs" / "settings.md").read_text().partition("`kafka_options` is a table")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`([^`]*)`|\(empty\)) \|", text, re.MULTILINE)
    shown = {"True": "true", "False": "false"}
    defaults = {}
    for name in Settings.__struct_fields__:
        value = getattr(Settings(), name)
        if isinstance(value, KafkaOptions):
            defaults[name] = "{}"
            continue
        text = f"{value:g}" if isinstance(value, float) and value == int(value) and value < 1e6 else str(value)
        defaults[name] = shown.get(text, text)

    assert dict(rows) == defaults
    assert len(defaults) <= SETTINGS_MAX


def test_every_metric_is_documented_and_every_documented_metric_exists():
    said = set(re.findall(r"`(pointsman_\w+)`", (HOUSE / "docs" / "metrics.md").read_text()))
    sources = [HOUSE / "gateway" / "exposition.py", HOUSE / "monitor" / "pages" / "metrics.py"]
    made = {name for path in sources for name in re.findall(r'"(pointsman_\w+)"', path.read_text())}

    assert {name.removesuffix("_total") for name in said} == {name.removesuffix("_total") for name in made}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_exists(page):
    runner = CliRunner()
    shown = re.findall(r"^\$? ?pointsman ((?:[a-z]+ ?)+)|`pointsman ((?:[a-z]+ ?)+)", page.read_text(), re.MULTILINE)

    for words in {(first or second).strip() for first, second in shown}:
        command = words.split()
        while command and runner.invoke(app, [*command, "--help"]).exit_code != 0:
            command.pop()
        assert command, f"{page.name} shows `pointsman {words}`, which is no command"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_pages_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_file_map_is_what_the_files_say():
    spec = importlib.util.spec_from_file_location("filemap", HOUSE / "docs" / "filemap.py")
    filemap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(filemap)

    assert (HOUSE / "docs" / "files.md").read_text() == filemap.page(), "run `make docs`"


def test_the_examples_in_docstrings_run():
    examples = 0
    for room in ROOMS:
        for path in sorted((HOUSE / room).rglob("*.py")):
            if ">>>" in path.read_text():
                module = importlib.import_module(".".join(path.relative_to(HOUSE).with_suffix("").parts))
                result = doctest.testmod(module)
                assert result.failed == 0, path
                examples += result.attempted

    assert examples > 0
