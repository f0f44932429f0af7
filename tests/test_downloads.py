"""Downloads against a server of this machine: whole or not at all, over https or not at all, and clear words if it fails."""

from __future__ import annotations

import hashlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("torch")

from activebmr.pruning.data import cache, image_downloads, table_downloads  # noqa: E402
from activebmr.pruning.data.cache import fetch  # noqa: E402

CONTENT = bytes(range(256)) * 700
MD5 = hashlib.md5(CONTENT).hexdigest()

Answer = Callable[[BaseHTTPRequestHandler], None]


def whole(handler: BaseHTTPRequestHandler, content: bytes = CONTENT) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def without_length(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(CONTENT)


def chunked(handler: BaseHTTPRequestHandler, ending: bytes = b"0\r\n\r\n") -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.send_header("Connection", "close")
    handler.end_headers()
    for i in range(0, len(CONTENT), 5000):
        block = CONTENT[i : i + 5000]
        handler.wfile.write(f"{len(block):x}\r\n".encode() + block + b"\r\n")
    handler.wfile.write(ending)
    handler.close_connection = True


def truncated(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    handler.wfile.write(CONTENT[:1000])


def silent(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(1.5)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then, so that no wait for one is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(CONTENT)))
    handler.end_headers()
    try:
        for i in range(100):
            handler.wfile.write(CONTENT[i : i + 1])
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass  # whoever asked has gone


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")


def to(place: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", place)
        handler.end_headers()

    return answer


class Server:
    """A server whose answers a test sets; ``asked`` are the lines that it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = whole
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.requestline)
                outer.answer(self)

            do_CONNECT = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # type: ignore[method-assign]
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "FTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("answer", [whole, without_length, chunked])
def test_what_is_whole_is_kept(server: Server, tmp_path: Path, answer: Answer) -> None:
    server.answer = answer
    assert fetch(f"{server.url}file.gz", tmp_path / "file.gz", MD5) is None
    assert (tmp_path / "file.gz").read_bytes() == CONTENT and files(tmp_path) == ["file.gz"]
    assert server.asked == ["GET /file.gz HTTP/1.1"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (truncated, f"ConnectionError: it ended after 1000 of {len(CONTENT)} bytes"),
        (lambda h: chunked(h, ending=b""), "IncompleteRead"),
        (lambda h: whole(h, CONTENT[:-1] + b"x"), f"its md5 is .* instead of {MD5}$"),
        (lambda h: whole(h, b""), "its md5 is d41d8cd98f00b204e9800998ecf8427e instead of"),
        (lambda h: whole(h, b"<!DOCTYPE html>log in"), "it is a web page: does the network ask for a login"),
        (lambda h: h.send_error(404), "HTTPError: HTTP Error 404: Not Found$"),
        (lambda h: h.send_error(503), "HTTPError: HTTP Error 503"),
        (garbage, "BadStatusLine"),
        (lambda h: None, "RemoteDisconnected|BadStatusLine"),
        (to("http://data.example/file.gz"), "not secure: only https is used|gaierror|URLError"),
        (to("ftp://127.0.0.1/file.gz"), "Error"),
    ],
    ids=["truncated", "chunk", "other", "empty", "login", "404", "503", "garbage", "nothing", "insecure", "ftp"],
)
def test_what_is_not_whole_is_told_and_not_kept(server: Server, tmp_path: Path, answer: Answer, words: str) -> None:
    server.answer = answer
    said = fetch(f"{server.url}file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and re.search(words, said), said
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [(silent, "TimeoutError|timed out"), (trickle, "TimeoutError: too slow: [0-9]+ bytes came in")],
)
def test_what_is_slow_is_given_up(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    monkeypatch.setattr(cache, "PATIENCE", 0.4)
    server.answer = answer
    began = time.monotonic()
    said = fetch(f"{server.url}file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and re.search(words, said), said
    assert time.monotonic() - began < 4 and files(tmp_path) == []


def test_what_is_endless_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 100_000)
    server.answer = without_length
    said = fetch(f"{server.url}file.gz", tmp_path / "file.gz", MD5)
    assert said == "OSError: it has more than 100000 bytes" and files(tmp_path) == []


def test_a_file_that_is_there_survives_a_failure(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(b"before")
    server.answer = truncated
    assert fetch(f"{server.url}file.gz", tmp_path / "file.gz", MD5) is not None
    assert (tmp_path / "file.gz").read_bytes() == b"before" and files(tmp_path) == ["file.gz"]


def test_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", nobody)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    said = fetch("https://data.example/file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and said.endswith("is there a network? behind a proxy, set HTTPS_PROXY") and "URLError" in said


def test_nobody_listens(server: Server, tmp_path: Path) -> None:
    url = server.url
    server.close()
    said = fetch(f"{url}file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and "is there a network? behind a proxy, set HTTPS_PROXY" in said


def test_only_https_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("nothing may be asked")

    monkeypatch.setattr("urllib.request.urlopen", asked)
    for url in (
        "http://data.example/file.gz",
        "ftp://data.example/file.gz",
        "http://127.0.0.1.data.example/file.gz",
        "file.gz",
    ):
        assert fetch(url, tmp_path / "file.gz", MD5) == f"OSError: {url} is not secure: only https is used"
    published = [m for mirrors, _ in image_downloads.ARCHIVES.values() for m in mirrors] + [table_downloads.SERVER]
    assert len(published) == 6 and all(url.startswith("https://") and url.endswith("/") for url in published)


def test_proxies_are_asked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda h: h.send_error(502)
    monkeypatch.setenv("https_proxy", server.url)
    said = fetch("https://data.example/file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and "Tunnel connection failed: 502" in said
    assert len(server.asked) == 1 and server.asked[0].startswith("CONNECT data.example:443 ")
    server.answer = lambda h: h.send_error(407)
    said = fetch("https://data.example/file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and said.endswith("; the proxy asks who you are: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT")
    monkeypatch.setenv("no_proxy", "data.example")
    monkeypatch.setattr("socket.create_connection", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("straight")))
    said = fetch("https://data.example/file.gz", tmp_path / "file.gz", MD5)
    assert said is not None and "straight" in said and len(server.asked) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*made.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    running, target = Server(context), tmp_path / "file.gz"
    try:
        said = fetch(f"{running.url}file.gz", target, MD5)
        assert said is not None and "CERTIFICATE_VERIFY_FAILED" in said and "SSL_CERT_FILE" in said and running.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(f"{running.url}file.gz", target, MD5) is None and target.read_bytes() == CONTENT
    finally:
        running.close()


def test_data_sets_tell_every_server_and_what_to_do(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirrors = (f"{server.url}one/", f"{server.url}two/")
    monkeypatch.setattr(image_downloads, "ARCHIVES", {"small": (mirrors, {"raw/file.gz": MD5})})
    server.answer = truncated
    told = "small is not in .*/one/file.gz: Conn.*/two/file.gz: Conn.*get the files another"
    with pytest.raises(FileNotFoundError, match=told):
        image_downloads.download("small", tmp_path)
    server.answer = lambda h: whole(h) if "two" in h.path else h.send_error(500)
    image_downloads.download("small", tmp_path)
    assert (tmp_path / "raw" / "file.gz").read_bytes() == CONTENT

    monkeypatch.setattr(table_downloads, "SERVER", server.url)
    data = hashlib.md5(CONTENT).hexdigest()
    monkeypatch.setattr(table_downloads, "SOURCES", {"t": table_downloads.Source("table", 1, data, "0" * 64)})
    server.answer = lambda h: whole(h) if "data.txt" in h.path else truncated(h)
    with pytest.raises(FileNotFoundError, match="index_features.txt: ConnectionError: it ended after 1000 of"):
        table_downloads.download_table("t", tmp_path / "t")
    assert files(tmp_path / "t") == ["data.txt"]
