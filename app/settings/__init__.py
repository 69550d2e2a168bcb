"""Settings: environment variables with the prefix GATEWAY_, and a .env file. All faults are reported at once."""

from app.errors import BadSettings
from app.settings.model import PREFIX, Settings, database_settings, load_settings, unknown_names

__all__ = ["PREFIX", "BadSettings", "Settings", "database_settings", "load_settings", "unknown_names"]
