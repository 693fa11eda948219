"""Both contexts refuse old protocols; only one of them believes in names."""

from __future__ import annotations

import ssl

import pytest

from edgerelay.relay.settings import HopTls
from edgerelay.relay.tls import client_contexts


@pytest.mark.parametrize("rule", list(HopTls))
def test_contexts(rule: HopTls) -> None:
    context = client_contexts().for_rule(rule)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname is (rule is HopTls.VERIFY)
    assert (context.verify_mode is ssl.CERT_REQUIRED) is (rule is HopTls.VERIFY)
