"""Rows go in and out by the dozen, and are counted."""

from __future__ import annotations

import pytest

from edgerelay.mail.address import ForwardPath, Mailbox
from edgerelay.mail.envelope import Recipient
from edgerelay.spool import rows as module
from edgerelay.spool.api import (
    Finish,
    NewDelivery,
    Split,
    SpoolUnavailable,
)
from edgerelay.spool.queue_ids import DELIVERY_BITS
from edgerelay.spool.rows import Totals
from edgerelay.spool.writer import Writer
from edgerelay.testing.check_spool import ARRIVED, queued
from tests.unit.spool.works import key_of, mail, steps


def test_a_batch_of_any_length_is_counted(writer: Writer) -> None:
    works = [mail() for _ in range(203)]
    writer.write(works)
    assert [work.error for work in works] == [None] * 203
    assert writer.totals == Totals(works[-1].insertions[0].number, 203, 203 * 5, 203, 0)
    writer.write([steps(Finish(key_of(work))) for work in works])
    assert writer.totals == Totals(works[-1].insertions[0].number)


def test_what_is_not_remembered_is_asked(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KNOWN", 2)
    works = [mail() for _ in range(3)]
    for work in works:
        writer.write([work])
    writer.write([steps(*[Finish(key_of(work)) for work in works])])
    assert writer.totals.messages == 0


def test_keys_of_a_message_can_run_out(writer: Writer) -> None:
    recipient = Recipient(ForwardPath(Mailbox("user", "example.com")))
    most = (1 << DELIVERY_BITS) - 1
    work = mail(*[NewDelivery("lane", (recipient,))] * most)
    writer.write([work])
    key = work.insertions[0].deliveries[-1].key
    one_more = Split(key, (queued("a"), queued("b")), ARRIVED)
    refused, fits = steps(one_more), steps(Split(key, (queued("a"),), ARRIVED))
    writer.write([refused])
    writer.write([fits])
    assert isinstance(refused.error, SpoolUnavailable)
    assert (fits.error, writer.totals.queued) == (None, most)
