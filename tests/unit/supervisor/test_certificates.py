"""Files change in steps, and are taken up when they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from edgerelay.config.tls_files import TlsPaths
from edgerelay.supervisor.certificates import CertificateWatch


@pytest.fixture
def paths(tmp_path: Path) -> TlsPaths:
    found = TlsPaths(((tmp_path / "cert.pem", tmp_path / "key.pem"),))
    write_both(found)
    return found


def write_both(paths: TlsPaths) -> None:
    issued = trustme.CA().issue_cert("mx.example")
    write(paths, 0, issued.cert_chain_pems[0].bytes())
    write(paths, 1, issued.private_key_pem.bytes())


def write(paths: TlsPaths, which: int, octets: bytes) -> None:
    path = paths.pairs[0][which]
    path.write_bytes(octets)
    path.chmod(0o600)


def test_what_is_in_use_already_is_no_news(paths: TlsPaths) -> None:
    watch, in_use = CertificateWatch(), paths.signs()
    assert [watch.look(paths, in_use) for _ in range(3)] == [None] * 3


def test_a_change_is_taken_up_once_it_has_settled(paths: TlsPaths) -> None:
    watch, in_use = CertificateWatch(), paths.signs()
    assert watch.look(paths, in_use) is None
    write_both(paths)
    assert watch.look(paths, in_use) is None
    changed = watch.look(paths, in_use)
    assert changed is not None
    assert changed.signs == paths.signs()
    assert changed.files is not None
    assert changed.files.pairs[0].certificate == paths.pairs[0][0].read_bytes()
    assert watch.look(paths, changed.signs) is None


def test_a_certificate_without_its_key_is_told_once_and_waited_for(paths: TlsPaths) -> None:
    watch, in_use = CertificateWatch(), paths.signs()
    issued = trustme.CA().issue_cert("mx.example")
    write(paths, 0, issued.cert_chain_pems[0].bytes())
    looks = [watch.look(paths, in_use) for _ in range(4)]
    told = [look for look in looks if look is not None]
    assert len(told) == 1
    assert told[0].files is None
    assert "is not the key of" in told[0].problems[0]

    write(paths, 1, issued.private_key_pem.bytes())
    assert watch.look(paths, in_use) is None
    changed = watch.look(paths, in_use)
    assert changed is not None
    assert changed.files is not None
    assert not changed.problems


def test_files_that_are_gone_are_told_and_may_come_back(paths: TlsPaths) -> None:
    watch, in_use = CertificateWatch(), paths.signs()
    paths.pairs[0][1].unlink()
    watch.look(paths, in_use)
    changed = watch.look(paths, in_use)
    assert changed is not None
    assert changed.files is None
    assert "no such file" in changed.problems[0]
