"""SPF: may this client send mail in that domain's name (RFC 7208)?"""

from edgerelay_policies.spf.policy import Spf, SpfOptions

__all__ = ["Spf", "SpfOptions"]
