"""Grafana from the vocabulary and the rules: dashboards as code, provisioning files, and pushing them to a server."""
