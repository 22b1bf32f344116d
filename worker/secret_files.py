"""Secrets from files: GRADMILL_API_KEY_FILE names the file that holds what GRADMILL_API_KEY would."""

import os
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from worker.errors import StartError

SECRETS = ("api_key", "database_url", "redis_url", "storage_url")
"Settings whose values may contain a password: they are never repeated in a message, and can be read from a file."


def file_variable(name: str) -> str:
    """Return the environment variable that names the file of this setting."""
    return f"GRADMILL_{name.upper()}_FILE"


class SecretFiles(PydanticBaseSettingsSource):
    """Reads each setting of SECRETS from the file that its variable names, as images of databases do."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the content of the setting's file, or None. Raises StartError if it can't be read."""
        named = os.environ.get(file_variable(field_name)) if field_name in SECRETS else None
        return (_content(field_name, Path(named)) if named else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the settings that have a file."""
        fields = self.settings_cls.model_fields.items()
        values = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in values.items() if value is not None}


def _content(name: str, path: Path) -> str:
    variable = file_variable(name)
    if os.environ.get(variable.removesuffix("_FILE")):
        raise StartError(f"set {variable.removesuffix('_FILE')} or {variable}, not both")
    try:
        content = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = (getattr(error, "strerror", None) or "not text").lower()
        raise StartError(f"{variable} names a file that can't be read ({cause}): {path}") from error
    if not content:
        raise StartError(f"{variable} names an empty file: {path}")
    return content
