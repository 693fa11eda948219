"""dkimpy once more, under another name, without the replacements that the policy makes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import dkim


def _load(name: str) -> ModuleType:
    """A fresh copy of one of its modules; imports inside it still give the shared ones."""
    path = Path(dkim.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"dkimpy_as_shipped_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__name__ not in sys.modules
    return module


canonicalization = _load("canonicalization")
crypto = _load("crypto")
package = _load("__init__")
