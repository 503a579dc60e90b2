"""ROOMIE's control plane as it runs: real processes, real deaths, and what must hold afterwards."""
