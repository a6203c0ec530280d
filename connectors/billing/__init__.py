"""Hand-over of energy-cost records."""
