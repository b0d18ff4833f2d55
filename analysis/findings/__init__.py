"""The study's claims, tested on the trials of sweeps."""
