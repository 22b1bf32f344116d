"""The dashboard: pages under /ui that work without JavaScript, and the offline API docs."""
