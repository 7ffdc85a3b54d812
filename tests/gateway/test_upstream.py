"""TLS and HTTP proxies on the way to the endpoint."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.gateway.test_proxy import gateway, run
from tests.support.gateway import Client, Endpoint

from nel_action.gateway.upstream import Upstream


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint of a test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "endpoint.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Tunnel:
    """An HTTP proxy that serves CONNECT and forwards absolute URLs."""

    def __init__(self, status: int = 200) -> None:
        self.heads: list[str] = []
        self.status = status

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        try:
            yield f"http://user:p%40ss@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head.decode())
        method, target, _ = head.split(b"\r\n")[0].split(b" ")
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            writer.write(f"HTTP/1.1 {self.status} X\r\n\r\n".encode())
        else:
            host, _, port = target.decode().split("/")[2].rpartition(":")
        if self.status != 200:
            writer.close()
            return
        there, back = await asyncio.open_connection(host, int(port))
        if method != b"CONNECT":
            back.write(head.replace(target, b"/" + target.split(b"/", 3)[3], 1))
        await asyncio.gather(copy(reader, back), copy(there, writer))


async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        return
    finally:
        target.close()


def test_a_trusted_certificate_is_accepted(certificate: Path) -> None:
    async def work() -> None:
        async with (
            Endpoint().serve(tls=server_context(certificate)) as url,
            gateway(url, ca_file=str(certificate)) as service,
        ):
            client = Client(service.address)
            assert [(await client.ask()).content for _ in range(2)] == ["answer 0", "answer 1"]
            await client.close()

    run(work())


def test_certificates_are_trusted_by_environment_variable(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    async def work() -> None:
        async with Endpoint().serve(tls=server_context(certificate)) as url, gateway(url) as service:
            client = Client(service.address)
            assert (await client.ask()).content == "answer 0"
            await client.close()

    run(work())


def test_an_unknown_certificate_is_refused(certificate: Path) -> None:
    async def work() -> None:
        endpoint = Endpoint()
        async with endpoint.serve(tls=server_context(certificate)) as url, gateway(url, max_retries=0) as service:
            client = Client(service.address)
            response = await client.ask()
            await client.close()
            assert response.status == 502
            assert b"certificate verify failed" in response.body
            assert not endpoint.received

    run(work())


def test_https_goes_through_the_tunnel_of_a_proxy(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        tunnel, endpoint = Tunnel(), Endpoint()
        async with tunnel.serve() as proxy, endpoint.serve(tls=server_context(certificate)) as url:
            monkeypatch.setenv("HTTPS_PROXY", proxy)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with gateway(url, ca_file=str(certificate)) as service:
                client = Client(service.address)
                assert (await client.ask()).content == "answer 0"
                await client.close()
            assert tunnel.heads[0].startswith(f"CONNECT 127.0.0.1:{endpoint.port} HTTP/1.1\r\n")
            assert "proxy-authorization: Basic dXNlcjpwQHNz\r\n" in tunnel.heads[0]

    run(work())


def test_plain_http_goes_through_a_proxy_with_absolute_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        tunnel, endpoint = Tunnel(), Endpoint()
        async with tunnel.serve() as proxy, endpoint.serve() as url:
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with gateway(url) as service:
                client = Client(service.address)
                assert (await client.ask()).content == "answer 0"
                await client.close()
            assert tunnel.heads[0].startswith(f"POST {url} HTTP/1.1\r\n")

    run(work())


@pytest.mark.parametrize("hosts", ["127.0.0.1", "localhost,127.0.0.1", "*"])
def test_no_proxy_names_hosts_that_are_asked_directly(hosts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        tunnel = Tunnel()
        async with tunnel.serve() as proxy, Endpoint().serve() as url:
            monkeypatch.setenv("http_proxy", proxy)
            monkeypatch.setenv("no_proxy", hosts)
            async with gateway(url) as service:
                client = Client(service.address)
                assert (await client.ask()).content == "answer 0"
                await client.close()
            assert not tunnel.heads

    run(work())


def test_a_refused_tunnel_is_reported_with_its_status(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        async with Tunnel(407).serve() as proxy, Endpoint().serve(tls=server_context(certificate)) as url:
            monkeypatch.setenv("https_proxy", proxy)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
            async with gateway(url, ca_file=str(certificate), max_retries=0) as service:
                client = Client(service.address)
                response = await client.ask()
                await client.close()
            assert response.status == 502
            assert b"refused the tunnel with status 407" in response.body

    run(work())


@pytest.mark.parametrize("url", ["ftp://a/b", "models.example/v1", "", "http://"])
def test_an_address_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not an http"):
        Upstream(url)
