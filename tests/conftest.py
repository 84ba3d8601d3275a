"""How Hypothesis judges every property: by what it shows, not by how long that took on a busy machine."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("vfiostate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vfiostate")
