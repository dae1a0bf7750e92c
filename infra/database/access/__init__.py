"""Who may read or write what: readers of dashboards and the roles of services."""
