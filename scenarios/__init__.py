"""The same control loop against a simulated site, on a clock of its own."""
