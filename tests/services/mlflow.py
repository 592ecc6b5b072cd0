"""A real MLflow server for tests and development, of either major release, on a free port of 127.0.0.1.

Enters: a directory and a release. Leaves: a running server, and none afterwards. Each release lives in an environment of its
own in the user's cache, made on first use from its lock: neither server nor client of MLflow ever enters ours.
`python -m tests.services.mlflow` starts the newest one and prints its address.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from hashlib import sha256
from pathlib import Path

from tests.services.ports import free_ports
from tests.services.process import ServerProcess

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
RELEASES = ("2.22.5", "3.17.2")
"""Releases of MLflow; `requirements/mlflow-*.in` says what goes with each to log ONNX models."""
START_SECONDS = 120.0
REGISTERING = Path(__file__).parent / "mlflow_registering.py"


def environment(release: str) -> Path:
    """The directory of a release's environment, made where it is not there yet, or is of another lock."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pointsman-tests"
    cache.mkdir(parents=True, exist_ok=True)
    found = cache / f"mlflow-{release}"
    lock = REQUIREMENTS / f"mlflow-{release}.txt"
    complete, digest = found / "complete", sha256(lock.read_bytes()).hexdigest()
    with (cache / f"mlflow-{release}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not complete.exists() or complete.read_text() != digest:
            shutil.rmtree(found, ignore_errors=True)
            _make(found, lock)
            complete.write_text(digest)
    return found


def _make(found: Path, lock: Path) -> None:
    steps = [
        [sys.executable, "-m", "venv", "--without-pip", str(found)],
        [sys.executable, str(REQUIREMENTS / "install.py"), str(found / "bin" / "python"), str(lock)],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the tests need what {lock.name} names and could not install it: {done.stderr[-2000:]}")


class MlflowServer(ServerProcess):
    """One server. It keeps its port and its data over `stop`, `kill` and `start`."""

    def __init__(
        self,
        directory: Path,
        release: str,
        *,
        proxied: bool = True,
        password: str | None = None,
        local_webhooks: bool = False,
    ) -> None:
        self.release = release
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.password = password
        self._directory = directory
        self._proxied = proxied
        self._local_webhooks = local_webhooks
        self._home = environment(release)

    def start(self) -> None:
        """Start, and return when it answers."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(),
                stdout=log,
                stderr=log,
                cwd=self._directory,
                env=self._environment(),
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                said = (self._directory / "mlflow.log").read_text()[-2000:]
                raise RuntimeError(f"MLflow {self.release} does not answer on port {self.port}: {said}")
            time.sleep(0.2)

    def register(self, *steps: dict[str, object]) -> list[dict[str, object]]:
        """Let MLflow's own client do these steps, one after the other; what each says. See `mlflow_registering`."""
        done = subprocess.run(
            [str(self._home / "bin" / "python"), "-P", str(REGISTERING), json.dumps(steps)],
            env=self._environment() | {"MLFLOW_TRACKING_URI": self.url},
            cwd=self._directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"MLflow {self.release} did not take {steps}: {done.stderr[-3000:]}")
        said: list[dict[str, object]] = json.loads(done.stdout.rpartition("\n@@@")[2])
        return said

    def _end(self, number: signal.Signals) -> None:
        """Its workers are children of their own: they go with it."""
        process = self.process
        super()._end(number)
        if process is not None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _command(self) -> list[str]:
        artifacts = self._directory / "artifacts"
        serving = (
            ["--serve-artifacts", "--artifacts-destination", str(artifacts)]
            if self._proxied
            else ["--no-serve-artifacts", "--default-artifact-root", str(artifacts)]
        )
        command = [str(self._home / "bin" / "python"), "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", *serving]
        command += ["--backend-store-uri", f"sqlite:///{self._directory / 'mlflow.sqlite'}"]
        return [*command, "--app-name", "basic-auth"] if self.password else command

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
        path = f"{self._home / 'bin'}{os.pathsep}{kept.get('PATH', '')}"
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}
        quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        if self._local_webhooks:
            quiet |= {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
        if not self.password:
            return kept | quiet | {"PATH": path}
        settings = self._directory / "basic_auth.ini"
        settings.write_text(
            "[mlflow]\ndefault_permission = READ\n"
            f"database_uri = sqlite:///{self._directory / 'auth.sqlite'}\n"
            f"admin_username = admin\nadmin_password = {self.password}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        access = {"MLFLOW_AUTH_CONFIG_PATH": str(settings), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests-only"}
        access |= {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": self.password}
        return kept | quiet | access | {"PATH": path}

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.HTTPError as error:
            return error.code == 401
        except OSError:
            return False


def main() -> None:
    """One server until Ctrl-C."""
    with tempfile.TemporaryDirectory() as directory:
        one = MlflowServer(Path(directory), max(RELEASES, key=lambda text: [int(part) for part in text.split(".")]))
        one.start()
        print(one.url, flush=True)
        try:
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            one.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
