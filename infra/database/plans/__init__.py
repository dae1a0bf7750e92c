"""Plans, what they are made from, what was decided, and studies."""
