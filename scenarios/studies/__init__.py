"""Studies by which defaults were chosen, kept so that they can be done again."""
