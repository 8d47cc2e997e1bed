from __future__ import annotations

from capturing import captured_once, float64

__all__ = ["captured_once", "float64"]
