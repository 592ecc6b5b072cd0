"""ONNX sessions: loaded from the private copy of a version, tried with its own example, warm before they answer.

Enters: a fetched version. Leaves: a session that runs arrays, or ModelRejected with the reason. The graph is loaded by
path, never from bytes: onnxruntime would look for the external data of bytes in the working directory. No custom
operators, no settings out of the model, no telemetry. Whether the files are safe to look at, `registry_client` has checked.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import onnxruntime

from contracts.errors import DeadlineExceeded, ModelFailed, ModelRejected
from contracts.metadata import ModelMetadata
from contracts.signature import Signature
from gateway.models.graph_signature import GraphTensor, batch_max_of, signature_of
from gateway.models.input_example import read_example, zeros
from gateway.models.inputs import Array
from gateway.models.intake import intake_of
from gateway.models.trial import Run, Trial, try_out
from gateway.models.zipmap import MAPS, RunPlainly, Scores, as_tensors, scores_of, unmapped
from registry_client.registry import FetchedVersion
from registry_client.vetting import EXAMPLE, GRAPH

TRIAL_ROWS: Final = 32
REASON_CHARS_MAX: Final = 300
FATAL_ONLY: Final = 4
"""onnxruntime's log level: what it would write to stderr comes as an error anyway, and may hold values of requests."""


class Stop:
    """Ends a run from another thread at its next node; one for each run."""

    def __init__(self) -> None:
        self.options = onnxruntime.RunOptions()

    def set(self) -> None:
        """End the run; it raises DeadlineExceeded."""
        self.options.terminate = True


class Session:
    """One loaded version. `batch_max` is the most rows a run may have, None if any number. `run_us` is the median time of
    a run of one row when it was loaded, `row_us` what each further row of a batch adds; microseconds.
    """

    def __init__(self, fetched: FetchedVersion, run: RunPlainly, trial: Trial) -> None:
        self.fetched = fetched
        self.signature = trial.signature
        self.batch_max = batch_max_of(trial.signature)
        self.run_us = trial.run_us
        self.row_us = trial.row_us
        self._run = run
        self._unstopped = onnxruntime.RunOptions()  # one for all: onnxruntime makes its own for each run that has none
        self._outputs = [spec.name for spec in trial.signature.outputs]
        self._label = f"version {fetched.version} of {fetched.model!r}"

    def run(self, feeds: Mapping[str, Array], stop: Stop | None = None) -> list[Array]:
        """The outputs in the signature's order. Blocks; the GIL is released meanwhile.

        Raises ModelFailed where onnxruntime fails, DeadlineExceeded where `stop` was set.
        """
        try:
            outputs: list[Array] = self._run(self._outputs, feeds, self._unstopped if stop is None else stop.options)
        except Exception as error:  # onnxruntime's errors share no other base
            if stop is not None and stop.options.terminate:
                raise DeadlineExceeded(f"{self._label}: the run was stopped") from error
            raise ModelFailed(f"{self._label}: {reason_of(error)}") from error
        return outputs


class Loaded(NamedTuple):
    """What loading makes, before it knows by what name it is served."""

    run: RunPlainly
    trial: Trial


async def load_session(
    fetched: FetchedVersion,
    *,
    threads: int = 1,
    rows: int = TRIAL_ROWS,
    clock: Callable[[], int] = time.perf_counter_ns,
    seconds_max: float | None = None,
) -> Session:
    """Load, try and warm a version in a thread of its own; ModelRejected says why it cannot be served.

    Args:
        fetched: the version.
        threads: threads of one run; with 1 it runs in the thread that calls it.
        rows: the batch that is tried and warmed beside single rows.
        clock: nanoseconds that never go back, to measure `run_us`.
        seconds_max: after so long its trial is ended, so that a graph that never ends holds nobody up; None: never.
    """
    stop = Stop()
    timer = None if seconds_max is None else asyncio.get_running_loop().call_later(seconds_max, stop.set)
    try:
        loaded = await asyncio.to_thread(
            load, fetched.path, fetched.metadata, threads=threads, rows=rows, clock=clock, stop=stop
        )
    except ModelRejected as error:
        late = f"loading and trying it took longer than {seconds_max:g} seconds" if stop.options.terminate else error
        raise ModelRejected(f"{fetched.model} version {fetched.version}: {late}") from None
    finally:
        if timer is not None:
            timer.cancel()
        stop.set()  # or a trial that nobody waits for any more, as at the end of a worker, would go on
    return Session(fetched, loaded.run, loaded.trial)


