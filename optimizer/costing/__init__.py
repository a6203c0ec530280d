"""From metered intervals and a tariff to a bill and each session's share of it, exact."""
