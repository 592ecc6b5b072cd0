"""The peers: what each is called, how it is asked, and how it batches. The scripts in `servers/` hold the rest.

Enters: nothing. Leaves: the list, in the order of the tables. It never installs or starts anything.
"""

from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.closed_loop import ROW, Ask

HERE: Final = Path(__file__).parent


class Peer(NamedTuple):
    """A server of somebody else's. `distribution` is its name as a package; `ready` answers 200 when it can be asked."""

    name: str
    key: str
    distribution: str
    ready: str
    ask: Ask
    batching: str

    @property
    def requirements(self) -> Path:
        """What its environment needs."""
        return HERE / "requirements" / f"{self.key}.txt"

    @property
    def script(self) -> Path:
        """What serves the model with it."""
        return HERE / "servers" / f"serve_{self.key}.py"


V2: Final = Ask()
PEERS: Final = (
    Peer("mosec", "mosec", "mosec", "/", Ask("/inference", V2.body), "64 rows, 1 ms"),
    Peer("PyTriton", "pytriton", "nvidia-pytriton", "/v2/models/m/ready", V2, "64 rows, 1 ms"),
    Peer("MLServer", "mlserver", "mlserver", "/v2/models/m/ready", V2, "64 rows, 1 ms"),
    Peer("KServe", "kserve", "kserve", "/v2/models/m/ready", V2, "none of its own"),
    Peer("LitServe", "litserve", "litserve", "/health", Ask("/predict", V2.body), "64 rows, 1 ms"),
    Peer("BentoML", "bentoml", "bentoml", "/readyz", Ask("/infer", f'{{"x": [[{ROW}]]}}'), "adaptive, 64 rows"),
    Peer("Ray Serve", "ray", "ray", "/-/healthz", Ask("/", V2.body), "64 rows, 1 ms"),
)


def peers_named(keys: list[str]) -> list[Peer]:
    """Those of the list with these keys, in its order."""
    unknown = set(keys) - {peer.key for peer in PEERS}
    if unknown:
        raise ValueError(f"no peer is called {sorted(unknown)}; there are {[peer.key for peer in PEERS]}")
    return [peer for peer in PEERS if peer.key in keys]
