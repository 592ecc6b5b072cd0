"""A running MLflow server with models, whose aliases are set and versions deleted as a browser or a pipeline would."""

import json

import httpx

TASK = {"kind": "regression", "output": "y"}
REGISTERED = (
    {"do": "log", "name": "m", "factor": 1.0, "metadata": {"pointsman": {"task": TASK}}},
    {"do": "log", "name": "m", "factor": 2.0, "metadata": {"pointsman": {"task": TASK}}},
    {"do": "log", "name": "heavy", "kind": "heavy"},
    {"do": "log", "name": "mixed", "kind": "mixed"},
    {"do": "log", "name": "bare", "example": False, "signature": False},
    {"do": "log", "name": "files", "files": {"model.json": json.dumps({"owner": "risk"}), "more/notes.txt": "hello"}},
    {"do": "log_sklearn", "name": "sk"},
)


class Desk:
    """A running server with the models above; aliases are set and things are deleted as a browser or a pipeline would."""

    def __init__(self, server):
        self.server = server
        self.url = server.url
        server.register(*REGISTERED)

    def say(self, method, path, document):
        reply = httpx.request(method, f"{self.url}/api/2.0/mlflow/{path}", json=document, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def alias(self, model, alias, version):
        self.say("POST", "registered-models/alias", {"name": model, "alias": alias, "version": version})

    def unalias(self, model, alias):
        self.say("DELETE", "registered-models/alias", {"name": model, "alias": alias})

    def create(self, model):
        self.say("POST", "registered-models/create", {"name": model})

    def add(self, model, like):
        """A new version with the files of version `like` of `m`."""
        reply = httpx.get(f"{self.url}/api/2.0/mlflow/model-versions/get", params={"name": "m", "version": like})
        one = reply.json()["model_version"]
        logged = one["source"].startswith("models:/")
        of = {"model_id": one["source"].removeprefix("models:/")} if logged else {"run_id": one["run_id"]}
        self.say("POST", "model-versions/create", {"name": model, "source": one["source"], **of})

    def make(self, model, *likes):
        self.create(model)
        for like in likes:
            self.add(model, like)

    def delete(self, model, version=None):
        if version is None:
            self.say("DELETE", "registered-models/delete", {"name": model})
        else:
            self.say("DELETE", "model-versions/delete", {"name": model, "version": version})
