"""An input gate in seconds."""

import pytest

_FEWER = {
    "COPIES": 2, "LATERALS": 100, "MIRROR_STEPS": 100, "MOST_IMAGES": 240, "NOT_CHESTS": 300,
    "OTHER_PICTURES": 200, "PICTURES": 800, "STEPS": 400,
}  # fmt: skip


def quick_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit gates on fewer images, on fewer drawn pictures and in fewer steps: good enough for phantoms."""
    for name, value in _FEWER.items():
        monkeypatch.setattr(f"thorax.gating.fit._{name}", value)
    monkeypatch.setattr("thorax.gating.of_store._fitted", {})  # another test may have fitted the same images
