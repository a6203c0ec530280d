"""Adapters: each implements ports of the core and owns one library."""
