"""Back-test: a plan fitted on earlier weeks, replayed trip by trip on later ones."""
