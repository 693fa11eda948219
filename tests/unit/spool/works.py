"""Work for a writer: one small mail each, or changes to what is there."""

from __future__ import annotations

from edgerelay.runtime import inline
from edgerelay.spool.api import Change, NewDelivery, NewMessage
from edgerelay.spool.content import ContentStore
from edgerelay.spool.disk import MemoryDisk
from edgerelay.spool.queue_ids import QueueIds
from edgerelay.spool.work import Insertion, Work
from edgerelay.testing.check_spool import ARRIVED, CLIENT, ENVELOPE, queued

IDS = QueueIds(lambda: ARRIVED, 1, 0)
CONTENTS = ContentStore(MemoryDisk(), inline, 1)


def mail(*deliveries: NewDelivery) -> Work:
    content = CONTENTS.new()
    content.feed(b"12345")
    message = NewMessage(
        IDS.allocate(), ENVELOPE, CLIENT, ARRIVED, b"", content, deliveries or (queued(),)
    )
    return Work((Insertion(message, content, IDS),), [], is_mail=True)


def steps(*changes: Change) -> Work:
    return Work((), list(changes))


def key_of(work: Work) -> int:
    return work.insertions[0].deliveries[0].key
