"""What a team says of a version beside its graph: the content of `model.json`. Everything is optional."""

from contracts.task import Slice, Task
from contracts.wire import Contract


class InputMetadata(Contract, frozen=True, kw_only=True):
    """What the graph cannot say of one input. `features` names the columns of a [n, k] tensor. `nullable` lets JSON null
    in: it reaches the model as NaN (floating point) or as `null_value` (strings), and the record says null.
    """

    name: str
    features: tuple[str, ...] = ()
    nullable: bool = False
    null_value: str | None = None


class ModelMetadata(Contract, frozen=True, kw_only=True):
    """`tags` hold facts such as the git commit and the data version; `metrics` those of training and validation."""

    description: str = ""
    owner: str = ""
    inputs: tuple[InputMetadata, ...] = ()
    task: Task | None = None
    slices: tuple[Slice, ...] = ()
    tags: dict[str, str] = {}
    metrics: dict[str, float] = {}
