"""The configuration file, read and checked before anything starts.

What leaves here is plain values (`Config`): past it no one meets TOML, pydantic or a path
that was not looked at.
"""

from typing import TYPE_CHECKING

from edgerelay.config.errors import ConfigError
from edgerelay.config.reading import find, load, parse, state_dir_of

if TYPE_CHECKING:
    from edgerelay.config.values import Config

__all__ = ["Config", "ConfigError", "find", "load", "parse", "state_dir_of"]


def __getattr__(name: str) -> type:
    """Import `Config` when it is asked for: it costs a queue command 25 ms that it never uses."""
    if name == "Config":
        from edgerelay.config.values import Config

        return Config
    raise AttributeError(name)
