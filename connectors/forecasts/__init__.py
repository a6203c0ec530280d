"""Forecasts of PV and building load."""
