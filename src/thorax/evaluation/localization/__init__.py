"""Localization: what a map points at, beside boxes."""
