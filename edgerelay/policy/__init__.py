"""The public plugin API: a policy imports from here, and from nowhere else in edgerelay."""

from edgerelay.dns.answer import Answer, Mx, Record, Resolver, Status
from edgerelay.mail.address import ForwardPath, Mailbox, ReversePath
from edgerelay.mail.envelope import Envelope
from edgerelay.mail.reply import Reply
from edgerelay.policy.base import Policy, Stage
from edgerelay.policy.edits import AddScore, Edit, Prepend, Remove, RouteTo
from edgerelay.policy.evidence import (
    AuthenticationResult,
    Evidence,
    EvidenceUnavailable,
)
from edgerelay.policy.message import HeaderField, Message
from edgerelay.policy.options import (
    Addresses,
    AddressPattern,
    Duration,
    Fraction,
    Network,
    Size,
    Whole,
)
from edgerelay.policy.results import (
    DkimOutcome,
    DkimResult,
    DkimSignature,
    SpfCheck,
    SpfOutcome,
    SpfResult,
)
from edgerelay.policy.services import Log, Services
from edgerelay.policy.verdicts import (
    ACCEPT,
    CONTINUE,
    DECISIVE,
    VERDICTS,
    Accept,
    Continue,
    Decisive,
    Defer,
    Discard,
    Hold,
    MessageVerdict,
    PerRecipient,
    Reject,
    Tag,
    Verdict,
)
from edgerelay.policy.views import Asked, Connection, MailTransaction, Session
from edgerelay.tables.api import Change, Table, TableError

__all__ = [
    "ACCEPT",
    "CONTINUE",
    "DECISIVE",
    "VERDICTS",
    "Accept",
    "AddScore",
    "AddressPattern",
    "Addresses",
    "Answer",
    "Asked",
    "AuthenticationResult",
    "Change",
    "Connection",
    "Continue",
    "Decisive",
    "Defer",
    "Discard",
    "DkimOutcome",
    "DkimResult",
    "DkimSignature",
    "Duration",
    "Edit",
    "Envelope",
    "Evidence",
    "EvidenceUnavailable",
    "ForwardPath",
    "Fraction",
    "HeaderField",
    "Hold",
    "Log",
    "MailTransaction",
    "Mailbox",
    "Message",
    "MessageVerdict",
    "Mx",
    "Network",
    "PerRecipient",
    "Policy",
    "Prepend",
    "Record",
    "Reject",
    "Remove",
    "Reply",
    "Resolver",
    "ReversePath",
    "RouteTo",
    "Services",
    "Session",
    "Size",
    "SpfCheck",
    "SpfOutcome",
    "SpfResult",
    "Stage",
    "Status",
    "Table",
    "TableError",
    "Tag",
    "Verdict",
    "Whole",
]
