"""Figures for Prometheus: what there is stands in the catalogue, and is read from the parts when somebody asks."""
