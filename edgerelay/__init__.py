"""An inbound mail filtering gateway and relay on structured concurrency."""

__version__ = "0.1.0"
