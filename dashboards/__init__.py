"""Grafana dashboards as JSON. Empty until they are built from the vocabulary."""
