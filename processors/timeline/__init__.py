"""From fixes to segments and trips: the rules of the timeline."""
