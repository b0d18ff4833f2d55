"""What may vary: Optuna define-by-run search spaces; no torch, no ray."""
