"""Any catalogue compared with a truth."""
