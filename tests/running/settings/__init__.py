"""The checks of the settings: their declarations, values and file."""
