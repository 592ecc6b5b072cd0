"""An HTTP server that plays an MLflow server as badly as a test wishes.

Enters: a world of models and files, and for some paths what to say instead. Leaves: replies, and a list of what was asked.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

REST = "/api/2.0/mlflow/"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
LOCATION = "mlflow-artifacts:/1/models/m-1/artifacts"
ROOT = "1/models/m-1/artifacts"


class Answer(NamedTuple):
    """A reply. `length` is what the head says where it is another than the body's; `pause` seconds lie between its bytes;
    `endless` repeats the body until nobody reads any more.
    """

    status: int = 200
    body: bytes = b""
    type: str = "application/json"
    headers: dict[str, str] = {}
    length: int | None = None
    pause: float = 0.0
    endless: bool = False


def said(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode())


def refused(status: int, code: str, message: str) -> Answer:
    return said({"error_code": code, "message": message}, status)


HTML = Answer(200, b"<html>Sign in</html>", "text/html; charset=utf-8")
MLMODEL = b"flavors: {onnx: {data: net.onnx}, python_function: {loader_module: mlflow.onnx}}\n"


class LyingServer:
    """`files` are those of version 1 of the model `m`; `instead` says what to answer on a path, by its end. `told` is what
    came in POSTs.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.version: dict[str, Any] = {
            "name": "m",
            "version": "1",
            "creation_timestamp": 1_700_000_000_123,
            "source": "models:/m-1",
            "run_id": "",
            "status": "READY",
        }
        self.model: dict[str, Any] = {"name": "m", "aliases": [{"alias": "champion", "version": "1"}]}
        self.location = LOCATION
        self.instead: dict[str, Answer | Callable[[dict[str, str]], Answer]] = {}
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append(head)
                target = urlsplit(head.split(" ")[1])
                query = {key: values[0] for key, values in parse_qs(target.query).items()}
                self.asked.append(unquote(target.path))
                if head.startswith("POST "):
                    (length,) = (
                        int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")
                    )
                    self.told.append(json.loads(await reader.readexactly(length)))
                await self._reply(writer, self._answer(unquote(target.path), query))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has left, or the test is over
        finally:
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        headers = {"content-type": answer.type, **answer.headers}
        if not answer.endless:
            headers["content-length"] = str(len(answer.body) if answer.length is None else answer.length)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} said\r\n{lines}\r\n".encode())
        if answer.pause:
            for byte in answer.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(answer.pause)
        writer.write(b"" if answer.pause else answer.body)
        await writer.drain()
        while answer.endless:
            writer.write(answer.body)
            await writer.drain()
        if answer.length is not None:
            raise OSError("the rest is never sent")

    def _answer(self, path: str, query: dict[str, str]) -> Answer:
        for end, answer in self.instead.items():
            if path.endswith(end):
                return answer(query) if callable(answer) else answer
        documents = {
            f"{REST}registered-models/search": {"registered_models": [{"name": self.model["name"]}]},
            f"{REST}registered-models/get": {"registered_model": self.model},
            f"{REST}model-versions/search": {"model_versions": [self.version]},
            f"{REST}model-versions/get": {"model_version": self.version},
            f"{REST}model-versions/set-tag": {},
            f"{REST}model-versions/get-download-uri": {"artifact_uri": self.location},
            ARTIFACTS: {"files": [{"path": name, "file_size": len(one)} for name, one in self.files.items()]},
        }
        if path in documents:
            return said(documents[path])
        content = self.files.get(path.removeprefix(f"{ARTIFACTS}/{ROOT}/"))
        if content is None:
            return refused(404, "RESOURCE_DOES_NOT_EXIST", "no such artifact")
        return Answer(200, content, "application/octet-stream")


def instead(path: str, answer: Answer) -> Callable[[LyingServer], None]:
    """A wish: whoever asks for `path` gets this."""

    def wish(server: LyingServer) -> None:
        server.instead[path] = answer

    return wish
