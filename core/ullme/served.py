"""Vectors from a server: the OpenAI protocol (vLLM, text-embeddings-inference, llama.cpp) or TEI's own."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from ullme.errors import AssetError

if TYPE_CHECKING:
    import numpy as np

Protocol = Literal["openai", "tei"]
_PATHS: dict[Protocol, str] = {"openai": "/v1/embeddings", "tei": "/embed"}


class Served:
    """A server's embedding endpoint. `url` is its root, or the endpoint itself."""

    def __init__(
        self, url: str, *, protocol: Protocol | None = None, model: str | None = None, key: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.key = key
        given = next((name for name in _PATHS if self.url.endswith(_PATHS[name].rpartition("/")[2])), None)
        self.protocol: Protocol | None = protocol or given
        self.endpoint = self.url if given else None
        self.model = model

    def vectors(self, inputs: Sequence[str], *, normalize: bool) -> np.ndarray:
        """[n, d]. `normalize` is asked of servers that have a choice. Raises AssetError if none can be had."""
        import numpy as np

        if self.protocol is None:
            self.protocol = self._found()
        endpoint = self.endpoint or self.url + _PATHS[self.protocol]
        if self.protocol == "tei":
            rows = self._post(endpoint, {"inputs": list(inputs), "normalize": normalize, "truncate": True})
        else:
            asked = {"model": self._model(), "input": list(inputs), "encoding_format": "float"}
            answer = self._post(endpoint, asked)
            rows = answer
            if isinstance(answer, Mapping) and isinstance(answer.get("data"), list):
                rows = [item["embedding"] for item in sorted(answer["data"], key=lambda item: item.get("index", 0))]
        vectors: np.ndarray
        try:
            vectors = np.array(rows, dtype=np.float32)
        except (ValueError, TypeError):
            vectors = np.zeros(0, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(inputs):
            raise AssetError(f"{endpoint}: expected {len(inputs)} vectors, found {str(rows)[:80]}")
        return vectors

    def _found(self) -> Protocol:
        for protocol, path in _PATHS.items():
            try:
                body = {"model": self._model(), "input": ["a"]} if protocol == "openai" else {"inputs": ["a"]}
                self._post(self.url + path, body)
            except _NoSuchPath:
                continue
            return protocol
        raise AssetError(f"{self.url}: found neither {' nor '.join(_PATHS.values())} there")

    def _model(self) -> str:
        """The name that an OpenAI request must give: the server's first model."""
        if self.model is None:
            root = self.url.removesuffix("/embeddings").removesuffix("/v1")
            try:
                self.model = str(self._send(f"{root}/v1/models", None)["data"][0]["id"])
            except (AssetError, KeyError, IndexError, TypeError):
                self.model = "default"
        return self.model

    def _post(self, url: str, body: Any) -> Any:
        return self._send(url, json.dumps(body).encode())

    def _send(self, url: str, body: bytes | None) -> Any:
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            kind = _NoSuchPath if error.code in (404, 405) else AssetError
            said = error.read(200).decode("utf-8", "replace")
            raise kind(f"{url}: HTTP {error.code}: {said}") from error
        except (urllib.error.URLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AssetError(f"{url}: {reason}") from error


class _NoSuchPath(AssetError):
    """Some server is there, without this endpoint."""
