"""Profiles from the files of other profilers."""

from roomie.importers.common import ImportSettings, Recording, to_profile
from roomie.importers.detect import import_profile

__all__ = ["ImportSettings", "Recording", "import_profile", "to_profile"]
