"""The configuration file, read and checked before anything starts.

What leaves here is plain values (`Config`): past it no one meets TOML, pydantic or a path
that was not looked at.
"""

from edgerelay.config.errors import ConfigError
from edgerelay.config.reading import find, load, parse, state_dir_of
from edgerelay.config.values import Config

__all__ = ["Config", "ConfigError", "find", "load", "parse", "state_dir_of"]
