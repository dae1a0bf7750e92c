"""The planner, a process of its own: it plans on schedule, drift, another fleet, alerts and request.

Accepted plans it follows up week by week.
"""
