"""Importance: block influence, Taylor and the baselines, over calibration batches."""
