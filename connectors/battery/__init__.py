"""Adapters to the controller of a stationary battery."""
