"""Grafana: the data source and the dashboards that we provision."""
