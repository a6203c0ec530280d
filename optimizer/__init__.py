"""The pure core: domain types, planning, control decisions and costing, without any I/O."""
