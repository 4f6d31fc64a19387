"""Variants in fewer bits: calibration, integers, float16, and what may stay in float."""
