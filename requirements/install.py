"""Installs locked requirements into an environment: with uv where it can be had, in a tenth of the time, else with pip.

Run as `python requirements/install.py PYTHON FILE...`. Enters: the Python of the environment, which needs no pip, and lock
files. Leaves: what they name, installed, and uv beside the running Python. Either way each file is checked by the hash in
its lock and comes from where pip is told to look; no address stands here.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

UV_LOCK: Final = Path(__file__).parent / "uv.txt"
UV: Final = Path(sys.executable).parent / "uv"
SECTIONS: Final = ("global", "install", ":env:")
"""Where a setting of pip's may stand; the later counts."""
VALUES: Final = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
LISTS: Final = {
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
}
"""Names of pip's and of uv's for the same, and what parts the entries of a list."""
YES: Final = {"1", "true", "yes", "on"}


def main() -> None:
    """Install what the arguments name; ends with the exit code of who installed."""
    python, *files = sys.argv[1:]
    locks = ["--quiet", "--require-hashes", *(word for file in files for word in ("-r", file))]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if not UV.exists():
        subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", str(UV_LOCK)], check=False)
    if UV.exists():
        listed = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=True).stdout
        command = [str(UV), "pip", "install", "--python", python, *locks]
        if not subprocess.run(command, env=settings_for_uv(listed) | os.environ, check=False).returncode:
            return
    print("uv did not install it; pip does, and takes a minute or two longer", file=sys.stderr)
    sys.exit(subprocess.run([*pip, "--python", python, "install", *locks], check=False).returncode)


def settings_for_uv(listed: str) -> dict[str, str]:
    """What `pip config list` printed, as variables for uv, which reads neither pip's files nor pip's variables."""
    sections: dict[str, dict[str, str]] = {section: {} for section in SECTIONS}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in sections:
            sections[section][key] = str(ast.literal_eval(value))
    told = {key: value for section in SECTIONS for key, value in sections[section].items() if value}
    found = {"UV_SYSTEM_CERTS": "true"}
    found |= {variable: told[key] for key, variable in VALUES.items() if key in told}
    found |= {variable: mark.join(told[key].split()) for key, (variable, mark) in LISTS.items() if key in told}
    if "UV_INDEX" in found:
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip has it: indexes are equals, and the hash decides
    if told.get("no-index", "").lower() in YES:
        found["UV_NO_INDEX"] = "true"
    for key in ("default-timeout", "timeout"):
        if key in told:
            found["UV_HTTP_TIMEOUT"] = str(int(float(told[key])))
    return found


if __name__ == "__main__":
    main()
