"""Convolutions by minimal filtering, in tests: taken whatever their size, and counted."""
from __future__ import annotations

from dataclasses import replace
from importlib import import_module


def whatever_the_size(monkeypatch, capability: str | None = None) -> None:
    """PyTorch takes it for any rows and channels, by the row of its table of this processor or of another capability."""
    from wvad_torch import routes

    row = routes.TAKEN if capability is None else routes.row(capability)
    monkeypatch.setattr(routes, "TAKEN", replace(row, filtering=routes.Filtering(0, 0)))


def counted(backend: str, monkeypatch) -> list:
    """What such convolutions of a framework are given from now on, call by call."""
    module, calls = import_module(f"wvad_{backend}.blocks.minimal_filtering"), []
    whole = module.conv1d
    monkeypatch.setattr(module, "conv1d", lambda *given: calls.append(given) or whole(*given))
    return calls
