"""Settings of stochastic gradient descent, wherever it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from condensery.errors import UsageError

#: The largest learning rate: beyond it a float32 step overflows at once.
_LARGEST_RATE = 1e30


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Learning rate, momentum and weight decay."""

    rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    @classmethod
    def of(cls, settings: Any, where: str) -> SGD:
        """Those of the fields that a settings object has, checked.

        Args:
            settings: an object with ``rate``, and with ``momentum`` and ``weight_decay`` if any.
            where: what goes before a field's name in messages, such as ``supply.`` or ``--``.

        Raises:
            UsageError: naming a field that is out of range.
        """
        names = ("rate", "momentum", "weight_decay")
        made = cls(**{name: getattr(settings, name) for name in names if hasattr(settings, name)})
        made._check(where)
        return made

    def _check(self, where: str) -> None:
        ranges = {
            "rate": (0 < self.rate <= _LARGEST_RATE, "positive and finite"),
            "momentum": (0 <= self.momentum < 1, "at least 0 and below 1"),
            "weight_decay": (0 <= self.weight_decay <= _LARGEST_RATE, "finite and not negative"),
        }
        for name, (right, wanted) in ranges.items():
            if not right:
                shown = name.replace("_", "-") if where == "--" else name
                raise UsageError(f"{where}{shown} must be {wanted}, got {getattr(self, name)}")

    @property
    def arguments(self) -> dict[str, Any]:
        """What an optimiser takes."""
        return {"lr": self.rate, "momentum": self.momentum, "weight_decay": self.weight_decay}
