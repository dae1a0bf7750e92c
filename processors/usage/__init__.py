"""From segments to hours, round trips and energy, beside a calendar."""
