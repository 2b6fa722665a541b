"""Ports of the loopback interface, with or without TLS, that can go away and come back.

Knows sockets and certificates; what is said over them is the handlers' business.
"""

import socket
import ssl
import sys
import threading
from collections.abc import Sequence
from functools import cache
from http.server import ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler
from typing import Any

import trustme

HOST = "127.0.0.1"
POLL_SECONDS = 0.02  # how soon a server notices that it is to stop


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def write_authority(folder: Path) -> Path:
    """The certificate of who signs for these servers, as a file for `SSL_CERT_FILE`."""
    file = folder / "authority.pem"
    _authority().cert_pem.write_to_path(file)
    return file


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(HOST, "localhost").configure_cert(context)
    return context


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # a client with many threads must not wait for a second SYN

    def __init__(
        self, port: int, handler: type[BaseRequestHandler], context: ssl.SSLContext | None
    ) -> None:
        self._context = context
        self._open: set[socket.socket] = set()
        super().__init__((HOST, port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._context:  # the handshake comes with the first read, in the handler's thread
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # clients that hang up are what is tested
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """End what was kept alive: a server that is gone answers nobody."""
        for connection in list(self._open):
            try:  # not TLS's own shutdown, which a thread that reads would stumble over
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue


class Network:
    """One port for each handler; they keep their numbers when they stop and start again.

    Args:
        handlers: classes; each gets `hub` as an attribute once it is known.
    """

    def __init__(self, handlers: Sequence[type[BaseRequestHandler]], tls: bool) -> None:
        self._context = _server_context() if tls else None
        self._handlers = list(handlers)
        self._listeners = [_Listener(0, handler, self._context) for handler in handlers]
        self._ports = [listener.server_address[1] for listener in self._listeners]
        self._threads: list[threading.Thread] = []
        scheme = "https" if tls else "http"
        self.urls = [f"{scheme}://{HOST}:{port}" for port in self._ports]

    def start(self, hub: object) -> None:
        """Answer, on behalf of this hub."""
        if not self._listeners:
            self._listeners = [
                _Listener(port, handler, self._context)
                for port, handler in zip(self._ports, self._handlers, strict=True)
            ]
        for listener, handler in zip(self._listeners, self._handlers, strict=True):
            listener.RequestHandlerClass = type("Handler", (handler,), {"hub": hub})
            thread = threading.Thread(
                target=listener.serve_forever, args=(POLL_SECONDS,), daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Refuse connections and end those there are."""
        for listener in self._listeners:
            listener.shutdown()
            listener.server_close()
            listener.hang_up()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listeners, self._threads = [], []
