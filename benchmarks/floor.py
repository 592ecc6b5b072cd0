"""The floor: a bare ASGI app on uvicorn that parses a V2 request, runs the model, and replies. Nothing else.

No validation, no split, no record, no batching: what anybody would write first.
Run as `python -m benchmarks.floor MODEL PORT`.
"""

import sys
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import uvicorn


def floor_app(path: str) -> Any:
    """The app over one ONNX file with one [n, k] float input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    names = [output.name for output in session.get_outputs()]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = decode(body)
        feeds = {
            tensor["name"]: np.array(tensor["data"], np.float32).reshape(tensor["shape"])
            for tensor in request["inputs"]
        }
        arrays = session.run(None, feeds)
        outputs = [
            {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
            for name, array in zip(names, arrays, strict=True)
        ]
        reply = encode({"model_name": "m", "model_version": "1", "outputs": outputs})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    return app


if __name__ == "__main__":
    uvicorn.run(
        floor_app(sys.argv[1]),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
