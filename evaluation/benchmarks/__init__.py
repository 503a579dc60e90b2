"""Measurements on real and rendered input, each run as a module."""
