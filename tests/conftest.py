"""Fixtures that every test may use."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.broker_fixture", "tests.triton_fixture"]

# A test passes or fails by what it finds, not by how busy the machine is.
settings.register_profile(
    "videojam", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("videojam")
