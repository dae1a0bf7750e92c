"""What operators ask of a whole installation or municipality."""
