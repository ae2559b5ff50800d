# SPDX-License-Identifier: MIT
"""Metrics of running queues for whoever asks: once, or again and again over HTTP.

Used by `localq metrics`. It keeps a reader of each queue open between two questions, finds queues that came and lets go
of those that ended. What is said is `localq.monitor.metrics`.
"""

from __future__ import annotations

import signal
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, gaierror, getaddrinfo
from threading import Lock, Thread
from typing import TYPE_CHECKING

from localq.addresses import queue_names
from localq.config import is_name
from localq.errors import AttachError, ConfigError, SpaceError
from localq.monitor.metrics import CONTENT_TYPE, text_of
from localq.monitor.reader import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from localq.monitor.raw import RawReading
    from localq.monitor.reader import QueueReader
    from localq.monitor.snapshot import Snapshot

__all__ = ["Exposition", "MetricsServer", "parse_address"]

LOOPBACK = "127.0.0.1"
PATH = "/metrics"
HINT = f"Metrics are at {PATH}.\n".encode()


class Exposition:
    """What there is to say of one queue, or of all that this user has."""

    def __init__(self, name: str | None, timeout: float = 2.0) -> None:
        """`timeout`: seconds that each queue has to answer when it is asked first."""
        self._name = name
        self._timeout = timeout
        self._readers: dict[str, QueueReader] = {}
        self._lock = Lock()  # several may ask at once, and a reader remembers its last reading

    def text(self) -> str:
        """As it is now. A queue that was named and is not there is told of as not being up."""
        with self._lock:
            readings, missing = [], []
            for name in self._wanted():
                found = self._read(name)
                if found is not None:
                    readings.append(found)
                elif self._name is not None:
                    missing.append(name)
            return text_of(readings, missing)

    def check(self) -> None:
        """Raises AttachError, LayoutMismatch, SpaceCorrupt, ConfigError: the one that was named can't be read."""
        if self._name is not None:
            if not is_name(self._name):
                raise ConfigError(f"a queue's name has letters, digits, _ . and -; got {self._name!r}")
            with self._lock:
                self._readers[self._name] = open_reader(self._name, self._timeout)

    def close(self) -> None:
        with self._lock:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()

    def _wanted(self) -> list[str]:
        if self._name is not None:
            return [self._name]
        names = [name for name in queue_names() if is_name(name)]
        for gone in self._readers.keys() - set(names):
            self._readers.pop(gone).close()
        return names

    def _read(self, name: str) -> tuple[Snapshot, RawReading] | None:
        """None: it does not run. One that ended may have been followed by another of its name."""
        for _ in range(2):
            reader = self._readers.pop(name, None)
            is_old = reader is not None
            try:
                if reader is None:
                    reader = open_reader(name, self._timeout)
                snapshot = reader.read()
            except (AttachError, SpaceError, OSError):
                if reader is not None:
                    reader.close()
                if not is_old:
                    return None
            else:
                self._readers[name] = reader
                assert reader.raw is not None
                return snapshot, reader.raw
        return None


def parse_address(text: str) -> tuple[str, int]:
    """(host, port) of "9100", "127.0.0.1:9100", "[::1]:9100"; without a host it is this machine alone.

    Raises:
        ConfigError: it is none of these.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]") if host.startswith("[") and host.endswith("]") else host
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or (":" in host and not text.startswith("[")):
        raise ConfigError(f"--listen wants [HOST:]PORT, such as 9464 or 127.0.0.1:9464; got {text!r}")
    return host or LOOPBACK, int(port)


class MetricsServer:
    """Answers GET /metrics until it is told to end. It listens once it is made."""

    def __init__(self, exposition: Exposition, host: str, port: int) -> None:
        """`port` 0: any that is free. Raises ConfigError: there is no such host; OSError: the port can't be had."""
        try:
            family = getaddrinfo(host, port)[0][0]
        except gaierror as error:
            raise ConfigError(f"--listen can't find host {host!r}: {error.strerror}") from None
        if family not in (AF_INET, AF_INET6):
            raise ConfigError(f"--listen can't listen at {host!r}")
        server = type("_Server", (_Server,), {"address_family": family})
        try:
            self._server: _Server = server((host, port), _handler_of(exposition.text))
        except OSError as error:
            raise OSError(error.errno, f"can't listen at {host} port {port}: {error.strerror}") from None

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

    def run(self) -> None:
        """Until `stop`, from another thread, or Ctrl-C or SIGTERM in the main one."""
        previous = signal.signal(signal.SIGTERM, self._on_terminate)
        try:
            self._server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            signal.signal(signal.SIGTERM, previous)
            self._server.server_close()

    def _on_terminate(self, number: int, frame: FrameType | None) -> None:
        Thread(target=self._server.shutdown, daemon=True).start()  # it waits for the loop that was interrupted here


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # who is slow to read an answer keeps nobody from ending
    allow_reuse_address = True


def _handler_of(text: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "localq"
        sys_version = ""
        protocol_version = "HTTP/1.1"
        timeout = 10.0  # seconds for a request, and between two of one connection

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != PATH:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", HINT)
            else:
                self._answer(HTTPStatus.OK, CONTENT_TYPE, text().encode())

        do_HEAD = do_GET

        def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
            except ConnectionError:  # it asked, and did not wait for the answer
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Whoever scrapes keeps a log."""

    return Handler
