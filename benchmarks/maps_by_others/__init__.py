"""Maps by others: one module a map, and the right answers of all."""
