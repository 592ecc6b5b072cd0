"""`pointsman reference build MODEL VERSION DATA`: makes the frozen reference of a version from training or validation data.

Enters: a version of the registry folder, a CSV or Parquet file. Leaves: `reference.json` in the version's folder, a summary
on the terminal. Never computes: `reference_making` does, loaded when asked for, because it takes long to import.
"""

from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidSettings
from pointsman.configuration import load_settings
from registry_client.choice import is_url

reference_app = typer.Typer(no_args_is_help=True, help="The frozen baseline that a version is measured against.")


@reference_app.callback()
def _group() -> None:
    """The frozen baseline that a version is measured against."""


@reference_app.command()
def build(
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    version: Annotated[str, typer.Argument(help="A registered version.", show_default=False)],
    data: Annotated[Path, typer.Argument(help="CSV or Parquet.", exists=True, dir_okay=False, show_default=False)],
    *,
    registry: Annotated[str | None, typer.Option(help="The registry folder; by default the setting.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of the truth.")] = None,
    score: Annotated[str | None, typer.Option(help="A column of scores, instead of running the model.")] = None,
    slice_: Annotated[list[str] | None, typer.Option("--slice", help="A feature to slice by; may be repeated.")] = None,
    categorical: Annotated[
        list[str] | None, typer.Option(help="A feature of categories, whatever it looks like; may be repeated.")
    ] = None,
) -> None:
    """Build reference.json of a version from training or validation data.

    The model runs over the data, as it would over traffic; the columns bear the names of its features.
    """
    from pointsman.reference_making import Wanted, make_reference  # noqa: PLC0415  scipy and ONNX Runtime, for this alone

    root = _folder(registry or load_settings(None).registry)
    path, said = make_reference(root, model, version, data, Wanted(label, score, slice_ or (), categorical or ()))
    typer.echo(f"{path}\n{said}")


def _folder(registry: str) -> Path:
    if is_url(registry):
        raise InvalidSettings(
            f"registry = {registry}: a reference is written into a registry folder; put the version's files into one, "
            "name it with --registry, and log the reference.json that is made beside the model"
        )
    return Path(registry)