def load(
    path: Path,
    metadata: ModelMetadata,
    *,
    threads: int,
    rows: int,
    clock: Callable[[], int],
    stop: Stop | None = None,
) -> Loaded:
    """The blocking part of `load_session`. Without an `input_example.json` the trial is one row of zeros, whose answer
    may be NaN but must have the declared shape: a version that never ran anywhere gets no traffic. Once `stop` is set each
    run fails.
    """
    options = None if stop is None else stop.options
    runtime = _open(path / GRAPH, threads)
    inputs, outputs = _tensors(runtime.get_inputs()), _tensors(runtime.get_outputs())
    plain: RunPlainly = runtime.run
    example = (path / EXAMPLE).read_bytes() if (path / EXAMPLE).exists() else None
    if any(tensor.type in MAPS for tensor in outputs):
        scores = _scores(plain, inputs, outputs, metadata, example, options)
        plain, outputs = unmapped(plain, scores), as_tensors(outputs, scores)
    signature = signature_of(inputs, outputs, metadata)
    intake_of(signature)
    run = _runner(plain, signature, options)
    if example is not None:
        feeds = read_example(example, signature)
        trial = try_out(run, signature, feeds, what=EXAMPLE, finite=True, rows=rows, clock=clock)
    else:
        try:
            trial = try_out(
                run, signature, zeros(signature), what="a row of zeros", finite=False, rows=rows, clock=clock
            )
        except ModelRejected as error:
            raise ModelRejected(f"{error} (there is no {EXAMPLE}: add one with a request that it can answer)") from None
    return Loaded(plain, trial)


def _scores(
    run: RunPlainly,
    inputs: Sequence[GraphTensor],
    outputs: Sequence[GraphTensor],
    metadata: ModelMetadata,
    example: bytes | None,
    options: onnxruntime.RunOptions | None,
) -> tuple[Scores, ...]:
    """The classes of outputs that are maps: only a run tells them."""
    asked = signature_of(inputs, [tensor for tensor in outputs if tensor.type not in MAPS], _without_task(metadata))
    intake_of(asked)
    feeds = zeros(asked) if example is None else read_example(example, asked)
    what = "a row of zeros" if example is None else EXAMPLE
    try:
        given = run([tensor.name for tensor in outputs], feeds, options)
    except Exception as error:
        raise ModelRejected(f"fails on {what}: {reason_of(error)}") from error
    return scores_of(outputs, given)


def _without_task(metadata: ModelMetadata) -> ModelMetadata:
    """The task is checked when all outputs are known."""
    return msgspec.structs.replace(metadata, task=None)


def reason_of(error: Exception) -> str:
    """What onnxruntime says, in one short line without paths and places in its source."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : ", "", text)
    text = re.sub(r"Load model from \S+ failed:", "", text)
    text = re.sub(r"\S*\.(?:cc|h):\d+ (?:[^()]*\(.*?\) )?", "", text)
    text = re.sub(r"(?<![\w)])/(?:[\w.+-]+/)*([\w.+-]+)", r"\1", text)
    return text[:REASON_CHARS_MAX] or type(error).__name__


def _open(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL_ONLY
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0, read_config_from_model=0
        )
    except Exception as error:
        raise ModelRejected(f"onnxruntime cannot load it: {reason_of(error)}") from error


def _runner(plain: RunPlainly, signature: Signature, options: onnxruntime.RunOptions | None) -> Run:
    names = [spec.name for spec in signature.outputs]

    def run(feeds: Mapping[str, Array]) -> list[Any]:
        try:
            outputs = plain(names, feeds, options)
        except Exception as error:
            raise ModelFailed(reason_of(error)) from error
        return outputs

    return run


def _tensors(arguments: list[Any]) -> list[GraphTensor]:
    return [GraphTensor(argument.name, argument.type, argument.shape) for argument in arguments]
