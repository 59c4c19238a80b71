import socket

import pytest

from tests.servers import Flavour, Server, ServerFailed, free_port, start_server


def ask(server: Server, line: str, *, timeout: float = 2) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        connection.sendall(line.encode() + b"\r\n")
        return connection.recv(4096)


@pytest.mark.parametrize("flavour", ["valkey", "redis62"])
def test_acknowledged_writes_outlive_a_kill_on_the_same_port(flavour: Flavour) -> None:
    with start_server(flavour, "--appendonly", "yes", "--appendfsync", "always") as server:
        port = server.port
        assert ask(server, "SET a 1") == b"+OK\r\n"
        server.kill()
        assert not server.is_answering()
        assert server.restart().port == port
        assert ask(server, "GET a") == b"$1\r\n1\r\n"
    assert not server.directory.exists()


def test_a_paused_server_keeps_the_connection_and_says_nothing() -> None:
    with start_server("valkey") as server:
        server.pause()
        with pytest.raises(TimeoutError):
            ask(server, "PING", timeout=0.05)
        server.resume()
        assert ask(server, "PING") == b"+PONG\r\n"
        server.pause()  # and a frozen one can be stopped


def test_options_pass_through() -> None:
    with start_server("redis62", "--requirepass", "secret", "--maxmemory", "5mb") as server:
        assert server.url == f"redis://:secret@127.0.0.1:{server.port}/0"
        assert ask(server, "GET a").startswith(b"-NOAUTH")
        server.restart("--maxmemory", "7mb")
        assert server.url == f"redis://127.0.0.1:{server.port}/0"
        assert b"maxmemory:7340032" in ask(server, "INFO memory")


def test_a_server_that_cannot_start_tells_what_it_said() -> None:
    with pytest.raises(ServerFailed, match="nonsense"):
        start_server("valkey", "--nonsense", "1")


def test_a_free_port_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
