"""Asks the policies: concurrent work, sequential meaning."""

from edgerelay.pipeline.asking import Asking, Outcome
from edgerelay.pipeline.conversation import Conversation
from edgerelay.pipeline.plan import Configured, Entry, Plan, PlanError
from edgerelay.pipeline.records import Answered, Cut, Failed, Observed
from edgerelay.pipeline.settings import Mode, OnError, PolicySettings
from edgerelay.pipeline.watchdog import Watchdog

__all__ = [
    "Answered",
    "Asking",
    "Configured",
    "Conversation",
    "Cut",
    "Entry",
    "Failed",
    "Mode",
    "Observed",
    "OnError",
    "Outcome",
    "Plan",
    "PlanError",
    "PolicySettings",
    "Watchdog",
]
