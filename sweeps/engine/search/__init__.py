"""Which trial runs next: pure decisions over the ledger."""
