"""The serving code that all services share. It knows no model: models import it, never the reverse."""
