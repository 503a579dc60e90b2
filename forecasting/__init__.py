"""Load forecasting for VIDEOJAM replicas."""
