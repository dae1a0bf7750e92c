"""Forecast: departures by depot, class and hour of the week, used only where it beats last week."""
