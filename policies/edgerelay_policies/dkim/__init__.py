"""DKIM: did the domain in d= sign this message, and is it still the same (RFC 6376)?"""

from edgerelay_policies.dkim.policy import Dkim, DkimOptions

__all__ = ["Dkim", "DkimOptions"]
