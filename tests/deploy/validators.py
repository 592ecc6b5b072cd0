"""Runs the validators that others wrote, as a person would run them; one that is missing is a failure that says what to do."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

HOUSE = Path(__file__).parent.parent.parent
DEPLOY = HOUSE / "deploy"


def run(command: str, *arguments: object) -> str:
    """What a validator that is content says. It must end with 0."""
    beside = Path(sys.executable).parent / command
    found = str(beside) if beside.exists() else shutil.which(command)
    if found is None:
        pytest.fail(f"{command} is not installed: pip install {command}, or let `make test` do it", pytrace=False)
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, cwd=HOUSE, timeout=120)
    assert done.returncode == 0, f"{command} {arguments}:\n{done.stdout}{done.stderr}"
    return done.stdout


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text()))
