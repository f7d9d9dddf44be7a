"""A stand-in for Qdrant: its root document, health checks and collections, over TLS.

Collections are kept in the storage directory as Qdrant keeps them: a volume that survives an
update shows here too. Everything else answers 404, as Qdrant does.

With `QDRANT__SERVICE__API_KEY` it asks for that key as Qdrant does, in the header `api-key` or as a
bearer token, for everything but its root document and the health checks
(its guide "Security").
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lab import standin

API_KEY = os.environ.get("QDRANT__SERVICE__API_KEY", "")
STORE = Path("/qdrant/storage/collections.json")
_COLLECTIONS = "/collections"
_OPEN = ("/", "/healthz", "/livez", "/readyz")


class Qdrant(standin.Service):
    """The part of Qdrant's HTTP API that a smoke test touches."""

    async def _answer(
        self,
        request: standin.Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        body = b"".join([piece async for piece in standin.body_chunks(request, reader)])
        status, answer = refusal(request.path, request.headers, API_KEY) or answer_to(
            request.method, request.path, body
        )
        head = request.method == "HEAD"
        writer.write(standin.response(status, answer.encode(), head=head))
        await writer.drain()


def refusal(path: str, headers: Mapping[str, str], key: str) -> tuple[int, str] | None:
    """Status and body for a request that does not show the key; None where it may go on.

    Args:
        path: that of the request.
        headers: its headers, names in lower case.
        key: the key; empty where none is asked for.
    """
    if not key or path in _OPEN:
        return None
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    shown = headers.get("api-key") or bearer
    if not shown:
        return 401, "Must provide an API key or an Authorization bearer token"
    if not hmac.compare_digest(shown.encode(), key.encode()):
        return 401, "Invalid API key or JWT"
    return None


def answer_to(method: str, path: str, body: bytes, store: Path = STORE) -> tuple[int, str]:
    """Status and body for one request."""
    if path in ("/healthz", "/livez", "/readyz"):
        return 200, f"{path[1:]} check passed"
    if path == "/":
        return 200, json.dumps({"title": "qdrant - vector search engine", "version": "stand-in"})
    collections: dict[str, object] = json.loads(store.read_text()) if store.exists() else {}
    if path == _COLLECTIONS and method == "GET":
        return 200, _result({"collections": [{"name": name} for name in sorted(collections)]})
    name = path.removeprefix(f"{_COLLECTIONS}/")
    if not path.startswith(f"{_COLLECTIONS}/") or not name or "/" in name:
        return 404, ""
    if method == "GET":
        return (
            (200, _result(collections[name]))
            if name in collections
            else (404, _error(f"{name} not found"))
        )
    if method == "PUT":
        if name in collections:
            return 409, _error(f"Collection `{name}` already exists!")
        collections[name] = json.loads(body or b"{}")
    elif method == "DELETE":
        collections.pop(name, None)
    else:
        return 405, ""
    fresh = store.with_suffix(".new")
    fresh.write_text(json.dumps(collections))
    fresh.replace(store)
    return 200, _result(True)


def _result(result: object) -> str:
    return json.dumps({"result": result, "status": "ok", "time": 0.0})


def _error(message: str) -> str:
    return json.dumps({"status": {"error": message}, "time": 0.0})


async def _main() -> None:
    chain, key = (Path(os.environ[name]) for name in ("QDRANT__TLS__CERT", "QDRANT__TLS__KEY"))
    certificate = standin.Certificate(chain, key)
    await standin.run({"qdrant": 6333}, certificate, service=Qdrant)


if __name__ == "__main__":
    print("qdrant stand-in of the Phoenix lab", file=sys.stderr, flush=True)
    asyncio.run(_main())
