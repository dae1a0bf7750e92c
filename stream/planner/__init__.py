"""The planner, a process of its own: it plans by triggers and on request, and follows plans up."""
