"""Print the OpenAPI document: `python -m api > docs/openapi.json`."""

from __future__ import annotations

import json
import sys

from api.app import create_app
from core.settings import Settings

if __name__ == "__main__":
    sys.stdout.write(json.dumps(create_app(Settings()).openapi(), indent=2) + "\n")
