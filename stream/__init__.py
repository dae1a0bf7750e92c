"""The shell: the Faust app, its agents, HTTP ingest, the planner and the command line."""
