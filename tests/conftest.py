"""What holds for the whole suite: hypothesis judges no test by the speed of the machine it runs on."""

from hypothesis import HealthCheck, settings

settings.register_profile("trimtab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("trimtab")
