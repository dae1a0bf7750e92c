"""Road services as they are documented, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from schemas.plans.travel import Place

ISLAND = Place(0.0, 0.0)
Answer = Callable[[str, bytes], tuple[int, Any]]


def metres(entry: tuple[float, float], other: tuple[float, float]) -> int:
    """Return what our servers have for a way: not the same in both directions."""
    return round(abs(entry[0] - other[0]) * 100_000) + round((other[1] - entry[1]) * 1_000) % 7_919


def valhalla(path: str, body: bytes) -> tuple[int, Any]:
    """Answer as https://valhalla.github.io/valhalla/api/matrix/api-reference/ has it."""
    asked = json.loads(body)
    if path != "/roads/sources_to_targets" or asked["costing"] not in {"auto", "bicycle"}:
        return 404, {"error_code": 106, "error": "Try a valid action"}
    speed_mps = 20 if asked["costing"] == "auto" else 5
    rows = []
    for number, source in enumerate(asked["sources"]):
        row = []
        for to, target in enumerate(asked["targets"]):
            pair = (source["lat"], source["lon"]), (target["lat"], target["lon"])
            cell: dict[str, Any] = {"from_index": number, "to_index": to}
            if ISLAND in pair and pair[0] != pair[1]:
                cell |= {"distance": None, "time": None}
            else:
                cell |= {"distance": metres(*pair) / 1000, "time": metres(*pair) / speed_mps}
            row.append(cell)
        rows.append(row)
    return 200, {"algorithm": "costmatrix", "units": asked["units"], "sources_to_targets": rows}


def osrm(path: str, _body: bytes) -> tuple[int, Any]:
    """Answer as https://project-osrm.org/docs/v5.24.0/api/#table-service has it."""
    parts = urlsplit(path)
    *_, service, version, profile, coordinates = parts.path.split("/")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if (service, version, query["annotations"]) != ("table", "v1", "duration,distance"):
        return 400, {"code": "InvalidUrl", "message": "URL string malformed"}
    places = [
        (float(lat), float(lon))
        for lon, lat in (text.split(",") for text in coordinates.split(";"))
    ]
    if len(places) > 6:
        return 400, {"code": "TooBig", "message": "Too many table coordinates"}
    speed_mps = 20 if profile == "driving" else 5
    distances = [
        [
            None
            if ISLAND in (places[int(text)], places[int(other)])
            and places[int(text)] != places[int(other)]
            else metres(places[int(text)], places[int(other)])
            for other in query["destinations"].split(";")
        ]
        for text in query["sources"].split(";")
    ]
    durations = [
        [None if entry is None else entry / speed_mps for entry in row] for row in distances
    ]
    return 200, {"code": "Ok", "distances": distances, "durations": durations}


@contextmanager
def serving(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """Serve on loopback; yield the address and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked.append(self.path)
            status, entry = answer(self.path, body)
            text = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = _reply  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
