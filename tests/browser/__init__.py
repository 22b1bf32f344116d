"""The dashboard in a real Chromium, on a whole product."""
