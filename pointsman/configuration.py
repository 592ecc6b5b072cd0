"""Settings from one TOML file, `POINTSMAN_*` variables and command options: the only place that reads the environment.

Enters: a file, an environment, and what the command line says. Leaves: one checked `Settings`; `InvalidSettings` names
the file or variable, the value and what is possible. A command option wins over a variable, a variable over the file,
the file over the default. Unknown names are errors. Never writes anything.
"""

import math
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import fields

from contracts.errors import InvalidSettings
from contracts.settings import Settings

PREFIX: Final = "POINTSMAN_"
FILE_VARIABLE: Final = "POINTSMAN_CONFIG"
DEFAULT_FILE: Final = Path("pointsman.toml")
FILE_BYTES_MAX: Final = 2**20

_NOT_SETTINGS: Final = re.compile(r"POINTSMAN_(CONFIG|ROLE_.*|TEST_.*)")
_SERVICE_LINK: Final = re.compile(r"POINTSMAN_.*(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_\d+_(TCP|UDP|SCTP)(_.+)?)?)")
"""What Kubernetes puts into every container's environment for a service named `pointsman` or `pointsman-...`."""
_LINK_VALUE: Final = re.compile(r"(tcp|udp|sctp)://.*")
_TYPES: Final = {field.name: field.type for field in fields(Settings)}


def load_settings(
    file: Path | None, options: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """The settings. `file` None means the one that POINTSMAN_CONFIG names, else `pointsman.toml` where there is one.

    `options` are what the command line says, by the settings' names; `environment` is the process's own by default.
    Raises `InvalidSettings`.
    """
    environment = os.environ if environment is None else environment
    chosen = _chosen_file(file, environment)
    values = {**_from_file(chosen), **_from_environment(environment), **(options or {})}
    return Settings(**values)


def _chosen_file(file: Path | None, environment: Mapping[str, str]) -> Path | None:
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    if file is None and DEFAULT_FILE.is_file():
        file = DEFAULT_FILE
    return file


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise InvalidSettings(f"{file} is larger than {FILE_BYTES_MAX} bytes: it is no file of settings")
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"settings file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"settings file {file} is not TOML: {error}") from None
    for name in table:
        if name not in _TYPES:
            raise InvalidSettings(f"{file}: unknown setting {name!r}; {_closest(name, _TYPES)}")
    return {name: _converted(value, name, f"{file}: {name} = {value!r}", strict=True) for name, value in table.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in environment.items():
        if not variable.startswith(PREFIX) or _NOT_SETTINGS.fullmatch(variable) or _LINK_VALUE.fullmatch(text):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in _TYPES and variable == variable.upper():
            values[name] = _converted(text, name, f"{variable}={text!r}", strict=False)
        elif not _SERVICE_LINK.fullmatch(variable):
            known = [f"{PREFIX}{known.upper()}" for known in _TYPES]
            raise InvalidSettings(f"unknown variable {variable}; {_closest(variable, known)}")
    return values


def _converted(value: Any, name: str, where: str, *, strict: bool) -> Any:
    kind = _TYPES[name]
    is_table = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    if is_table:
        where = where.partition("=")[0].strip()  # there may be a password in the value
    try:
        if is_table and isinstance(value, str):
            value = msgspec.json.decode(value)
        converted = msgspec.convert(value, kind, strict=strict, dec_hook=_path)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise InvalidSettings(f"{where}: {str(error)[:1].lower()}{str(error)[1:]}") from None
    if isinstance(converted, float) and not math.isfinite(converted):
        raise InvalidSettings(f"{where}: must be a finite number")
    return converted


def _path(kind: type, value: Any) -> Any:
    """The one type of a setting that TOML and JSON have no word for."""
    assert kind is Path, kind
    return Path(msgspec.convert(value, str, strict=True))


def _closest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"the settings are {', '.join(sorted(known))}"
