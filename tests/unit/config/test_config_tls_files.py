"""A certificate and its key, as they lie on the disk."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from edgerelay.config import Config, ConfigError, parse
from edgerelay.edge.settings import ListenerTls
from edgerelay.net.tls import server_context

ROUTE = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["smtp://10.0.0.5"]\n'


def good(text: str, origin: str = "/etc/e.toml") -> Config:
    return parse(text.encode(), origin)


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    issued = trustme.CA().issue_cert("mx.example.com")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    return tmp_path


TLS = '[tls]\ncertificate = "cert.pem"\nprivate_key = "key.pem"\n'


def test_with_a_certificate_starttls_is_offered(pem: Path) -> None:
    config = good(ROUTE + TLS, str(pem / "e.toml"))
    assert config.listeners[0].tls is ListenerTls.STARTTLS
    assert config.tls_files is not None
    assert isinstance(server_context(config.tls_files), ssl.SSLContext)


def test_without_one_it_is_not() -> None:
    assert good(ROUTE).listeners[0].tls is ListenerTls.OFF


def tls_problems(directory: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        good(ROUTE + TLS, str(directory / "e.toml"))
    return [problem.split(": ", 1)[1] for problem in caught.value.problems]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_key_that_others_may_touch_is_refused(pem: Path, mode: int) -> None:
    (pem / "key.pem").chmod(mode)
    assert tls_problems(pem) == [
        f"tls.private_key: {pem}/key.pem is open to others (mode {mode:04o}): chmod 600"
    ]


def test_a_key_may_be_shared_with_a_group(pem: Path) -> None:
    """Debian keeps keys in a group of their own, ssl-cert."""
    (pem / "key.pem").chmod(0o640)
    assert good(ROUTE + TLS, str(pem / "e.toml")).tls_files is not None


def test_a_key_of_another_certificate_is_refused(pem: Path) -> None:
    other = trustme.CA().issue_cert("mx.example.com")
    other.private_key_pem.write_to_path(pem / "key.pem")
    assert tls_problems(pem) == [
        f"tls.private_key: {pem}/key.pem is not the key of {pem}/cert.pem"
    ]


def test_what_is_no_certificate_is_refused(pem: Path) -> None:
    (pem / "cert.pem").write_text("hello")
    assert tls_problems(pem) == [
        f"tls: {pem}/cert.pem and {pem}/key.pem are not a certificate and a key in PEM form"
    ]


# --- several pairs, and the authority of clients ------------------------------------------------


def written(folder: Path, name: str, *names: str, key_type: trustme.KeyType) -> str:
    """A pair below ``folder``; returns the inline table that names it."""
    issued = trustme.CA().issue_cert(*names, key_type=key_type)
    issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    issued.private_key_pem.write_to_path(folder / f"{name}.key")
    (folder / f"{name}.key").chmod(0o600)
    return f'certificate = "{folder}/{name}.pem"\nprivate_key = "{folder}/{name}.key"'


def problems_with(folder: Path, tls: str, listener: str = "") -> str:
    route = '[[route]]\ndomains = ["example.com"]\nnext_hop = ["mx"]\n'
    text = f"[tls]\n{tls}\n{listener}\n{route}"
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), str(folder / "edgerelay.toml"))
    return str(caught.value)


def inline(pair: str) -> str:
    return "more = [{" + pair.replace("\n", ", ") + "}]"


def test_two_pairs_for_the_same_names_need_two_types_of_key(tmp_path: Path) -> None:
    ecdsa = trustme.KeyType.ECDSA
    first = written(tmp_path, "a", "mx.example", key_type=ecdsa)
    second = written(tmp_path, "b", "mx.example", key_type=ecdsa)
    said = problems_with(tmp_path, f"{first}\n{inline(second)}")
    assert "tls.more[1]" in said
    assert f"{tmp_path}/b.pem has the names and the key type (ECDSA) of {tmp_path}/a.pem" in said


def test_what_is_wrong_with_a_further_pair_is_told_of_that_pair(tmp_path: Path) -> None:
    first = written(tmp_path, "a", "mx.example", key_type=trustme.KeyType.ECDSA)
    written(tmp_path, "b", "b.example", key_type=trustme.KeyType.ECDSA)
    mixed = f'certificate = "{tmp_path}/b.pem"\nprivate_key = "{tmp_path}/a.key"'
    said = problems_with(tmp_path, f"{first}\n{inline(mixed)}")
    assert "tls.more[1].private_key" in said
    assert "is not the key of" in said


def test_an_authority_of_clients_is_a_certificate(tmp_path: Path) -> None:
    first = written(tmp_path, "a", "mx.example", key_type=trustme.KeyType.ECDSA)
    (tmp_path / "ca.pem").write_text("nothing")
    said = problems_with(tmp_path, f'{first}\nclient_ca = "ca.pem"')
    assert "tls.client_ca" in said
    assert "is no certificate in PEM form" in said


def test_who_asks_for_a_certificate_says_who_may_have_signed_it(tmp_path: Path) -> None:
    first = written(tmp_path, "a", "mx.example", key_type=trustme.KeyType.ECDSA)
    asks = '[[listener]]\nclient_certificate = "request"\n'
    assert "needs tls.client_ca" in problems_with(tmp_path, first, asks)
    assert 'needs TLS, which is "off" here' in problems_with(
        tmp_path, first, asks + 'tls = "off"\n'
    )
