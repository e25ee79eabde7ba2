"""GET server's latency alone, and while other clients do what stops a server that waits for them.

    eval "$(pileus openrc --state DIR)"; python bench/slow_clients.py

64 dribble a body (a byte a second), 300 connect and are silent, 16 stall in the middle of a download.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import threading
import time
import urllib.parse

import openstack

DRIBBLING, SILENT, STALLED = 64, 300, 16
REQUESTS = 400
IMAGE_BYTES = 64 * 1024 * 1024


def percentiles(ask: object, count: int) -> dict[str, float]:
    """p50 and p99 in milliseconds of `count` requests, and how many failed."""
    took, failed = [], 0
    for _ in range(count):
        began = time.perf_counter()
        failed += ask().status_code != 200  # type: ignore[operator]
        took.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(took, n=100)
    return {"p50_ms": round(statistics.median(took), 2), "p99_ms": round(cuts[98], 2), "failed": failed}


class Attackers:
    """Sockets that are slow on purpose."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address, self._open, self._end = address, [], threading.Event()
        self._dribbling: list[socket.socket] = []

    def connect(self, sent: bytes = b"", receive_buffer: int = 0) -> socket.socket:
        one = socket.socket()
        if receive_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        one.connect(self._address)
        one.sendall(sent)
        self._open.append(one)
        return one

    def dribble(self) -> None:
        head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        self._dribbling.append(self.connect(head + b"Content-Length: 1000\r\n\r\n{"))

    def run(self) -> None:
        while not self._end.wait(1):
            for one in self._dribbling:
                with contextlib.suppress(OSError):
                    one.send(b" ")

    def stop(self) -> None:
        self._end.set()
        for one in self._open:
            one.close()


def main() -> None:
    cloud = openstack.connect()
    url = urllib.parse.urlsplit(os.environ["OS_AUTH_URL"])
    image = cloud.image.create_image(
        name="slow", disk_format="raw", container_format="bare", data=bytes(IMAGE_BYTES), timeout=60
    )
    try:
        server = next(cloud.compute.servers(), None) or cloud.create_server(
            "slow", image=image.id, flavor="m1.nano", network="public", wait=True
        )

        def ask() -> object:
            return cloud.compute.get(f"/servers/{server.id}")

        percentiles(ask, 100)
        found = {"alone": percentiles(ask, REQUESTS)}
        attack = Attackers((url.hostname or "127.0.0.1", url.port or 80))
        download = (
            f"GET /image/v2/images/{image.id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {cloud.auth_token}\r\n\r\n"
        )
        for _ in range(DRIBBLING):
            attack.dribble()
        for _ in range(SILENT):
            attack.connect()
        for _ in range(STALLED):
            attack.connect(download.encode(), receive_buffer=4096)
        threading.Thread(target=attack.run, daemon=True).start()
        found["attacked"] = percentiles(ask, REQUESTS)
        attack.stop()
        found["p99_ratio"] = round(found["attacked"]["p99_ms"] / found["alone"]["p99_ms"], 2)
        print(json.dumps(found, indent=1))
    finally:
        cloud.image.delete_image(image.id)


if __name__ == "__main__":
    main()
