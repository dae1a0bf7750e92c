"""What to do about it: OR-Tools models, demand in, plan out, seeded and bounded in time."""
