"""Frozen value types that every package shares. Imports nothing of ours but the errors."""
