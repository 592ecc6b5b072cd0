"""What a team says of a version beside its graph: the content of `model.json`. Everything is optional.

What is written for people is bounded, so that a card of it stays a page. A registry that has such things of its own, such as
the run that made the version, tells them in the same words.
"""

from typing import Annotated, Final

from msgspec import Meta

from contracts.task import Slice, Task
from contracts.wire import Contract

TEXT_CHARS_MAX: Final = 20_000
FACT_CHARS_MAX: Final = 1_000
PARAMS_MAX: Final = 1_000
PARAM_CHARS_MAX: Final = 6_000

Text = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Fact = Annotated[str, Meta(max_length=FACT_CHARS_MAX)]
Params = Annotated[dict[Fact, Annotated[str, Meta(max_length=PARAM_CHARS_MAX)]], Meta(max_length=PARAMS_MAX)]


class InputMetadata(Contract, frozen=True, kw_only=True):
    """What the graph cannot say of one input. `features` names the columns of a [n, k] tensor. `nullable` lets JSON null
    in: it reaches the model as NaN (floating point) or as `null_value` (strings), and the record says null.
    """

    name: str
    features: tuple[str, ...] = ()
    nullable: bool = False
    null_value: str | None = None


class ModelMetadata(Contract, frozen=True, kw_only=True):
    """`intended_use` says what the version is for, `limits` where it must not be used or is known to be weak. `run_id` is
    the training run that made it, `git_commit` of its code, `data_version` of its data, `params` what it was trained with,
    `metrics` the figures of training and validation. `tags` hold whatever else a team wants to know. Empty: not said.
    """

    description: str = ""
    owner: str = ""
    intended_use: Text = ""
    limits: Text = ""
    inputs: tuple[InputMetadata, ...] = ()
    task: Task | None = None
    slices: tuple[Slice, ...] = ()
    run_id: Fact = ""
    git_commit: Fact = ""
    data_version: Fact = ""
    params: Params = {}
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
