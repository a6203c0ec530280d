"""Day-ahead prices and tariff files."""
