"""Dependencies install with uv or with pip, from where pip is told to look, and never without their hash."""

import base64
import importlib.util
import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pip
import pytest

HOUSE = Path(__file__).parent.parent
INSTALL = HOUSE / "requirements" / "install.py"


@pytest.fixture(scope="module")
def settings_for_uv():
    spec = importlib.util.spec_from_file_location("install", INSTALL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.settings_for_uv


@pytest.fixture
def wheels(tmp_path):
    """A folder with one wheel, `tiny`, which no index has; and its hash."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    files = {
        "tiny.py": b"SAID = 'here'\n",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(sha256(text).digest()).rstrip(b"=").decode() for name, text in files.items()
    }
    lines = [f"{name},sha256={digests[name]},{len(text)}\n" for name, text in files.items()]
    files["tiny-1.0.dist-info/RECORD"] = "".join([*lines, "tiny-1.0.dist-info/RECORD,,\n"]).encode()
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return folder, sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture(params=["beside uv", "without uv"])
def run(request, tmp_path, wheels):
    """Installs from the folder alone into a new environment; `run(lock)` says how it ended and what stands there."""
    ours = sys.executable
    if request.param == "without uv":  # nor can it be had: the folder has none
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "ours"], check=True)
        ours = tmp_path / "ours" / "bin" / "python"
        [packages] = (tmp_path / "ours" / "lib").glob("python*/site-packages")
        (packages / "lent.pth").write_text(str(Path(pip.__file__).parents[1]))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "new"], check=True)
    there = tmp_path / "new" / "bin" / "python"

    def run(lock):
        (tmp_path / "lock.txt").write_text(lock)
        settings = tmp_path / "pip.conf"
        settings.write_text(f"[install]\nno-index = yes\nfind-links = {wheels[0]}\n")
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        done = subprocess.run(
            [ours, INSTALL, there, tmp_path / "lock.txt"],
            env=mine | {"PIP_CONFIG_FILE": str(settings)},
            capture_output=True,
            text=True,
        )
        asked = subprocess.run([there, "-c", "import tiny; print(tiny.SAID)"], capture_output=True, text=True)
        return done, asked.stdout.strip()

    return run


def test_what_a_lock_names_is_installed_from_where_pip_is_told_to_look(run, wheels):
    done, said = run(f"tiny==1.0 --hash=sha256:{wheels[1]}\n")
    assert (done.returncode, said) == (0, "here"), done.stderr


@pytest.mark.parametrize("how", [" --hash=sha256:" + "0" * 64, ""], ids=["another hash", "no hash"])
def test_a_file_that_is_not_what_its_lock_says_is_not_installed(run, how):
    done, said = run(f"tiny==1.0{how}\n")
    assert done.returncode != 0
    assert said == ""
    assert "hash" in done.stderr.lower()


def test_uv_looks_where_pip_does(settings_for_uv):
    index, more = "index-url", "extra-index-url"
    told = [
        (":env:", "timeout", "60"),
        ("global", "cert", "ca.pem"),
        ("global", more, "two\nthree"),
        ("global", index, "one"),
        ("global", "timeout", "15.0"),
        ("install", "find-links", "a b"),
        ("install", index, "installing"),
        ("download", index, "never"),
    ]
    said = settings_for_uv("".join(f"{section}.{name}={value!r}\n" for section, name, value in told))
    assert said == {
        "UV_SYSTEM_CERTS": "true",
        "UV_DEFAULT_INDEX": "installing",
        "UV_INDEX": "two three",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "a,b",
        "UV_HTTP_TIMEOUT": "60",
        "SSL_CERT_FILE": "ca.pem",
    }


def test_an_index_that_pip_may_not_ask_is_not_asked_by_uv(settings_for_uv):
    assert settings_for_uv("global.no-index='true'\n")["UV_NO_INDEX"] == "true"
    assert "UV_NO_INDEX" not in settings_for_uv("global.no-index='true'\n:env:.no-index='0'\n")
