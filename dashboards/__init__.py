"""Grafana dashboards as JSON, made by ``sitegate dashboards build`` from the vocabulary and the demo site's rules."""
